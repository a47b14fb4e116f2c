# Functions of many places: softmax, normalisation, and folds of places that lie behind each other. Part of kernels.pxi.
#
# All sums are in double. A row is summed in blocks, place by place of a block, and then the places of the block: zeros
# behind the row leave the bits of its sum as they are. Folds take one place after the other.

from libc.math cimport INFINITY, log, sqrt


cdef inline Py_ssize_t filled_to_block(double *row, Py_ssize_t n) noexcept nogil:
    """Zeros behind n doubles, a multiple of VD, to the end of a block; how many there are then."""
    while n % DOUBLES_OF_BLOCK:
        store_doubles(row + n, broadcast_double(0))
        n += VD
    return n


cdef inline double sum_of(const vd *sums) noexcept nogil:
    return sum_of_lanes((sums[0] + sums[1]) + (sums[2] + sums[3]))


cdef inline double sum_of_blocks(const double *row, Py_ssize_t n, double *squares) noexcept nogil:
    """The sum of whole blocks, and that of their squares, unless `squares` is NULL."""
    cdef vd sums[4]
    cdef vd others[4]
    cdef vd x
    cdef Py_ssize_t k = 0
    cdef int i
    for i in range(4):
        sums[i] = others[i] = broadcast_double(0)
    while k < n:
        for i in range(4):
            x = load_doubles(row + k + i * VD)
            sums[i] = sums[i] + x
            if squares != NULL:
                others[i] = others[i] + x * x
        k += DOUBLES_OF_BLOCK
    if squares != NULL:
        squares[0] = sum_of(others)
    return sum_of(sums)


