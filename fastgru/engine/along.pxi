# Instructions along an axis: reductions, softmax, normalizations, pools. Part of program.pyx.
#
# All sums are in double. Those of reductions, windows and softmax are taken one place after the other, so that places
# beyond a row's end, which add nothing, leave its bits as they are; those of normalizations in the order in which NumPy
# sums a row (`pairwise`).

from libc.math cimport INFINITY, exp, log, sqrt

cdef enum:
    LANES = 256                 # sums that are taken beside each other

cdef enum:                      # in the order of REDUCTIONS
    SUM
    MEAN
    MAX
    MIN

cdef enum:                      # in the order of ALONG
    SOFTMAX
    LOG_SOFTMAX
    SOFTMIN


cdef inline float float_at(const char *p) noexcept nogil:
    return (<const float *>p)[0]


cdef inline void put(char *p, double x) noexcept nogil:
    (<float *>p)[0] = <float>x


cdef double pairwise(const double *x, Py_ssize_t n) noexcept nogil:
    """The sum of n numbers by halves, of 128 or fewer by eight sums beside each other: NumPy's order."""
    cdef double sums[8]
    cdef double total = 0
    cdef Py_ssize_t i, k, half
    if n > 128:
        half = n // 2 // 8 * 8
        return pairwise(x, half) + pairwise(x + half, n - half)
    if n < 8:
        total = -0.0
        for i in range(n):
            total += x[i]
        return total
    for k in range(8):
        sums[k] = x[k]
    for i in range(1, n // 8):
        for k in range(8):
            sums[k] += x[8 * i + k]
    total = ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]))
    for i in range(n // 8 * 8, n):
        total += x[i]
    return total


cdef inline double larger(double x, double y) noexcept nogil:
    return x if x > y or x != x else y


cdef int run_reduction(const Instruction *it, Frame *frame) noexcept nogil:
    """out[...] = function over t of x[..., t], for up to LANES places of the loop's last axis at a time"""
    cdef char *p[MAX_OPERANDS]
    cdef Py_ssize_t index[MAX_RANK]
    cdef double lanes[LANES]
    cdef int outer = max(it.rank - 1, 0)
    cdef Py_ssize_t n = it.shape[outer] if it.rank else 1, first, count
    cdef Py_ssize_t step = it.operands[1].strides[outer], out_step = it.operands[0].strides[outer]
    memset(index, 0, sizeof(index))
    p[0], p[1] = address(it, frame, 0), address(it, frame, 1)
    while True:
        first = 0
        while first < n:
            count = min(n - first, <Py_ssize_t>LANES)
            if step == sizeof(float):
                reduce_lanes(it, p[0] + first * out_step, out_step, p[1] + first * step, sizeof(float), count, lanes)
            else:
                reduce_lanes(it, p[0] + first * out_step, out_step, p[1] + first * step, step, count, lanes)
            first += count
        if not advance(it, outer, index, p):
            return 0


cdef inline void reduce_lanes(const Instruction *it, char *out, Py_ssize_t out_step, const char *x, Py_ssize_t step,
                              Py_ssize_t count, double *lanes) noexcept nogil:
    cdef Py_ssize_t t, i
    cdef double value
    for i in range(count):
        lanes[i] = float_at(x + i * step)
    for t in range(1, it.length):
        x += it.operands[1].along
        if it.code <= MEAN:
            for i in range(count):
                lanes[i] += float_at(x + i * step)
        elif it.code == MAX:
            for i in range(count):
                lanes[i] = larger(lanes[i], float_at(x + i * step))
        else:
            for i in range(count):
                value = float_at(x + i * step)
                lanes[i] = lanes[i] if lanes[i] < value or lanes[i] != lanes[i] else value
    if it.code == MEAN:
        for i in range(count):
            lanes[i] /= <double>it.length
    for i in range(count):
        put(out + i * out_step, lanes[i])


cdef int run_softmax(const Instruction *it, Frame *frame) noexcept nogil:
    """softmax: e^(x - m) / sum e^(x - m) with m = max x; log_softmax: x - m - log sum e^(x - m)"""
    cdef char *p[MAX_OPERANDS]
    cdef Py_ssize_t index[MAX_RANK]
    memset(index, 0, sizeof(index))
    p[0], p[1] = address(it, frame, 0), address(it, frame, 1)
    while True:
        softmax_row(it.code, it.length, p[0], it.operands[0].along, p[1], it.operands[1].along, <double *>frame.scratch)
        if not advance(it, it.rank, index, p):
            return 0


cdef void softmax_row(int code, Py_ssize_t n, char *out, Py_ssize_t out_along, const char *x, Py_ssize_t along,
                      double *row) noexcept nogil:
    cdef double sign = -1 if code == SOFTMIN else 1
    cdef double most = sign * float_at(x), total = 0
    cdef Py_ssize_t k
    for k in range(1, n):
        most = larger(most, sign * float_at(x + k * along))
    for k in range(n):
        row[k] = exp(sign * float_at(x + k * along) - most)
        total += row[k]
    if code == LOG_SOFTMAX:
        total = log(total)
        for k in range(n):
            put(out + k * out_along, (float_at(x + k * along) - most) - total)
    else:
        for k in range(n):
            put(out + k * out_along, row[k] / total)


cdef int run_normalization(const Instruction *it, Frame *frame) noexcept nogil:
    """out = (x - mean) / sqrt(mean of (x - mean)^2 + epsilon) * gamma + beta over n places; rms: mean is 0"""
    cdef char *p[MAX_OPERANDS]
    cdef Py_ssize_t index[MAX_RANK]
    cdef double *row = <double *>frame.scratch
    cdef int k
    memset(index, 0, sizeof(index))
    for k in range(it.operand_count):
        p[k] = address(it, frame, k)
    while True:
        if it.operands[0].along == sizeof(float) and it.operands[1].along == sizeof(float):
            normalize_row(it, p, row, sizeof(float), sizeof(float))
        else:
            normalize_row(it, p, row, it.operands[0].along, it.operands[1].along)
        if not advance(it, it.rank, index, p):
            return 0


cdef inline void weigh(double *row, Py_ssize_t n, const char *weights, Py_ssize_t along, bint adds) noexcept nogil:
    """row *= weights, or row += weights"""
    cdef Py_ssize_t k
    if along == sizeof(double) and adds:
        for k in range(n):
            row[k] += (<const double *>weights)[k]
    elif along == sizeof(double):
        for k in range(n):
            row[k] *= (<const double *>weights)[k]
    else:
        for k in range(n):
            if adds:
                row[k] += (<const double *>(weights + k * along))[0]
            else:
                row[k] *= (<const double *>(weights + k * along))[0]


cdef inline void normalize_row(const Instruction *it, char **p, double *row, Py_ssize_t out, Py_ssize_t x) noexcept nogil:
    cdef double *squares = row + it.length
    cdef double mean, root
    cdef Py_ssize_t k, n = it.length
    cdef Py_ssize_t gamma = it.numbers[0], beta = it.numbers[1]
    for k in range(n):
        row[k] = float_at(p[1] + k * x)
    if not it.code:
        mean = pairwise(row, n) / <double>n
        for k in range(n):
            row[k] -= mean
    for k in range(n):
        squares[k] = row[k] * row[k]
    root = sqrt(pairwise(squares, n) / <double>n + it.options[0])
    for k in range(n):
        row[k] /= root
    if gamma > 0:
        weigh(row, n, p[gamma], it.operands[gamma].along, False)
    if beta > 0:
        weigh(row, n, p[beta], it.operands[beta].along, True)
    for k in range(n):
        put(p[0] + k * out, row[k])


cdef int run_pool(const Instruction *it, Frame *frame) noexcept nogil:
    """out[w] = max or mean over k of x[w stride - before + k dilation], for up to LANES channels at a time"""
    cdef char *p[MAX_OPERANDS]
    cdef Py_ssize_t index[MAX_RANK]
    cdef double lanes[LANES]
    cdef int outer = max(it.rank - 1, 0)
    cdef Py_ssize_t n = it.shape[outer] if it.rank else 1, first, window
    memset(index, 0, sizeof(index))
    p[0], p[1] = address(it, frame, 0), address(it, frame, 1)
    while True:
        for window in range(it.numbers[5]):
            first = 0
            while first < n:
                pool_lanes(it, p[0], p[1], window, first, min(n - first, <Py_ssize_t>LANES), lanes)
                first += LANES
        if not advance(it, outer, index, p):
            return 0


cdef inline float larger_float(float x, float y) noexcept nogil:
    return x if x > y or x != x else y


cdef inline void most_of(const Instruction *it, char *out, Py_ssize_t out_step, const char *x, Py_ssize_t step,
                         Py_ssize_t window, Py_ssize_t count, float *lanes) noexcept nogil:
    """The maximum of a window, for `count` channels."""
    cdef Py_ssize_t dilation = it.numbers[2], places = it.numbers[4], i, k, place
    cdef Py_ssize_t begin = window * it.numbers[1] - it.numbers[3]
    cdef const char *at
    for i in range(count):
        lanes[i] = -INFINITY
    for k in range(it.numbers[0]):
        place = begin + k * dilation
        if 0 <= place < places:
            at = x + place * it.operands[1].along
            for i in range(count):
                lanes[i] = larger_float(lanes[i], float_at(at + i * step))
    for i in range(count):
        (<float *>(out + i * out_step))[0] = lanes[i]


cdef void pool_lanes(const Instruction *it, char *out, const char *x, Py_ssize_t window, Py_ssize_t first,
                     Py_ssize_t count, double *lanes) noexcept nogil:
    cdef int outer = max(it.rank - 1, 0)
    cdef Py_ssize_t size = it.numbers[0], dilation = it.numbers[2], places = it.numbers[4], i, k, place
    cdef Py_ssize_t begin = window * it.numbers[1] - it.numbers[3], step = it.operands[1].strides[outer]
    cdef Py_ssize_t out_step = it.operands[0].strides[outer], end = begin + (size - 1) * dilation + 1
    cdef const char *at
    cdef double counted
    out += window * it.operands[0].along + first * out_step
    if it.code and step == sizeof(float) and out_step == sizeof(float):
        most_of(it, out, sizeof(float), x + first * step, sizeof(float), window, count, <float *>lanes)
        return
    if it.code:
        most_of(it, out, out_step, x + first * step, step, window, count, <float *>lanes)
        return
    for i in range(count):
        lanes[i] = -0.0             # which leaves every number as it is, zeros of either sign too
    for k in range(size):
        place = begin + k * dilation
        if place < 0 or place >= places:
            for i in range(count):
                lanes[i] += 0.0
            continue
        at = x + place * it.operands[1].along + first * step
        for i in range(count):
            lanes[i] += float_at(at + i * step)
    counted = <double>(min(end, places + it.numbers[7]) - max(begin, -it.numbers[6]))
    for i in range(count):
        put(out + i * out_step, lanes[i] / counted)
