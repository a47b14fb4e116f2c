# The equation of a GRU, tile by tile: products, gate arithmetic, and the order of the tiles. Part of kernels.pxi.

cdef inline vf activated(const int activation, vf x) noexcept nogil:
    if activation == TANH:
        return hyperbolic_tangent(x)
    if activation == SIGMOID:
        return sigmoid(x)
    if activation == RELU:
        return at_least(x, 0)
    if activation == HARD_SIGMOID:
        return at_most(at_least(x * broadcast(<float>(1.0 / 6.0)) + broadcast(<float>0.5), 0), 1)
    if activation == HARD_SIGMOID_KERAS2:
        return at_most(at_least(x * broadcast(<float>0.2) + broadcast(<float>0.5), 0), 1)
    return x


cdef inline void keep(const Layer *layer, Rows *rows, Py_ssize_t i, Py_ssize_t block, vf value) noexcept nogil:
    """A new state goes to the state buffer, and to the output as far as its H units reach."""
    cdef Py_ssize_t first = (layer.first + block) * VL
    store(rows.out + i * layer.width + first, value)
    if rows.y != NULL:
        if first + VL <= layer.hidden:
            store_unaligned(rows.y[i] + first, value)
        else:
            store_part(rows.y[i] + first, value, <int>(layer.hidden - first))


