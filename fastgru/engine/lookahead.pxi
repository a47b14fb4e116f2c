# A projection of the steps to come, a piece at a time beside the steps of a single row. Part of kernels.pxi.

cdef inline void multiply_with_lookahead(Part *part, const Weight *weights, const Layer *layer,
                                         Lookahead *ahead) noexcept nogil:
    """`multiply` for one row, two blocks and three gates, and beside it a piece of a projection."""
    cdef vf sums[6]
    begin_sums(sums, 1, 2, 3, part, weights)
    accumulate_with_lookahead(sums, part.terms, part.x[0] + part.first, weights, part.block_size, layer, ahead)
    finish_sums(sums, 1, 2, 3, part, weights)


cdef inline void accumulate_with_lookahead(vf *sums, Py_ssize_t terms, const float *h, const Weight *weights,
                                           Py_ssize_t block_size, const Layer *layer, Lookahead *ahead) noexcept nogil:
    """`accumulate` for one row, and beside it LOOKAHEAD_ROWS rows of a projection, a k for every two of the row's own.

    A single row is bound by the bandwidth of the cache its weights come from, and leaves three quarters of the
    multipliers idle; a projection of several rows is bound by the multipliers. One sequence of 100 steps with
    I = H = 128 took 241 us this way and 283 us one after the other, with I = H = 256 it was 987 and 1118 us; with 512
    int8 units 1.49 and 2.14 ms (Zen 4, AVX-512). LOOKAHEAD_ROWS is 6, between 4, which reads the weights more often,
    and 8, which runs out of registers: both took 254 us; 7 took 0.4 % longer with 128 units and 2.7 % less with 512. No
    faster: one k for every three, going through a block's weights for 12 or 24 rows before the next block, prefetching
    the row's own weights, into L2 (7 to 13 % slower) or 8 k ahead into L1, or those of the next tile during the gate
    arithmetic, prefetching the projection's past L2 (1 to 3 % slower), all gate arithmetic of a step after all its
    products (2 to 10 % slower).
    """
    cdef vf projected[24]           # (LOOKAHEAD_ROWS, gates)
    cdef const float *x
    cdef const Weight *w_ih
    cdef int together = terms_of(weights)
    cdef Py_ssize_t k = 0, turn, turns, whole = terms // together
    cdef int i, half_turn
    while ahead.block < plain_blocks(layer) and k + 1 < whole:
        turns = min((whole - k) // 2, ahead.left)
        w_ih = block_of_inputs(layer, ahead, weights) + ahead.k * 3 * VL
        x = ahead.columns + ahead.k * together * LOOKAHEAD_ROWS
        load_sums(projected, layer, ahead, weights)
        for turn in range(turns):
            for half_turn in range(2):
                accumulate_row(sums, k + 2 * turn + half_turn, h, weights, block_size)
            accumulate_column(projected, turn, x, w_ih)
        store_sums(projected, layer, ahead, turns, weights)
        k += 2 * turns
    while k < whole:
        accumulate_row(sums, k, h, weights, block_size)
        k += 1
    if together == 2 and terms & 1:
        accumulate_one(sums, 1, 2, 3, whole, 1, &h, weights, block_size, 0)


cdef inline void accumulate_row(vf *sums, Py_ssize_t k, const float *h, const Weight *weights,
                                Py_ssize_t block_size) noexcept nogil:
    """`accumulate_one` for the single row, whose vectors of weights are used as they come: registers are few here."""
    cdef vf x[2]
    cdef vf vector
    cdef int b, g, place
    for place in range(terms_of(weights)):
        x[place] = input_at(weights, h + k * terms_of(weights) + place)
    for b in range(2):
        for g in range(3):
            vector = vector_at(weights + b * block_size + (k * 3 + g) * VL)
            for place in range(terms_of(weights)):
                sums[b * 3 + g] = multiply_add(weights, 1, sums[b * 3 + g], weight_of(weights, vector, place), x[place])


cdef inline void accumulate_column(vf *sums, Py_ssize_t k, const float *x, const Weight *weights) noexcept nogil:
    """`accumulate_one` for the projected rows; inputs lie as (terms, LOOKAHEAD_ROWS): a pointer to each takes 6 %."""
    cdef vf w[3]
    cdef vf value
    cdef int i, g, place
    for g in range(3):
        w[g] = vector_at(weights + (k * 3 + g) * VL)
    for place in range(terms_of(weights)):
        for i in range(LOOKAHEAD_ROWS):
            value = input_at(weights, x + (k * terms_of(weights) + place) * LOOKAHEAD_ROWS + i)
            for g in range(3):
                sums[i * 3 + g] = multiply_add(weights, 1, sums[i * 3 + g], weight_of(weights, w[g], place), value)


cdef inline const Weight *block_of_inputs(const Layer *layer, Lookahead *ahead, const Weight *kind) noexcept nogil:
    """The weights of the block in progress, behind its head."""
    cdef const Weight *block = <const Weight *>(layer.w_ih + ahead.block * layer.ih_block)
    return block + head_of(kind, 3)


cdef inline Py_ssize_t words_of_inputs(const Layer *layer, const Weight *kind) noexcept nogil:
    """How many vectors of weights, for each gate, a block of W_ih has."""
    return words_of(layer.inputs, kind) // terms_of(kind)


cdef inline void part_of_inputs(Part *part, const Layer *layer, Lookahead *ahead, const Weight *kind) noexcept nogil:
    """The part in progress, as far as `begin_sums` and `finish_sums` want to know it."""
    part.x = ahead.rows
    part.two_part = two_part(kind)
    part.block_size = 0
    part.head = <const float *>(block_of_inputs(layer, ahead, kind) - head_of(kind, 3))
    part.start = layer.b_ih + ahead.block * 3 * VL if ahead.k <= words_of(layer.part, kind) // terms_of(kind) else NULL
    part.to = ahead.xp + ahead.block * 3 * VL
    part.stride = layer.blocks * 3 * VL


cdef inline void load_sums(vf *sums, const Layer *layer, Lookahead *ahead, const Weight *kind) noexcept nogil:
    """The sums of the part in progress."""
    cdef Part part
    if ahead.under_way:
        load_vectors(sums, ahead.sums, LOOKAHEAD_ROWS * 3)
    else:
        part_of_inputs(&part, layer, ahead, kind)
        begin_sums(sums, LOOKAHEAD_ROWS, 1, 3, &part, kind)


cdef inline void store_sums(vf *sums, const Layer *layer, Lookahead *ahead, Py_ssize_t words,
                          const Weight *kind) noexcept nogil:
    """`words` more are summed. A whole part is added to xp as by `multiply`; then the next one is in progress."""
    cdef Part part
    ahead.k += words
    ahead.left -= words
    ahead.under_way = ahead.left > 0
    if ahead.under_way:
        store_vectors(ahead.sums, sums, LOOKAHEAD_ROWS * 3)
        return
    part_of_inputs(&part, layer, ahead, kind)
    finish_sums(sums, LOOKAHEAD_ROWS, 1, 3, &part, kind)
    if ahead.k == words_of_inputs(layer, kind):
        ahead.k = 0
        ahead.block += 1
    ahead.left = min(words_of(layer.part, kind) // terms_of(kind), words_of_inputs(layer, kind) - ahead.k)


cdef void begin_lookahead(const Layer *layer, Lookahead *ahead, const Weight *kind) noexcept nogil:
    """Begin with the first block."""
    cdef Py_ssize_t words = words_of_inputs(layer, kind)
    cdef int i
    if LOOKAHEAD_ROWS == 0:
        return
    ahead.columns = ahead.scratch
    if converts_inputs(kind):
        multiplied_inputs(ahead.x, LOOKAHEAD_ROWS // 2 if two_part(kind) else LOOKAHEAD_ROWS, layer,
                          ahead.scratch + row_for(layer.hidden, kind), ahead.rows, kind)
        ahead.columns += row_for(layer.hidden, kind) + LOOKAHEAD_ROWS * row_for(layer.inputs, kind)
    else:
        for i in range(LOOKAHEAD_ROWS):
            ahead.rows[i] = ahead.x[i]
    to_columns(ahead.columns, ahead.rows, words * terms_of(kind))
    ahead.k = ahead.block = 0
    ahead.left = min(words_of(layer.part, kind) // terms_of(kind), words)
    ahead.under_way = False


cdef void finish_lookahead(const Layer *layer, Lookahead *ahead, const Weight *kind) noexcept nogil:
    """The part of `ahead` that is not done yet."""
    cdef vf sums[24]
    cdef Py_ssize_t words, turn
    cdef const float *x
    cdef const Weight *w_ih
    cdef Rows rows
    if LOOKAHEAD_ROWS == 0:
        return
    while ahead.block < plain_blocks(layer):
        words = ahead.left
        w_ih = block_of_inputs(layer, ahead, kind) + ahead.k * 3 * VL
        x = ahead.columns + ahead.k * terms_of(kind) * LOOKAHEAD_ROWS
        load_sums(sums, layer, ahead, kind)
        for turn in range(words):
            accumulate_column(sums, turn, x, w_ih)
        store_sums(sums, layer, ahead, words, kind)
    if ahead.block < layer.blocks:      # the last tile, which is none of those that go beside steps
        rows.n = LOOKAHEAD_ROWS // 2 if two_part(kind) else LOOKAHEAD_ROWS
        rows.x, rows.out, rows.backward = ahead.rows, ahead.xp, False
        last_tiles(PROJECT, layer, &rows, kind)
        ahead.block = layer.blocks
