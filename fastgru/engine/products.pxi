# Products of rows with packed weights, for every kind of weights. Part of kernels.pxi.
#
# What the kinds differ in stands in the small functions at the top; with quads, sums begin at what their head says and
# end as floats in `finish_sums`.

cdef inline int terms_of(const Weight *kind) noexcept nogil:
    """How many inputs, as `input_at` takes them, one weight is for."""
    return 2 if Weight is bf_pair else 1


cdef inline vf vector_at(const Weight *weights) noexcept nogil:
    if Weight is float:
        return load(weights)
    elif Weight is half:
        return load_half(weights)
    else:
        return load(<const float *>weights)


cdef inline vf weight_of(const Weight *kind, vf vector, const int place) noexcept nogil:
    """What is multiplied with the input at `place` of those of a vector of weights."""
    if Weight is bf_pair:
        return second_of(vector) if place else first_of(vector)
    else:
        return vector


cdef inline vf input_at(const Weight *kind, const float *x) noexcept nogil:
    if converts_inputs(kind):
        return broadcast_inputs(x)
    return broadcast(x[0])


cdef inline bint held_by(const int rows, const Weight *kind) noexcept nogil:
    """Whether a product of so many rows says what is in registers, and does not leave it to the compiler."""
    return Weight is not quad and rows > 2


cdef inline vf multiply_add(const Weight *kind, const int rows, vf sum, vf weights, vf x) noexcept nogil:
    if Weight is quad:
        return dot(sum, weights, x)
    elif converts_inputs(kind):
        return dot_pairs(sum, weights, x)
    elif held_by(rows, kind):
        return added(sum, weights, x)
    else:
        return sum + weights * x


