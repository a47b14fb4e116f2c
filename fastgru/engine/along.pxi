# Instructions along an axis: reductions, softmax, normalisations, pools. Part of program.pyx; the kernels compute them.
#
# Rows whose places do not lie together are gathered first. Folds take one place after the other, whether the kernels do
# it or not. So the bits of a result do not depend on how its operands lie.

from libc.math cimport INFINITY

cdef enum:
    LANES = 256                 # results that are computed beside each other where the kernels do not fold them


cdef inline float float_at(const char *p) noexcept nogil:
    return (<const float *>p)[0]


cdef inline bint together(const Instruction *it, int operand, Py_ssize_t itemsize) noexcept nogil:
    """Whether the places of a row lie one after the other."""
    return it.operands[operand].along == itemsize or it.length == 1


cdef struct Lanes:              # as the kernels' ``fold``, of places that do not lie beside each other
    double first[LANES]
    double divisors[LANES]
    double sums[LANES]
    float most[LANES]


cdef inline void begin_lanes(int function, Lanes *lanes, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        lanes.sums[i] = lanes.first[i]
        lanes.most[i] = -INFINITY if function == MAX else INFINITY


cdef inline void finish_lanes(int function, const Lanes *lanes, Py_ssize_t count, char *out,
                              Py_ssize_t step) noexcept nogil:
    cdef Py_ssize_t i
    if function == MAX or function == MIN:
        for i in range(count):
            (<float *>(out + i * step))[0] = lanes.most[i]
    else:
        for i in range(count):
            (<float *>(out + i * step))[0] = <float>(lanes.sums[i] / lanes.divisors[i])


cdef inline void fold_in(const int function, Lanes *lanes, Py_ssize_t first, Py_ssize_t count, const char *x,
                         const Py_ssize_t step) noexcept nogil:
    """A place more for each lane."""
    cdef Py_ssize_t i
    cdef float value, most
    for i in range(count):
        value = float_at(x + i * step)
        if function == MAX or function == MIN:
            most = lanes.most[first + i]
            value = most if (most > value if function == MAX else most < value) else value
            lanes.most[first + i] = value if most == most else most
        else:
            lanes.sums[first + i] += value


cdef inline void fold_lanes(int function, Lanes *lanes, Py_ssize_t first, Py_ssize_t count, const char *x,
                            Py_ssize_t step) noexcept nogil:
    if function == MAX and step == 2 * sizeof(float):
        fold_in(MAX, lanes, first, count, x, 2 * sizeof(float))
    elif function == MAX:
        fold_in(MAX, lanes, first, count, x, step)
    elif function == MIN:
        fold_in(MIN, lanes, first, count, x, step)
    elif step == 2 * sizeof(float):
        fold_in(SUM, lanes, first, count, x, 2 * sizeof(float))
    else:
        fold_in(SUM, lanes, first, count, x, step)


cdef int run_reduction(const Instruction *it, Frame *frame) noexcept nogil:
    """out[...] = function over t of x[..., t], for all of the loop's last axis at a time"""
    cdef char *p[MAX_OPERANDS]
    cdef Py_ssize_t index[MAX_RANK]
    cdef int outer = max(it.rank - 1, 0)
    cdef Py_ssize_t n = it.shape[outer] if it.rank else 1
    cdef Py_ssize_t step = it.operands[1].strides[outer], out_step = it.operands[0].strides[outer]
    cdef double divisor = <double>it.length if it.code == MEAN else 1
    cdef bint beside = step == sizeof(float) and out_step == sizeof(float)
    memset(index, 0, sizeof(index))
    p[0], p[1] = address(it, frame, 0), address(it, frame, 1)
    while True:
        if beside:
            it.kernels.fold(it.code, it.length, it.operands[1].along // <Py_ssize_t>sizeof(float), n,
                            <const float *>p[1], <float *>p[0], -0.0, divisor)
        else:
            reduce_apart(it, n, p[0], out_step, p[1], step, divisor)
        if not advance(it, outer, index, p):
            return 0


cdef void reduce_apart(const Instruction *it, Py_ssize_t n, char *out, Py_ssize_t out_step, const char *x,
                       Py_ssize_t step, double divisor) noexcept nogil:
    """The same where places of the loop's last axis do not lie beside each other."""
    cdef Lanes lanes
    cdef Py_ssize_t first = 0, count, i, t
    for i in range(min(n, <Py_ssize_t>LANES)):
        lanes.first[i], lanes.divisors[i] = -0.0, divisor
    while first < n:
        count = min(n - first, <Py_ssize_t>LANES)
        begin_lanes(it.code, &lanes, count)
        for t in range(it.length):
            fold_lanes(it.code, &lanes, 0, count, x + first * step + t * it.operands[1].along, step)
        finish_lanes(it.code, &lanes, count, out + first * out_step, out_step)
        first += count


cdef inline const float *gathered(const Instruction *it, int operand, const char *x, float *to) noexcept nogil:
    """The floats of a row one after the other: as they lie, or copied."""
    cdef Py_ssize_t k
    if together(it, operand, sizeof(float)):
        return <const float *>x
    for k in range(it.length):
        to[k] = float_at(x + k * it.operands[operand].along)
    return to


cdef inline const double *gathered_weights(const Instruction *it, Py_ssize_t operand, char **p,
                                           double *to) noexcept nogil:
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
    cdef Py_ssize_t index[MAX_RANK]
    cdef Py_ssize_t n = it.length
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


cdef inline double counted_of(const Instruction *it, Py_ssize_t window) noexcept nogil:
    """How many places the mean of a window is over."""
    cdef Py_ssize_t begin = window * it.numbers[1] - it.numbers[3]
    cdef Py_ssize_t end = begin + (it.numbers[0] - 1) * it.numbers[2] + 1
    return <double>(min(end, it.numbers[4] + it.numbers[7]) - max(begin, -it.numbers[6]))


cdef inline double first_of(const Instruction *it, Py_ssize_t window) noexcept nogil:
    """What the sum of a window begins with: zero, which is negative where no zero of the padding makes it positive."""
    cdef Py_ssize_t begin = window * it.numbers[1] - it.numbers[3]
    return -0.0 if begin >= 0 and begin + (it.numbers[0] - 1) * it.numbers[2] < it.numbers[4] else 0.0


cdef int run_pool(const Instruction *it, Frame *frame) noexcept nogil:
    """out[w] = max or mean over k of x[w stride - before + k dilation], for all channels at a time"""
    cdef char *p[MAX_OPERANDS]
    cdef Py_ssize_t index[MAX_RANK]
    cdef int outer = max(it.rank - 1, 0)
    cdef Py_ssize_t n = it.shape[outer] if it.rank else 1, i
    cdef bint beside = (it.operands[1].strides[outer] == sizeof(float)
                        and it.operands[0].strides[outer] == sizeof(float))
    memset(index, 0, sizeof(index))
    p[0], p[1] = address(it, frame, 0), address(it, frame, 1)
    while True:
        if beside:
            for i in range(it.numbers[5]):
                pool_beside(it, i, n, p[0], p[1])
        else:
            for i in range((it.numbers[5] + LANES - 1) // LANES):
                pool_apart(it, i * LANES, n, p[0], p[1])
        if not advance(it, outer, index, p):
            return 0


cdef inline void pool_beside(const Instruction *it, Py_ssize_t window, Py_ssize_t n, char *out,
                             const char *x) noexcept nogil:
    """One window of n channels that lie beside each other."""
    cdef Py_ssize_t dilation = it.numbers[2], places = it.numbers[4], along = it.operands[1].along
    cdef Py_ssize_t begin = window * it.numbers[1] - it.numbers[3]
    cdef Py_ssize_t before = (dilation - 1 - begin) // dilation if begin < 0 else 0     # places that there are not
    cdef Py_ssize_t within = (places - 1 - begin) // dilation + 1 if begin < places else 0
    cdef Py_ssize_t count = min(within, it.numbers[0]) - before
    if count < 1:
        count = 0
    else:
        x += (begin + before * dilation) * along
    it.kernels.fold(MAX if it.code else SUM, count, dilation * along // <Py_ssize_t>sizeof(float), n, <const float *>x,
                    <float *>(out + window * it.operands[0].along), first_of(it, window), counted_of(it, window))


cdef void pool_apart(const Instruction *it, Py_ssize_t first, Py_ssize_t n, char *out, const char *x) noexcept nogil:
    """Some windows of n channels that do not lie beside each other, channel by channel."""
    cdef Py_ssize_t stride = it.numbers[1], count = min(it.numbers[5] - first, <Py_ssize_t>LANES)
    cdef Py_ssize_t along = it.operands[1].along, out_along = it.operands[0].along, i, k, begin, low, high
    cdef int outer = max(it.rank - 1, 0), function = MAX if it.code else SUM
    cdef Lanes lanes
    for i in range(count):
        lanes.first[i], lanes.divisors[i] = first_of(it, first + i), counted_of(it, first + i)
    out += first * out_along
    for i in range(n):
        begin_lanes(function, &lanes, count)
        for k in range(it.numbers[0]):
            begin = first * stride - it.numbers[3] + k * it.numbers[2]  # place k of the first window
            low = (stride - 1 - begin) // stride if begin < 0 else 0    # windows whose place k there is
            high = min((it.numbers[4] - 1 - begin) // stride + 1, count) if begin < it.numbers[4] else 0
            if low < high:
                fold_lanes(function, &lanes, low, high - low, x + (begin + low * stride) * along, stride * along)
        finish_lanes(function, &lanes, count, out, out_along)
        out += it.operands[0].strides[outer]
        x += it.operands[1].strides[outer]
