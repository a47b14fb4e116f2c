# Instructions along an axis: reductions, softmax, normalisations, pools. Part of program.pyx; the kernels compute them.
#
# Rows whose places do not lie together are gathered first, and what lies beside each other is folded as a whole, so that
# the bits of a result do not depend on how its operands lie.

from libc.math cimport INFINITY

cdef enum:
    WINDOWS = 64                # whose results for one channel are written before the next channel's


cdef inline float float_at(const char *p) noexcept nogil:
    return (<const float *>p)[0]


cdef inline bint together(const Instruction *it, int operand, Py_ssize_t itemsize) noexcept nogil:
    """Whether the places of a row lie one after the other."""
    return it.operands[operand].along == itemsize or it.length == 1


cdef float fold_one(int function, Py_ssize_t count, Py_ssize_t apart, const char *x, double first,
                    double divisor) noexcept nogil:
    """What the kernels' ``fold`` gives for one place; ``apart`` are bytes."""
    cdef float most = -INFINITY if function == MAX else INFINITY, value, chosen
    cdef double total = first
    cdef Py_ssize_t k
    if function == MAX:
        for k in range(count):
            value = float_at(x + k * apart)
            chosen = most if most > value else value
            most = chosen if most == most else most
    elif function == MIN:
        for k in range(count):
            value = float_at(x + k * apart)
            chosen = most if most < value else value
            most = chosen if most == most else most
    else:
        for k in range(count):
            total += float_at(x + k * apart)
        return <float>(total / divisor)
    return most


cdef int run_reduction(const Instruction *it, Frame *frame) noexcept nogil:
    """out[...] = function over t of x[..., t], for all of the loop's last axis at a time"""
    cdef char *p[MAX_OPERANDS]
    cdef Py_ssize_t index[MAX_RANK]
    cdef int outer = max(it.rank - 1, 0)
    cdef Py_ssize_t n = it.shape[outer] if it.rank else 1, i
    cdef Py_ssize_t step = it.operands[1].strides[outer], out_step = it.operands[0].strides[outer]
    cdef Py_ssize_t along = it.operands[1].along
    cdef double divisor = <double>it.length if it.code == MEAN else 1
    cdef bint beside = step == sizeof(float) and out_step == sizeof(float)
    memset(index, 0, sizeof(index))
    p[0], p[1] = address(it, frame, 0), address(it, frame, 1)
    while True:
        if beside:
            it.kernels.fold(it.code, it.length, along // <Py_ssize_t>sizeof(float), n, <const float *>p[1],
                            <float *>p[0], -0.0, divisor)
        else:
            for i in range(n):
                (<float *>(p[0] + i * out_step))[0] = fold_one(it.code, it.length, along, p[1] + i * step, -0.0, divisor)
        if not advance(it, outer, index, p):
            return 0


cdef inline const float *gathered(const Instruction *it, int operand, const char *x, float *to) noexcept nogil:
    """The floats of a row one after the other: as they lie, or copied."""
    cdef Py_ssize_t k
    if together(it, operand, sizeof(float)):
        return <const float *>x
    for k in range(it.length):
        to[k] = float_at(x + k * it.operands[operand].along)
    return to


cdef inline const double *gathered_weights(const Instruction *it, Py_ssize_t operand, char **p, double *to) noexcept nogil:
    """The doubles of a row one after the other: as they lie, or copied; NULL where there is no such operand."""
    cdef Py_ssize_t k
    if operand < 0:
        return NULL
    if together(it, <int>operand, sizeof(double)):
        return <const double *>p[operand]
    for k in range(it.length):
        to[k] = (<const double *>(p[operand] + k * it.operands[operand].along))[0]
    return to


cdef inline void scatter(const Instruction *it, const float *row, char *out) noexcept nogil:
    """Results of a row that do not lie one after the other to where they go."""
    cdef Py_ssize_t k
    if <const char *>row != out:
        for k in range(it.length):
            (<float *>(out + k * it.operands[0].along))[0] = row[k]


cdef int run_softmax(const Instruction *it, Frame *frame) noexcept nogil:
    """Row by row; see the kernels' ``softmax``."""
    cdef char *p[MAX_OPERANDS]
    cdef Py_ssize_t index[MAX_RANK]
    cdef double *room = <double *>frame.scratch
    cdef float *row = <float *>(room + room_of_row(it.length))
    cdef float *out
    memset(index, 0, sizeof(index))
    p[0], p[1] = address(it, frame, 0), address(it, frame, 1)
    while True:
        out = <float *>p[0] if together(it, 0, sizeof(float)) else row + it.length
        it.kernels.softmax(it.code, it.length, gathered(it, 1, p[1], row), out, room)
        scatter(it, out, p[0])
        if not advance(it, it.rank, index, p):
            return 0