cdef inline double most_of(const int sign, Py_ssize_t n, const float *x) noexcept nogil:
    """The largest of sign * x[k], of which NaN may be none."""
    cdef vf most, signs = broadcast(<float>sign)
    cdef Py_ssize_t k
    cdef float value, largest
    if n < VL:
        largest = sign * x[0]
        for k in range(1, n):
            value = sign * x[k]
            largest = value if value > largest else largest
        return largest
    most = signs * load_unaligned(x)
    for k in range(1, n // VL):
        most = larger(signs * load_unaligned(x + k * VL), most)
    return largest_of_lanes(larger(signs * load_unaligned(x + n - VL), most))


cdef inline void softmax_of(const int function, const int sign, Py_ssize_t n, const float *x, float *out,
                            double *row) noexcept nogil:
    cdef Py_ssize_t k = 0, whole = n - n % VD, end = whole
    cdef int left = <int>(n - whole)
    cdef double most = most_of(sign, n, x), total
    cdef vd signs = broadcast_double(sign), mosts = broadcast_double(most), totals
    while k < whole:
        store_doubles(row + k, power_of_e(signs * to_doubles(x + k) - mosts))
        k += VD
    if left:
        store_doubles(row + whole, first_lanes(power_of_e(signs * part_to_doubles(x + whole, left) - mosts), left))
        end += VD
    total = sum_of_blocks(row, filled_to_block(row, end), NULL)
    total = log(total) if function == LOG_SOFTMAX else 1 / total
    totals = broadcast_double(total)
    k = 0
    while k < whole:
        if function == LOG_SOFTMAX:
            store_rounded(out + k, (to_doubles(x + k) - mosts) - totals)
        else:
            store_rounded(out + k, load_doubles(row + k) * totals)
        k += VD
    for k in range(whole, n):
        out[k] = <float>((<double>x[k] - most) - total if function == LOG_SOFTMAX else row[k] * total)


cdef void softmax(int function, Py_ssize_t n, const float *x, float *out, double *row) noexcept nogil:
    """softmax: e^(x - m) / sum e^(x - m), m = max x; log_softmax: x - m - log sum e^(x - m); softmin: softmax of -x"""
    if function == LOG_SOFTMAX:
        softmax_of(LOG_SOFTMAX, 1, n, x, out, row)
    elif function == SOFTMIN:
        softmax_of(SOFTMIN, -1, n, x, out, row)
    else:
        softmax_of(SOFTMAX, 1, n, x, out, row)


cdef inline vd weighed(const double *row, const double *gamma, const double *beta, Py_ssize_t k, vd scales,
                       vd shifts) noexcept nogil:
    cdef vd d = load_doubles(row + k) * scales + shifts
    if gamma != NULL:
        d = d * load_doubles(gamma + k)
    if beta != NULL:
        d = d + load_doubles(beta + k)
    return d


cdef void normalize(bint rms, double epsilon, Py_ssize_t n, const float *x, const double *gamma, const double *beta,
                    float *out, double *row) noexcept nogil:
    """out = (x - mean) / sqrt(mean of (x - mean)^2 + epsilon) * gamma + beta; rms: mean is 0.

    Both means are of d = x - x[0]: mean (x - mean)^2 = mean d^2 - (mean d)^2. That costs no digits, as x[0] is within
    sqrt(n) deviations of the mean: what is subtracted is at most n - 1 times the result.
    """
    cdef vd scales, shifts, firsts = broadcast_double(0 if rms else x[0])
    cdef double mean = 0, square = 0, scale, shift, value, share = 1.0 / n
    cdef Py_ssize_t k = 0, whole = n - n % VD, end = whole
    cdef int i, left = <int>(n - whole)
    while k + DOUBLES_OF_BLOCK <= n:
        for i in range(4):
            store_doubles(row + k + i * VD, to_doubles(x + k + i * VD) - firsts)
        k += DOUBLES_OF_BLOCK
    while k < whole:
        store_doubles(row + k, to_doubles(x + k) - firsts)
        k += VD
    if left:
        store_doubles(row + whole, first_lanes(part_to_doubles(x + whole, left) - firsts, left))
        end += VD
    mean = sum_of_blocks(row, filled_to_block(row, end), &square) * share
    if rms:
        mean = 0
    scale = 1 / sqrt(square * share - mean * mean + epsilon)
    shift = -mean * scale
    scales, shifts = broadcast_double(scale), broadcast_double(shift)
    k = 0
    while k + DOUBLES_OF_BLOCK <= n:
        for i in range(4):
            store_rounded(out + k + i * VD, weighed(row, gamma, beta, k + i * VD, scales, shifts))
        k += DOUBLES_OF_BLOCK
    while k < whole:
        store_rounded(out + k, weighed(row, gamma, beta, k, scales, shifts))
        k += VD
    for k in range(whole, n):
        value = row[k] * scale + shift
        if gamma != NULL:
            value = value * gamma[k]
        if beta != NULL:
            value = value + beta[k]
        out[k] = <float>value


cdef inline void fold_floats(const int function, const int vectors, Py_ssize_t count, Py_ssize_t apart, const float *x,
                             float *out) noexcept nogil:
    """The maximum or the minimum of each lane of adjacent vectors."""
    cdef vf most[4]
    cdef vf value
    cdef Py_ssize_t k
    cdef int i
    for i in range(vectors):
        most[i] = broadcast(-INFINITY if function == MAX else INFINITY)
    for k in range(count):
        for i in range(vectors):
            value = load_unaligned(x + k * apart + i * VL)
            value = larger(most[i], value) if function == MAX else smaller(most[i], value)
            most[i] = unless_nan(most[i], value)
    for i in range(vectors):
        store_unaligned(out + i * VL, most[i])


cdef inline void fold_doubles(const int vectors, Py_ssize_t count, Py_ssize_t apart, const float *x, float *out,
                              double first, double divisor) noexcept nogil:
    """The sum of each lane of adjacent vectors, over a divisor."""
    cdef vd sums[8]
    cdef Py_ssize_t k
    cdef int i
    for i in range(vectors):
        sums[i] = broadcast_double(first)
    for k in range(count):
        for i in range(vectors):
            sums[i] = sums[i] + to_doubles(x + k * apart + i * VD)
    for i in range(vectors):
        store_rounded(out + i * VD, sums[i] / broadcast_double(divisor))


cdef inline void fold_vectors(const int function, const int vectors, Py_ssize_t count, Py_ssize_t apart, const float *x,
                              float *out, double first, double divisor) noexcept nogil:
    if function == MAX or function == MIN:
        fold_floats(function, vectors, count, apart, x, out)
    else:
        fold_doubles(vectors * (VL // VD), count, apart, x, out, first, divisor)


cdef inline void fold_rest(const int function, Py_ssize_t count, Py_ssize_t apart, Py_ssize_t n, const float *x,
                           float *out, double first, double divisor) noexcept nogil:
    """Fewer places beside each other than a vector has."""
    cdef float most, value
    cdef double total
    cdef Py_ssize_t i, k
    for i in range(n):
        most = -INFINITY if function == MAX else INFINITY
        total = first
        for k in range(count):
            value = x[k * apart + i]
            if function == SUM:
                total += value
                continue
            value = most if (most > value if function == MAX else most < value) else value
            most = value if most == most else most
        out[i] = <float>(total / divisor) if function == SUM else most


cdef inline void fold_all(const int function, Py_ssize_t count, Py_ssize_t apart, Py_ssize_t n, const float *x,
                          float *out, double first, double divisor) noexcept nogil:
    cdef Py_ssize_t i = 0
    if n < VL:
        fold_rest(function, count, apart, n, x, out, first, divisor)
        return
    while i + 4 * VL <= n:
        fold_vectors(function, 4, count, apart, x + i, out + i, first, divisor)
        i += 4 * VL
    while i + VL <= n:
        fold_vectors(function, 1, count, apart, x + i, out + i, first, divisor)
        i += VL
    if i < n:                   # the last vector begins among places that are done
        fold_vectors(function, 1, count, apart, x + n - VL, out + n - VL, first, divisor)


cdef void fold(int function, Py_ssize_t count, Py_ssize_t apart, Py_ssize_t n, const float *x, float *out, double first,
               double divisor) noexcept nogil:
    """out[i] = max or min over k of x[k apart + i], or (first + sum over k of it) / divisor"""
    if function == MAX:
        fold_all(MAX, count, apart, n, x, out, first, divisor)
    elif function == MIN:
        fold_all(MIN, count, apart, n, x, out, first, divisor)
    else:
        fold_all(SUM, count, apart, n, x, out, first, divisor)
