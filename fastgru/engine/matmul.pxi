# Products of two values, neither of which was packed before. Part of kernels.pxi.
#
# * A tile is `rows` x `vectors` vectors of sums that stay in registers over a part of the terms: parts of 128 from the
#   first term on, each from zero and in order, and the parts are added up. So zeros behind the last term change no bit,
#   and the bits depend neither on the tile nor, given FMA, on the vector length.
# * The last vector of the columns begins among columns that are done. Fewer columns than a vector has are filled up.
# * The second value is read as it lies where its columns lie together, and transposed part by part where its terms do.

from libc.string cimport memset


cdef extern from "transpose.h" nogil:
    void transpose_square(float *to, Py_ssize_t to_row, const float *source, Py_ssize_t from_row)

cdef enum:
    TERMS_OF_PART = 128


cdef struct Factors:            # of a part of a product, for some vectors of its columns
    Py_ssize_t rows
    Py_ssize_t terms            # of the part
    const float *x              # (rows, terms), rows `x_row` apart
    Py_ssize_t x_row
    const float *y              # (terms, columns), terms `y_term` apart
    Py_ssize_t y_term
    float *out                  # (rows, columns), rows `out_row` apart
    Py_ssize_t out_row
    bint first                  # whether this is the first part


cdef inline void matmul_term(vf *sums, const int rows, const int vectors, const float *const *x, Py_ssize_t k,
                             const float *y) noexcept nogil:
    cdef vf weights[8]
    cdef vf value
    cdef int i, v
    for v in range(vectors):
        weights[v] = load_unaligned(y + v * VL)
        if rows > 2:
            weights[v] = held(weights[v])
    for i in range(rows):
        value = broadcast(x[i][k])
        if rows > 2:
            value = held(value)
        for v in range(vectors):
            if rows > 2:
                sums[i * vectors + v] = added(sums[i * vectors + v], weights[v], value)
            else:
                sums[i * vectors + v] = sums[i * vectors + v] + weights[v] * value


cdef inline void matmul_tile(const int rows, const int vectors, const Factors *part, Py_ssize_t row) noexcept nogil:
    """out[row + i, :] += sum over k of x[row + i, k] * y[k, :], of the first part without what was there"""
    cdef vf sums[24]
    cdef const float *x[8]
    cdef const float *y = part.y
    cdef float *out
    cdef Py_ssize_t turn, k, turns = part.terms // 4
    cdef int i, v
    for i in range(rows):
        x[i] = part.x + (row + i) * part.x_row
    clear_vectors(sums, rows * vectors)
    for turn in range(turns):
        for i in range(4):
            matmul_term(sums, rows, vectors, x, 4 * turn + i, y + i * part.y_term)
        y += 4 * part.y_term
    for k in range(4 * turns, part.terms):
        matmul_term(sums, rows, vectors, x, k, y)
        y += part.y_term
    for i in range(rows):
        out = part.out + (row + i) * part.out_row
        for v in range(vectors):
            if part.first:
                store_unaligned(out + v * VL, sums[i * vectors + v])
            else:
                store_unaligned(out + v * VL, load_unaligned(out + v * VL) + sums[i * vectors + v])


cdef inline void matmul_rows(const int vectors, const Factors *part) noexcept nogil:
    """`matmul_tile` for all rows."""
    cdef Py_ssize_t row = 0
    cdef int left
    if TILE_ROWS == 8:
        while row + 8 <= part.rows:
            matmul_tile(8, vectors, part, row)
            row += 8
    while row + 4 <= part.rows:
        matmul_tile(4, vectors, part, row)
        row += 4
    left = <int>(part.rows - row)
    if left == 3:
        matmul_tile(3, vectors, part, row)
    elif left == 2:
        matmul_tile(2, vectors, part, row)
    elif left == 1:
        matmul_tile(1, vectors, part, row)


cdef void matmul_vectors(int vectors, const Factors *part) noexcept nogil:
    if vectors == 8:                # of a single row
        matmul_tile(1, 8, part, 0)
    elif vectors == 3:
        matmul_rows(3, part)
    elif vectors == 2:
        matmul_rows(2, part)
    else:
        matmul_rows(1, part)