cdef inline void multiply_all(int rows, int blocks, int gates, Py_ssize_t terms, const float *const *x,
                              const Weight *weights, Py_ssize_t block_bytes, const float *start, float *to,
                              Py_ssize_t stride, const Layer *layer, Lookahead *ahead, bint two_rows,
                              bint backward) noexcept nogil:
    """to[row, block, gate, :] = start[block, gate, :] + x[row] . weights[block, :, gate, :], part by part."""
    cdef Py_ssize_t block_size = block_bytes // <Py_ssize_t>sizeof(Weight)
    cdef Part part = Part(0, 0, words_of(layer.part, weights), x, two_rows, block_size,
                          -block_size if backward else block_size, <const float *>weights, start, to, stride)
    weights += head_of(weights, gates)
    terms = words_of(terms, weights)
    if two_rows:
        rows = 2 * rows
    if in_tiles(rows, weights):
        multiply_in_tiles(rows, gates, (terms + terms_of(weights) - 1) // terms_of(weights), &part, weights)
        return
    while LOOKAHEAD_ROWS and blocks == 2 and ahead != NULL and ahead.block < plain_blocks(layer) and part.first < terms:
        part.terms = min(part.most, terms - part.first)
        multiply_with_lookahead(&part, weights, layer, ahead)
        weights += part.terms // terms_of(weights) * gates * VL
        part.first += part.terms
        part.start = NULL
    if part.first < terms:
        multiply(rows, blocks, gates, terms, &part, weights)


cdef inline void tile(const int stage, int rows, int blocks, const Layer *layer, Rows *given, Py_ssize_t row,
                      Py_ssize_t block, const Weight *kind) noexcept nogil:
    """The equation of `stage` for `rows` rows from `row` and `blocks` blocks of VL units from `block`.

    PROJECT             xp = x W_ih + b_ih
    STEP_AFTER          r = act_r(xp_r + h U_r);  z = act_r(xp_z + h U_z)
                        n = act(xp_n + r * (h U_n + b_hn));  h' = n + z * (h - n)
    GATES_BEFORE        r = act_r(xp_r + h U_r);  z = act_r(xp_z + h U_z);  out = r * h
    CANDIDATE_BEFORE    n = act(xp_n + (r * h) U_n);  h' = n + z * (h - n)
    """
    cdef vf done[MAX_SUMS]         # (rows, blocks, gates)
    cdef vf projected[MAX_SUMS]
    cdef const float *own[2 * ROWS_OF_TILE] # the rows of the largest tile
    cdef Py_ssize_t size = 3 * VL, at = block * size, block_bytes = layer.hh_block
    cdef int i, g, gates = 3, parts = 1 if two_part(kind) else 0
    cdef const Weight *w_ih = <const Weight *>(layer.w_ih + block * layer.ih_block)
    cdef const Weight *weights = <const Weight *>(layer.w_hh + block * layer.hh_block)
    cdef const float *const *xp = given.xp + row
    if stage == PROJECT:
        multiply_all(rows, blocks, 3, layer.inputs, given.x + (row << parts), w_ih, layer.ih_block,
                     layer.b_ih + at, given.out + row * layer.blocks * size + at, layer.blocks * size, layer, NULL,
                     parts, False)
        return
    if stage == GATES_BEFORE:
        gates = 2
    elif stage == CANDIDATE_BEFORE:
        gates = 1
        block_bytes = layer.hn_block
        weights = <const Weight *>(layer.w_hn + block * block_bytes)
    if given.inputs != NULL:
        multiply_all(rows, blocks, 3, layer.inputs, given.inputs + (row << parts), w_ih, layer.ih_block,
                     layer.b_ih + at, <float *>projected, blocks * size, layer, NULL, parts, given.backward)
        for i in range(rows):
            own[i] = <float *>projected + i * blocks * size
        xp, at = own, 0
    elif rows > 2:
        for i in range(rows):
            for g in range(gates):      # to be there at the end of the tile
                prefetch(xp[i] + at + g * VL)
    multiply_all(rows, blocks, gates, layer.hidden, given.x + row, weights, block_bytes,
                 layer.b_hh + (block * size if gates == 3 else 0), <float *>done, blocks * gates * VL, layer,
                 given.ahead if stage == STEP_AFTER and rows == 1 else NULL, False, given.backward)
    gate_arithmetic(stage, rows, blocks, gates, layer, given, row, block, xp, at, done)


cdef inline void gate_arithmetic(const int stage, int rows, int blocks, int sums, const Layer *layer, Rows *given,
                                 Py_ssize_t row, Py_ssize_t block, const float *const *xp, Py_ssize_t at,
                                 const vf *done) noexcept nogil:
    """What `tile` does with its products: `done`, (rows, blocks, sums), and those of the inputs, `at` in rows of `xp`.

    Four sigmoids or candidates together, an operation of each after the other, took 1.00 to 1.05 times as long (Zen 4).
    """
    cdef vf gates[MAX_SUMS]        # (rows, blocks, 2)
    cdef Py_ssize_t unit
    cdef int i, b, place, activation = TANH, recurrent = SIGMOID
    cdef const float *projected
    cdef vf r, z, n, h
    if stage != STEP_AFTER:
        activation = layer.activation
        recurrent = layer.recurrent_activation
    if stage == STEP_AFTER or stage == STEP_AFTER_ANY:
        for i in range(rows * blocks):  # of all rows first, so that no row's candidate waits for its reset gate alone
            projected = xp[i // blocks] + at + (i % blocks) * 3 * VL
            gates[2 * i] = activated(recurrent, load(projected) + done[sums * i])
            gates[2 * i + 1] = activated(recurrent, load(projected + VL) + done[sums * i + 1])
    for i in range(rows):
        for b in range(blocks):
            place = i * blocks + b
            projected = xp[i] + at + b * 3 * VL
            unit = (row + i) * layer.width + (layer.first + block + b) * VL
            h = load(given.h + unit)
            if stage == GATES_BEFORE:
                r = activated(recurrent, load(projected) + done[sums * place])
                z = activated(recurrent, load(projected + VL) + done[sums * place + 1])
                store(given.z + unit, z)
                store(given.out + unit, r * h)
            elif stage == CANDIDATE_BEFORE:
                n = activated(activation, load(projected + 2 * VL) + done[place])
                z = load(given.z + unit)
                keep(layer, given, row + i, block + b, n + z * (h - n))
            else:
                n = activated(activation, load(projected + 2 * VL) + gates[2 * place] * done[sums * place + 2])
                keep(layer, given, row + i, block + b, n + gates[2 * place + 1] * (h - n))


cdef inline void last_tile(const int stage, int rows, const Layer *layer, Rows *given, Py_ssize_t row,
                           const Weight *kind) noexcept nogil:
    """`tile` for the last columns of a dense layer, or units of a GRU, where `layer.last` says so.

    Units beyond the last whole block are few, and their three gates together in `last` - 3 vectors, one gate after the
    other. What a vector of one gate has beyond them is anything, and nobody reads it of a state.
    """
    cdef vf done[MAX_SUMS + 2]              # (rows, last), and what is read beyond
    cdef vf projected[MAX_SUMS + 2]
    cdef vf gates[MAX_SUMS]                 # (rows, 3): of the units beyond, and their inputs
    cdef vf projected_gates[MAX_SUMS]
    cdef const float *own[ROWS_OF_TILE]
    cdef int i, g, last = layer.last, parts = 1 if two_part(kind) else 0
    cdef Py_ssize_t block = plain_blocks(layer), size = 3 * VL, at = block * size, stride = layer.blocks * size
    cdef Py_ssize_t units = layer.hidden - (layer.first + block + 1) * VL
    cdef const Weight *w_ih = <const Weight *>(layer.w_ih + block * layer.ih_block)
    cdef const float *const *xp = given.xp + row
    if stage == PROJECT:
        multiply_all(rows, 1, last, layer.inputs, given.x + (row << parts), w_ih, layer.ih_block, layer.b_ih + at,
                     given.out + row * stride + at, stride, layer, NULL, parts, False)
        return
    if given.inputs != NULL:
        multiply_all(rows, 1, last, layer.inputs, given.inputs + (row << parts), w_ih, layer.ih_block, layer.b_ih + at,
                     <float *>projected, last * VL, layer, NULL, parts, given.backward)
        for i in range(rows):
            own[i] = <float *>projected + i * last * VL
        xp, at = own, 0
    multiply_all(rows, 1, last, layer.hidden, given.x + row, <const Weight *>(layer.w_hh + block * layer.hh_block),
                 layer.hh_block, layer.b_hh + block * size, <float *>done, last * VL, layer, NULL, False,
                 given.backward)
    gate_arithmetic(stage, rows, 1, last, layer, given, row, block, xp, at, done)
    for i in range(rows):
        for g in range(3):
            gates[3 * i + g] = load_unaligned(<float *>(done + i * last + 3) + g * units)
            projected_gates[3 * i + g] = load_unaligned(xp[i] + at + size + g * units)
        own[i] = <float *>(projected_gates + 3 * i)
    gate_arithmetic(stage, rows, 1, 3, layer, given, row, block + 1, own, 0, gates)


cdef inline void last_tiles(const int stage, const Layer *layer, Rows *given, const Weight *kind) noexcept nogil:
    """All rows of the last columns or units."""
    cdef int most = min(TILE_ROWS, 3 * TILE_ROWS // layer.last), rows
    cdef Py_ssize_t row = 0, tiles
    if stage == PROJECT and two_part(kind):
        most = most // 2
    tiles = (given.n + most - 1) // most
    while tiles > 0:
        rows = <int>((given.n - row + tiles - 1) // tiles)
        last_tile(stage, rows, layer, given, row, kind)
        row += rows
        tiles -= 1


cdef inline void all_tiles(const int stage, const Layer *layer, Rows *given, const Weight *kind) noexcept nogil:
    """Blocks outside, rows inside, so that a block's weights come from far memory once for all rows.

    One or two rows take two blocks at a time, to keep enough sums in flight: 6 % faster than four, whose gate
    arithmetic is too long to overlap with the next tile's loads. `backward` walks from the last block to the first:
    taking turns from step to step, what the last tile left in L1 (or L2) is used before it goes. For one row with a
    block that fits L1 where two do not, single blocks are 4 % faster for that reason. By AVX2 one row takes three
    blocks, whose 9 sums keep both multipliers busy where 6 wait for each other, if their weights come from L1: 12 % of
    50 units' time and 3 % of 64 units' (Zen 3), nothing with 96 and more, and float16 loses 3 %. Rows are dealt to
    tiles evenly (9 rows are 5 and 4, not 8 and 1), but fill tile registers as far as they go.
    """
    cdef Py_ssize_t block = 0, at, row, left, tiles, whole = plain_blocks(layer)
    cdef Py_ssize_t bytes = layer.ih_block if stage == PROJECT else layer.hh_block
    cdef bint three = (THREE_BLOCKS and Weight is not half and not converts_inputs(kind) and given.n == 1
                       and bytes * layer.blocks <= 2 * L1_BYTES)
    cdef bint narrow = VL == 16 and given.n == 1 and given.ahead == NULL and bytes <= L1_BYTES < 2 * bytes
    cdef int rows, most = TILE_ROWS, pairs = 2
    if two_part(kind) and stage == PROJECT:
        most = TILE_ROWS // 2
        pairs = 1
    if in_tiles(given.n * TILE_ROWS // most, kind):
        most = most * (2 * ROWS_OF_TILE) // TILE_ROWS
        pairs = 0
    if layer.last and given.backward:
        last_tiles(stage, layer, given, kind)
    while block < whole:
        left = whole - block
        if given.n <= pairs and left >= 2 and not narrow:
            if three and left != 2 and left != 4:
                tile(stage, 1, 3, layer, given, 0, left - 3 if given.backward else block, kind)
                block += 3
                continue
            at = left - 2 if given.backward else block
            if stage != STEP_AFTER:     # one size for all: the compiler has enough to do
                tile(stage, <int>given.n, 2, layer, given, 0, at, kind)
            elif given.n == 1:
                tile(stage, 1, 2, layer, given, 0, at, kind)
            else:
                tile(stage, 2, 2, layer, given, 0, at, kind)
            block += 2
            continue
        at = left - 1 if given.backward else block
        row = 0
        tiles = (given.n + most - 1) // most
        while tiles > 0:
            rows = <int>((given.n - row + tiles - 1) // tiles) if most <= TILE_ROWS else min(<int>(given.n - row), most)
            tile(stage, rows, 1, layer, given, row, at, kind)
            row += rows
            tiles -= 1
        block += 1
    if layer.last and not given.backward:
        last_tiles(stage, layer, given, kind)
