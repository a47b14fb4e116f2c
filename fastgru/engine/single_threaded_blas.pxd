# For blas.pyx: what holds OpenBLAS to one thread around a call.

cpdef int enter(int threads) except -1
cpdef void leave(int threads) noexcept
