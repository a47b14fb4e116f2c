# Rows of inputs and states in the form in which they meet weights: numbers as they are, bytes, or pairs of bfloat16.
# Part of kernels.pxi.
#
# * Bytes, for quads. A number becomes a whole number of steps, at most 127 either way; a row has a step of its own, its
#   largest number over 127, so its bits depend on nothing but the row. States are within 1 and err by at most 1/254 of
#   their largest. Inputs may be of any size and are few that are far from the rest: with normal ones that rounding alone
#   gave twice the error of all else together (1.3e-2 of 1.4e-2 with 512 units). So an input is two bytes, one that
#   rounds and one of steps 254 times smaller for what the first left over, and is multiplied twice.
# * Pairs, where the processor multiplies them: PAIRS. An input or state is the nearest bfloat16. With what that leaves
#   over as a second bfloat16 of each input, 100 steps of 512 units erred by 3.5e-3 instead of 4.7e-3 and half of all
#   products were taken twice; weights of bfloat16 alone are 3.3e-3 of it.

cdef inline bint converts_inputs(const Weight *kind) noexcept nogil:
    """Whether rows of numbers are written down in another form to be multiplied."""
    return Weight is quad or Weight is dot_pair


cdef inline bint two_part(const Weight *kind) noexcept nogil:
    """Whether a row of inputs becomes two rows, the second for what the first left over."""
    return Weight is quad


cdef inline Py_ssize_t words_of(Py_ssize_t terms, const Weight *kind) noexcept nogil:
    """The 32-bit words of a row of `terms` inputs in the form in which it is multiplied."""
    if Weight is quad:
        return (terms + 3) // 4
    elif Weight is dot_pair:
        return (terms + 1) // 2
    else:
        return terms


cdef float *row_to_bytes(const float *x, Py_ssize_t terms, float *row, float *rest) noexcept nogil:
    """`terms` numbers as bytes to `row`, and what they lack to `rest`, unless that is NULL; both `row_of_bytes` long.

    Returns where the bytes begin. The float before them is the row's step; it is NaN where a number is not finite.
    """
    cdef float tail[VL]
    cdef Py_ssize_t whole = terms // VL, i
    cdef vf largest = broadcast(0), rounded, value
    cdef float most, inverse = 0
    if whole * VL < terms:
        for i in range(VL):
            tail[i] = x[whole * VL + i] if whole * VL + i < terms else 0
        largest = max_abs(largest, load_unaligned(tail))
    for i in range(whole):
        largest = max_abs(largest, load_unaligned(x + i * VL))
    most = horizontal_max(largest)
    row[ROW_HEAD - 1] = most / 127
    if most > <float>1e-30:         # below, the inverse might not be finite; such a row counts as zeros
        inverse = 127 / most
    if not inverse > 0:
        row[ROW_HEAD - 1] = 0 if most <= 1 else most - most
    if rest != NULL:
        rest[ROW_HEAD - 1] = row[ROW_HEAD - 1] / 254
    for i in range((terms + VL - 1) // VL):
        value = load_unaligned(x + i * VL if i < whole else tail) * broadcast(inverse)
        rounded = round_to_bits(value)
        store_bytes(<signed char *>(row + ROW_HEAD) + i * VL, rounded)
        if rest != NULL:
            store_bytes(<signed char *>(rest + ROW_HEAD) + i * VL,
                        round_to_bits((value - rounded_from(rounded)) * broadcast(254)))
    return row + ROW_HEAD


cdef void inputs_to_bytes(const float *const *x, Py_ssize_t n, Py_ssize_t terms, float *scratch,
                          const float **pointers) noexcept nogil:
    """Two rows of bytes for each of n rows of inputs: `pointers` has 2 n."""
    cdef Py_ssize_t i, size = row_of_bytes(terms)
    for i in range(n):
        pointers[2 * i] = row_to_bytes(x[i], terms, scratch + 2 * i * size, scratch + (2 * i + 1) * size)
        pointers[2 * i + 1] = pointers[2 * i] + size


cdef float *row_to_pairs(const float *x, Py_ssize_t terms, float *row) noexcept nogil:
    """`terms` numbers as bfloat16 to `row`, `row_of_pairs` long, and zeros to a whole pair or tile.

    Returns where they begin.
    """
    cdef float tail[VL]
    cdef Py_ssize_t whole = terms // VL, i, k
    for i in range(whole):
        store_bfloat16(<char *>(row + ROW_HEAD) + i * 2 * VL, load_unaligned(x + i * VL))
    for i in range(whole, (terms + 2 * TILE_WORDS - 1) // (2 * TILE_WORDS) * 2 * TILE_WORDS // VL
                   if TILES else (terms + VL - 1) // VL):
        for k in range(VL):
            tail[k] = x[i * VL + k] if i * VL + k < terms else 0
        store_bfloat16(<char *>(row + ROW_HEAD) + i * 2 * VL, load_unaligned(tail))
    return row + ROW_HEAD


cdef inline Py_ssize_t row_for(Py_ssize_t terms, const Weight *kind) noexcept nogil:
    """The floats that such a row of `terms` inputs takes, with its head."""
    if Weight is quad:
        return row_of_bytes(terms)
    else:
        return row_of_pairs(terms)


cdef inline void multiplied_inputs(const float *const *x, Py_ssize_t n, const Layer *layer, float *scratch,
                                   const float **pointers, const Weight *kind) noexcept nogil:
    """What the weights of the inputs are multiplied with, where `converts_inputs`: a pointer to each of n rows, or two.
    """
    cdef Py_ssize_t i
    if Weight is quad:
        inputs_to_bytes(x, n, layer.inputs, scratch, pointers)
    else:
        for i in range(n):
            pointers[i] = row_to_pairs(x[i], layer.inputs, scratch + i * row_of_pairs(layer.inputs))


cdef inline void multiplied_rows(const float *states, Py_ssize_t n, const Layer *layer, float *scratch,
                                 const float **pointers, const Weight *kind) noexcept nogil:
    """What the recurrent weights are multiplied with: the rows of `states`, (n, width), or what they become."""
    cdef Py_ssize_t i
    for i in range(n):
        if Weight is quad:
            pointers[i] = row_to_bytes(states + i * layer.width, layer.hidden,
                                       scratch + i * row_for(layer.hidden, kind), NULL)
        elif converts_inputs(kind):
            pointers[i] = row_to_pairs(states + i * layer.width, layer.hidden,
                                       scratch + i * row_for(layer.hidden, kind))
        else:
            pointers[i] = states + i * layer.width
