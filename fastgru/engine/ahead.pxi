# A projection of the steps to come, a piece at a time beside the steps of a single row. Part of kernels.pxi.

cdef inline void multiply_both(Part *part, const float *weights, const Layer *layer, Ahead *ahead) noexcept nogil:
    """`multiply` for one row, two blocks and three gates, and beside it a piece of a projection."""
    cdef vf sums[6]
    cdef const float *start = part.start
    cdef int g
    if start == NULL:
        start = part.to
    clear_vectors(sums, 6)
    accumulate_both(sums, 2, part.terms, part.x[0] + part.first, weights, part.block_size, layer, ahead)
    for g in range(6):
        store(part.to + g * VL, load(start + g * VL) + sums[g])


cdef inline void accumulate_both(vf *sums, const int blocks, Py_ssize_t terms, const float *h, const float *weights,
                                 Py_ssize_t block_size, const Layer *layer, Ahead *ahead) noexcept nogil:
    """`accumulate` for one row, and beside it AHEAD_ROWS rows of a projection, one k for every two of the row's own.

    A single row is bound by the bandwidth of the cache its weights come from, and leaves three quarters of the
    multipliers idle; a projection of several rows is bound by the multipliers. One sequence of 100 steps with
    I = H = 128 took 241 us this way and 283 us one after the other, with I = H = 256 it was 987 and 1118 us (Zen 4,
    AVX-512). AHEAD_ROWS is 6, between 4, which reads the weights more often, and 8, which runs out of registers:
    both took 254 us. No faster: one k for every three, going through a block's weights for 12 or 24 rows before the
    next block, prefetching the row's own weights into L2 (7 to 13 % slower).
    """
    cdef vf projected[24]           # (AHEAD_ROWS, gates)
    cdef vf w[3]
    cdef vf value
    cdef const float *x[8]
    cdef const float *w_ih
    cdef Py_ssize_t begin = 0, k, turn, turns
    cdef int i, b, g, half
    while ahead.block < layer.blocks and begin + 1 < terms:
        turns = min((terms - begin) // 2, part_left(layer, ahead))
        w_ih = <const float *>layer.w_ih + (ahead.block * layer.inputs + ahead.k) * 3 * VL
        for i in range(AHEAD_ROWS):
            x[i] = ahead.x[i] + ahead.k
            for g in range(3):
                projected[i * 3 + g] = load(ahead.sums + (i * 3 + g) * VL)
        for turn in range(turns):
            for half in range(2):
                k = begin + 2 * turn + half
                value = broadcast(h[k])
                for b in range(blocks):
                    for g in range(3):
                        sums[b * 3 + g] = sums[b * 3 + g] + load(weights + b * block_size + (k * 3 + g) * VL) * value
            for g in range(3):
                w[g] = load(w_ih + (turn * 3 + g) * VL)
            for i in range(AHEAD_ROWS):
                value = broadcast(x[i][turn])
                for g in range(3):
                    projected[i * 3 + g] = projected[i * 3 + g] + w[g] * value
        for i in range(AHEAD_ROWS):
            for g in range(3):
                store(ahead.sums + (i * 3 + g) * VL, projected[i * 3 + g])
        advance(layer, ahead, turns)
        begin += 2 * turns
    for k in range(begin, terms):
        value = broadcast(h[k])
        for b in range(blocks):
            for g in range(3):
                sums[b * 3 + g] = sums[b * 3 + g] + load(weights + b * block_size + (k * 3 + g) * VL) * value


cdef inline Py_ssize_t part_left(const Layer *layer, Ahead *ahead) noexcept nogil:
    """How many inputs the part in progress still wants."""
    return min(layer.part - ahead.k % layer.part, layer.inputs - ahead.k)


cdef void advance(const Layer *layer, Ahead *ahead, Py_ssize_t terms) noexcept nogil:
    """`terms` more inputs are summed. A whole part is added to xp as by `multiply`; then the next one begins."""
    cdef bint first = ahead.k < layer.part
    cdef int i, g
    cdef float *xp
    cdef float *sums
    ahead.k += terms
    if ahead.k % layer.part and ahead.k < layer.inputs:
        return
    for i in range(AHEAD_ROWS):
        for g in range(3):
            sums = ahead.sums + (i * 3 + g) * VL
            xp = ahead.xp + ((i * layer.blocks + ahead.block) * 3 + g) * VL
            store(xp, (load(layer.b_ih + (ahead.block * 3 + g) * VL) if first else load(xp)) + load(sums))
            store(sums, broadcast(0))
    if ahead.k == layer.inputs:
        ahead.k = 0
        ahead.block += 1


cdef void begin_ahead(const Layer *layer, Ahead *ahead) noexcept nogil:
    """Begin with the first block."""
    cdef int i
    ahead.k = ahead.block = 0
    for i in range(AHEAD_ROWS * 3):
        store(ahead.sums + i * VL, broadcast(0))


cdef void finish_ahead(const Layer *layer, Ahead *ahead) noexcept nogil:
    """The part of `ahead` that is not done yet."""
    cdef vf sums[24]
    cdef Py_ssize_t terms
    cdef int i
    if AHEAD_ROWS == 0:
        return
    while ahead.block < layer.blocks:
        terms = part_left(layer, ahead)
        for i in range(AHEAD_ROWS * 3):
            sums[i] = load(ahead.sums + i * VL)
        accumulate(sums, AHEAD_ROWS, 1, 3, terms, ahead.x, ahead.k,
                   <const float *>layer.w_ih + (ahead.block * layer.inputs + ahead.k) * 3 * VL, 0)
        for i in range(AHEAD_ROWS * 3):
            store(ahead.sums + i * VL, sums[i])
        advance(layer, ahead, terms)
