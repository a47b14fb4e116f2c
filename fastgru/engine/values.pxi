# Products of two values. Part of program.pyx.

cdef enum:
    MATMUL_COLUMNS = 384        # of a block of a product: a multiple of what kernels take together
    MATMUL_ROWS = 1024          # of a block, fewer with many terms
    MATMUL_WORK = 268435456     # multiply-adds, about, after which handlers of signals may run


cdef inline Py_ssize_t rows_of_block(Py_ssize_t terms) noexcept nogil:
    return max(min(MATMUL_WORK // MATMUL_COLUMNS // terms, <Py_ssize_t>MATMUL_ROWS), <Py_ssize_t>8)


cdef int run_matmul(const Instruction *it, Frame *frame) noexcept nogil:
    """out[i, j] = sum over k of x[i, k] * y[k, j], for every place of the axes before"""
    cdef char *p[MAX_OPERANDS]
    cdef Py_ssize_t index[MAX_RANK]
    cdef Py_ssize_t rows = it.numbers[0], columns = it.numbers[2], row = 0, column = 0
    cdef Py_ssize_t most = rows_of_block(it.numbers[1]), work = 0
    cdef bint more = True
    cdef unsigned int mode = it.kernels.begin_work(False)
    memset(index, 0, sizeof(index))
    p[0], p[1], p[2] = address(it, frame, 0), address(it, frame, 1), address(it, frame, 2)
    while more:
        it.kernels.matmul(
            min(rows - row, most), it.numbers[1], min(columns - column, <Py_ssize_t>MATMUL_COLUMNS),
            <const float *>p[1] + row * it.numbers[4], it.numbers[4],
            <const float *>p[2] + column * it.numbers[6], it.numbers[5], it.numbers[6],
            <float *>p[0] + row * it.numbers[3] + column, it.numbers[3], <float *>frame.scratch)
        work += min(rows - row, most) * it.numbers[1] * min(columns - column, <Py_ssize_t>MATMUL_COLUMNS)
        column += MATMUL_COLUMNS
        if column >= columns:
            column = 0
            row += most
        if row >= rows:
            row = 0
            more = advance(it, it.rank, index, p)
        if work >= MATMUL_WORK:
            work = 0
            more = more and not look(frame.watch)
    it.kernels.end_work(False, mode)
    return 0
