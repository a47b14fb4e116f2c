# For blas.pyx: what holds OpenBLAS to one thread around a call.

cpdef void enter() noexcept
cpdef void leave() noexcept
