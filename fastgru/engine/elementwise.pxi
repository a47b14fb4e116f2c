# Instructions on every element by itself. Part of program.pyx; the functions are in loops.h and in the kernels.


cdef int run_elementwise(const Instruction *it, Frame *frame) noexcept nogil:
    """out[...] = function(a[...], b[...], ...)"""
    cdef char *p[MAX_OPERANDS]
    cdef Py_ssize_t strides[MAX_OPERANDS]
    cdef Py_ssize_t index[MAX_RANK]
    cdef int k, outer = max(it.rank - 1, 0)
    cdef Py_ssize_t n = it.shape[outer] if it.rank else 1
    memset(index, 0, sizeof(index))
    for k in range(it.operand_count):
        p[k] = address(it, frame, k)
        strides[k] = it.operands[k].strides[outer]
    while True:
        it.inner(n, p, strides, it.options)
        if not advance(it, outer, index, p):
            return 0


cdef int run_activation(const Instruction *it, Frame *frame) noexcept nogil:
    """out[i] = activation(x[i]) for `length` floats, as inside the kernels"""
    cdef unsigned int mode = it.kernels.begin_work(False)
    it.kernels.activate(it.code, it.length, <const float *>address(it, frame, 1), <float *>address(it, frame, 0))
    it.kernels.end_work(False, mode)
    return 0