cdef inline void accumulate(vf *sums, const int rows, const int blocks, const int gates, const Part *part,
                            const Weight *weights) noexcept nogil:
    """sums[row, block, gate, :] += sum over the part's k of x[row][first + k] * weights[block, k, gate, :], k in order.
    """
    cdef const float *row_x[8]
    cdef int i, j, together = terms_of(weights)
    cdef Py_ssize_t k, turn, turns = part.terms // 4, whole = part.terms // together
    for i in range(rows):
        row_x[i] = part.x[i] + part.first
    for turn in range(turns):
        for j in range(4 // together):
            accumulate_one(sums, rows, blocks, gates, 4 // together * turn + j, together, row_x, weights,
                           part.block_size, part.next_block)
    for k in range(4 // together * turns, whole):
        accumulate_one(sums, rows, blocks, gates, k, together, row_x, weights, part.block_size, part.next_block)
    if together == 2 and part.terms & 1:
        accumulate_one(sums, rows, blocks, gates, whole, 1, row_x, weights, part.block_size, part.next_block)


cdef inline void accumulate_single(vf *sums, const int blocks, const int gates, const Part *part,
                                   const Weight *weights) noexcept nogil:
    """`accumulate` for one row as clang wants it.

    Clang 14 writes these sums to memory at every k, unless they are copied to where nothing else has their address, and
    keeps all weights of a k in registers, which are too few. Single rows of bfloat16 took 1.18 to 1.4 times as long as
    by GCC, and take 0.96 to 1.06 (Zen 4, AVX-512 and AVX2, 32 to 512 units).
    """
    cdef vf copied[24]
    cdef int i, place, together = terms_of(weights)
    cdef Py_ssize_t k, whole = part.terms // together
    cdef const float *x = part.x[0] + part.first
    for i in range(blocks * gates):
        copied[i] = sums[i]
    for k in range(whole):
        for place in range(together):
            accumulate_input(copied, blocks, gates, k, place, x, weights, part.block_size)
    if together == 2 and part.terms & 1:
        accumulate_input(copied, blocks, gates, whole, 0, x, weights, part.block_size)
    for i in range(blocks * gates):
        sums[i] = copied[i]


cdef inline void accumulate_input(vf *sums, const int blocks, const int gates, Py_ssize_t k, const int place,
                                  const float *x, const Weight *weights, Py_ssize_t block_size) noexcept nogil:
    """The input of a single row at a place of those that the weights at k are for."""
    cdef vf value = input_at(weights, x + k * terms_of(weights) + place)
    cdef vf vector
    cdef int b, g
    for b in range(blocks):
        for g in range(gates):
            vector = vector_at(weights + b * block_size + (k * gates + g) * VL)
            sums[b * gates + g] = multiply_add(
                weights, 1, sums[b * gates + g], weight_of(weights, vector, place), value)


cdef inline void accumulate_one(vf *sums, const int rows, const int blocks, const int gates, Py_ssize_t k,
                                const int terms, const float *const *row_x, const Weight *weights,
                                Py_ssize_t block_size, Py_ssize_t next_block) noexcept nogil:
    """The `terms` inputs that the weights at k are for.

    Several rows have time to bring the next block of weights into L2 beside: 1 to 4 % with 256 or 512 units, where W_hh
    does not fit there beside the rest (Zen 4, 1 MB of L2). Bytes do fit, and nothing is won.
    """
    cdef vf w[12]                   # (blocks, gates)
    cdef vf value
    cdef const Weight *at
    cdef int i, b, g, place
    for place in range(terms):
        for b in range(blocks):
            for g in range(gates):
                at = weights + b * block_size + (k * gates + g) * VL
                w[b * gates + g] = weight_of(weights, vector_at(at), place)
                if held_by(rows, weights):
                    w[b * gates + g] = held(w[b * gates + g])
                if rows >= 4 and place == 0 and Weight is not quad:
                    prefetch_far(<const float *>(at + next_block))
        for i in range(rows):
            value = input_at(weights, row_x[i] + k * terms_of(weights) + place)
            if held_by(rows, weights):
                value = held(value)
            for g in range(blocks * gates):
                sums[i * blocks * gates + g] = multiply_add(
                    weights, rows, sums[i * blocks * gates + g], w[g], value)


cdef inline Py_ssize_t head_of(const Weight *kind, const int gates) noexcept nogil:
    """Weights before the first one of a block: with quads, what its sums start from and the steps of its units."""
    if Weight is quad:
        return 2 * gates * VL
    else:
        return 0


cdef inline void begin_sums(vf *sums, const int rows, const int blocks, const int gates, Part *part,
                            const Weight *kind) noexcept nogil:
    cdef int i, b, g
    if Weight is quad:              # all terms of which are one part
        for i in range(rows):
            for b in range(blocks):
                for g in range(gates):
                    sums[(i * blocks + b) * gates + g] = load(part.head + b * part.block_size + g * VL)
    else:
        clear_vectors(sums, rows * blocks * gates)


cdef inline void finish_sums(const vf *sums, const int rows, const int blocks, const int gates, Part *part,
                             const Weight *kind) noexcept nogil:
    """to = start + sums"""
    cdef const float *start
    cdef float *to
    cdef int i, g
    if Weight is quad:
        if part.two_part:
            finish_bytes(sums, rows, blocks, gates, 2, part)
        else:
            finish_bytes(sums, rows, blocks, gates, 1, part)
    else:
        for i in range(rows):
            to = part.to + i * part.stride
            start = part.start
            if start == NULL:
                start = to
            for g in range(blocks * gates):
                store(to + g * VL, load(start + g * VL) + sums[i * blocks * gates + g])


cdef inline void finish_bytes(const vf *sums, const int rows, const int blocks, const int gates, const int parts,
                              Part *part) noexcept nogil:
    """to = start + sums of products of bytes, times the scales of their row and their unit; `parts` rows are one."""
    cdef vf scales[2]
    cdef vf value
    cdef int i, b, g, k, at
    for i in range(rows // parts):
        for k in range(parts):
            scales[k] = broadcast((part.x[i * parts + k] - 1)[0])
        for b in range(blocks):
            for g in range(gates):
                at = b * gates + g
                value = load(part.start + at * VL)
                for k in range(parts):
                    value = value + int_to_float(sums[(i * parts + k) * blocks * gates + at]) * (
                        scales[k] * load(part.head + b * part.block_size + (gates + g) * VL))
                store(part.to + i * part.stride + at * VL, value)


cdef inline void product(const int rows, const int blocks, const int gates, Py_ssize_t terms, Part *part,
                         const Weight *weights) noexcept nogil:
    """`multiply` for a tile whose size is known when this is compiled, so that its sums stay in registers.

    The loop over the parts is here because GCC unrolls what lies inside of a loop before it decides what is kept in
    registers, and what does not lie in one after it: called part by part, sums went to memory and back between parts
    (batches took 2 to 5 % longer in float32, 9 % in int8). Without the barrier it would keep the results of one part in
    registers during the next, and the sums no longer (1.2 to 1.7 times the time).
    """
    cdef vf sums[24]                # (rows, blocks, gates)
    while part.first < terms:
        part.terms = min(part.most, terms - part.first)
        begin_sums(sums, rows, blocks, gates, part, weights)
        if FOR_CLANG and rows == 1:
            accumulate_single(sums, blocks, gates, part, weights)
        else:
            accumulate(sums, rows, blocks, gates, part, weights)
        finish_sums(sums, rows, blocks, gates, part, weights)
        weights += part.terms // terms_of(weights) * gates * VL
        part.first += part.terms
        part.start = NULL
        compiler_barrier()


cdef inline void product_of_rows(const int gates, int rows, Py_ssize_t terms, Part *part,
                                 const Weight *weights) noexcept nogil:
    if 8 * gates <= 3 * TILE_ROWS and rows == 8:
        product(8, 1, gates, terms, part, weights)
    elif 7 * gates <= 3 * TILE_ROWS and rows == 7:
        product(7, 1, gates, terms, part, weights)
    elif 6 * gates <= 3 * TILE_ROWS and rows == 6:
        product(6, 1, gates, terms, part, weights)
    elif 5 * gates <= 3 * TILE_ROWS and rows == 5:
        product(5, 1, gates, terms, part, weights)
    elif 4 * gates <= 3 * TILE_ROWS and rows == 4:
        product(4, 1, gates, terms, part, weights)
    elif 3 * gates <= 3 * TILE_ROWS and rows == 3:
        product(3, 1, gates, terms, part, weights)
    elif rows == 2:
        product(2, 1, gates, terms, part, weights)
    else:
        product(1, 1, gates, terms, part, weights)


cdef void multiply(int rows, int blocks, int gates, Py_ssize_t terms, Part *part, const Weight *weights) noexcept nogil:
    """to[row, block, gate, :] = start[block, gate, :] + the sum over terms from part.first on of x * weights."""
    if blocks == 3:
        if gates == 3:
            product(1, 3, 3, terms, part, weights)
        elif gates == 2:
            product(1, 3, 2, terms, part, weights)
        else:
            product(1, 3, 1, terms, part, weights)
    elif blocks == 2:
        if rows == 1:
            if gates == 3:
                product(1, 2, 3, terms, part, weights)
            elif gates == 2:
                product(1, 2, 2, terms, part, weights)
            else:
                product(1, 2, 1, terms, part, weights)
        else:
            if gates == 3:
                product(2, 2, 3, terms, part, weights)
            elif gates == 2:
                product(2, 2, 2, terms, part, weights)
            else:
                product(2, 2, 1, terms, part, weights)
    elif TILE_ROWS == 8 and gates == 5:
        product_of_rows(5, rows, terms, part, weights)
    elif TILE_ROWS == 8 and gates == 4:
        product_of_rows(4, rows, terms, part, weights)
    elif gates == 3:
        product_of_rows(3, rows, terms, part, weights)
    elif gates == 2:
        product_of_rows(2, rows, terms, part, weights)
    else:
        product_of_rows(1, rows, terms, part, weights)