cdef void transpose_columns(float *to, Py_ssize_t columns, Py_ssize_t terms, const float *y,
                            Py_ssize_t y_column) noexcept nogil:
    """to[k, j] = y[j, k], columns in whole vectors; the last square begins among terms that are done"""
    cdef Py_ssize_t j = 0, k
    while j < columns:
        k = 0
        while k + VL <= terms:
            transpose_square(to + k * columns + j, columns, y + j * y_column + k, y_column)
            k += VL
        if k < terms and terms >= VL:
            k = terms - VL
            transpose_square(to + k * columns + j, columns, y + j * y_column + k, y_column)
        elif k < terms:
            copy_columns(to + j, columns, terms, VL, y + j * y_column, 1, y_column)
        j += VL


cdef void copy_columns(float *to, Py_ssize_t to_term, Py_ssize_t terms, Py_ssize_t columns, const float *y,
                       Py_ssize_t y_term, Py_ssize_t y_column) noexcept nogil:
    cdef Py_ssize_t k, j
    for k in range(terms):
        for j in range(columns):
            to[k * to_term + j] = y[k * y_term + j * y_column]


cdef void matmul_few_columns(Factors *part, Py_ssize_t columns, Py_ssize_t y_column, float *room) noexcept nogil:
    """Fewer columns than a vector has: y and results with zeros behind them."""
    cdef float done[8 * VL]
    cdef Factors own = part[0]
    cdef Py_ssize_t row = 0, i
    memset(room, 0, part.terms * VL * sizeof(float))
    memset(done, 0, sizeof(done))
    copy_columns(room, VL, part.terms, columns, part.y, part.y_term, y_column)
    own.y, own.y_term, own.out, own.out_row = room, VL, done, VL
    while row < part.rows:
        own.rows = min(part.rows - row, <Py_ssize_t>8)
        own.x = part.x + row * part.x_row
        if not part.first:
            copy_columns(done, VL, own.rows, columns, part.out + row * part.out_row, part.out_row, 1)
        matmul_rows(1, &own)
        copy_columns(part.out + row * part.out_row, part.out_row, own.rows, columns, done, VL, 1)
        row += own.rows


cdef inline int vectors_from(Py_ssize_t rows, Py_ssize_t left) noexcept nogil:
    """How many vectors a tile has, of `left` columns: of a single row more, which would wait for its sums."""
    if rows == 1 and left >= 8 * VL:
        return 8
    return <int>max(min(left // VL, <Py_ssize_t>3), <Py_ssize_t>1)


cdef void matmul(Py_ssize_t rows, Py_ssize_t terms, Py_ssize_t columns, const float *x, Py_ssize_t x_row,
                 const float *y, Py_ssize_t y_term, Py_ssize_t y_column, float *out, Py_ssize_t out_row,
                 float *room) noexcept nogil:
    """out[i, j] = sum over k of x[i, k] * y[k, j], for `y_term` or `y_column` of 1"""
    cdef Factors part = Factors(rows, 0, NULL, x_row, NULL, y_term, NULL, out_row, True)
    cdef Py_ssize_t column = 0, at, first
    cdef const float *own
    cdef int vectors
    while column < columns:
        vectors = vectors_from(rows, columns - column)
        at = max(min(column, columns - VL), <Py_ssize_t>0)
        first = 0
        while first < terms:
            part.terms, part.first = min(terms - first, <Py_ssize_t>TERMS_OF_PART), first == 0
            part.x, part.out = x + first, out + at
            own = y + first * y_term + at * y_column
            if columns < VL:
                part.y, part.y_term = own, y_term
                matmul_few_columns(&part, columns, y_column, room)
            elif y_column == 1:
                part.y = own
                matmul_vectors(vectors, &part)
            else:
                transpose_columns(room, vectors * VL, part.terms, own, y_column)
                part.y, part.y_term = room, vectors * VL
                matmul_vectors(vectors, &part)
            first += part.terms
        column = at + vectors * VL