cdef int run_normalization(const Instruction *it, Frame *frame) noexcept nogil:
    """Row by row; see the kernels' ``normalize``."""
    cdef char *p[MAX_OPERANDS]
    cdef Py_ssize_t index[MAX_RANK], n = it.length
    cdef double *room = <double *>frame.scratch
    cdef double *weights = room + room_of_row(n)
    cdef float *row = <float *>(weights + 2 * n)
    cdef float *out
    cdef int k
    memset(index, 0, sizeof(index))
    for k in range(it.operand_count):
        p[k] = address(it, frame, k)
    while True:
        out = <float *>p[0] if together(it, 0, sizeof(float)) else row + n
        it.kernels.normalize(it.code, it.options[0], n, gathered(it, 1, p[1], row),
                             gathered_weights(it, it.numbers[0], p, weights),
                             gathered_weights(it, it.numbers[1], p, weights + n), out, room)
        scatter(it, out, p[0])
        if not advance(it, it.rank, index, p):
            return 0


cdef struct Windows:            # what stands behind `Instruction.numbers` of a pool
    Py_ssize_t begin            # the first place that there is
    Py_ssize_t count            # of places that there are
    double first                # what a sum of them begins with
    double counted              # places that a mean is over


cdef inline Windows window_at(const Instruction *it, Py_ssize_t window) noexcept nogil:
    """Window w takes the places w stride - before + k dilation that there are."""
    cdef Py_ssize_t size = it.numbers[0], dilation = it.numbers[2], places = it.numbers[4]
    cdef Py_ssize_t begin = window * it.numbers[1] - it.numbers[3], end = begin + (size - 1) * dilation + 1
    cdef Py_ssize_t before = (dilation - 1 - begin) // dilation if begin < 0 else 0
    cdef Py_ssize_t within = (places - 1 - begin) // dilation + 1 if begin < places else 0
    cdef Windows made
    made.count = max(min(within, size) - before, <Py_ssize_t>0)
    made.begin = begin + before * dilation if made.count else 0
    made.first = -0.0 if made.count == size else 0.0       # a sum with zeros of the padding is no -0
    made.counted = 1
    if not it.code:
        made.counted = <double>(min(end, places + it.numbers[7]) - max(begin, -it.numbers[6]))
    return made


cdef int run_pool(const Instruction *it, Frame *frame) noexcept nogil:
    """out[w] = max or mean over k of x[w stride - before + k dilation], for all channels at a time"""
    cdef char *p[MAX_OPERANDS]
    cdef Py_ssize_t index[MAX_RANK]
    cdef int outer = max(it.rank - 1, 0), function = MAX if it.code else MEAN
    cdef Py_ssize_t n = it.shape[outer] if it.rank else 1, first, i
    cdef Py_ssize_t step = it.operands[1].strides[outer], out_step = it.operands[0].strides[outer]
    cdef Py_ssize_t apart = it.numbers[2] * it.operands[1].along
    cdef Windows windows[WINDOWS]
    cdef bint beside = step == sizeof(float) and out_step == sizeof(float)
    memset(index, 0, sizeof(index))
    p[0], p[1] = address(it, frame, 0), address(it, frame, 1)
    while True:
        first = 0
        while first < it.numbers[5]:
            for i in range(min(it.numbers[5] - first, <Py_ssize_t>WINDOWS)):
                windows[i] = window_at(it, first + i)
                if beside:
                    it.kernels.fold(function, windows[i].count, apart // <Py_ssize_t>sizeof(float), n,
                                    <const float *>(p[1] + windows[i].begin * it.operands[1].along),
                                    <float *>(p[0] + (first + i) * it.operands[0].along), windows[i].first,
                                    windows[i].counted)
            if not beside:
                pool_apart(it, function, n, windows, first, apart, p)
            first += WINDOWS
        if not advance(it, outer, index, p):
            return 0


cdef void pool_apart(const Instruction *it, int function, Py_ssize_t n, const Windows *windows, Py_ssize_t first,
                     Py_ssize_t apart, char **p) noexcept nogil:
    """Some windows of channels that do not lie beside each other."""
    cdef int outer = max(it.rank - 1, 0)
    cdef Py_ssize_t step = it.operands[1].strides[outer], out_step = it.operands[0].strides[outer], i, w
    cdef char *out
    cdef const char *x
    for i in range(n):
        out, x = p[0] + i * out_step + first * it.operands[0].along, p[1] + i * step
        for w in range(min(it.numbers[5] - first, <Py_ssize_t>WINDOWS)):
            (<float *>(out + w * it.operands[0].along))[0] = fold_one(
                function, windows[w].count, apart, x + windows[w].begin * it.operands[1].along, windows[w].first,
                windows[w].counted)
