# Every kernel, once. Each kernels_*.pyx includes this file and is compiled with the flags of its instruction set.
#
# * Weights lie as [block of VL units][k][gate][VL], 64-byte aligned: a tile reads them front to back.
# * A tile is `rows` x `blocks` x `gates` vectors of accumulators that stay in registers over a part of k. In `product`
#   these are literals and it is inlined, so each tile is a function of its own in the machine code.
# * A sum over k is taken in parts of 128 or fewer (256 where there are more than 256 units), each from zero and in
#   order, and the parts are added up: a float sum of n numbers errs by about n, and here by about the part and the
#   number of parts. With 256 inputs and units the largest error of 100 steps is 4.4e-7, and 5.6e-7 in one part; parts
#   of 64 would give 2.9e-7 and cost 4 % more time.
#   Biases come last, and the projection after the recurrent sum: started at the larger number, every addition would
#   round as coarsely as the last. So a row's bits depend neither on the tile it falls into nor, given FMA, on the
#   vector length. With bfloat16 on AMX the processor sums in an order of its own: see `tiles.pxi`.
# * The gate arithmetic follows each tile, whose products are then still in the first-level cache.
# * Weights are kept as float, half, bf_pair or quad (weights.h). What differs between them stands in `weight_at` and
#   `multiply_add`; with quads also in `bytes.pxi`, where rows of inputs and states become rows of bytes, and in
#   `product`, where sums of whole numbers become floats.

from cpython.pycapsule cimport PyCapsule_New

from fastgru.engine.kernels cimport (
    BFLOAT16, FLOAT16, FLOAT32, GROUP, INT8, ROW_HEAD, Ahead, Kernels, Layer, row_of_bytes, row_of_pairs,
)


cdef extern from "simd.h" nogil:
    ctypedef float vf
    enum:
        VL
        TILE_ROWS
        AHEAD_ROWS
    vf broadcast(float x)
    vf load(const float *p)
    vf load_unaligned(const float *p)
    void store(float *p, vf x)
    void store_unaligned(float *p, vf x)
    void store_part(float *p, vf x, int n)
    vf at_least(vf x, float low)
    vf at_most(vf x, float high)
    void prefetch(const float *p)
    void clear_vectors(vf *to, int n)
    void load_vectors(vf *to, const float *p, int n)
    void store_vectors(float *p, const vf *source, int n)
    vf sigmoid(vf x)
    vf hyperbolic_tangent(vf x)
    unsigned int flush_subnormals()
    void restore_floating_mode(unsigned int before)


cdef extern from "weights.h" nogil:
    ctypedef struct half:
        pass
    ctypedef struct bf_pair:
        pass
    ctypedef struct quad:
        pass
    enum:
        HAS_HALF
        INPUT_ZERO
    vf load_half(const half *p)
    vf first_of(vf pairs)
    vf second_of(vf pairs)
    vf broadcast_inputs(const float *p)
    vf dot(vf sums, vf weights, vf inputs)
    vf counted(vf sums)
    vf larger_size(vf a, vf b)
    float largest_lane(vf x)
    vf with_number_below(vf x)
    vf number_of(vf x)
    void store_bytes(signed char *p, vf x)


cdef extern from "amx.h" nogil:
    enum:
        TILES
        TILE_WORDS
        MOST_SUMS
    void configure_tiles()
    void release_tiles()
    void clear_tile(int n)
    void load_tile(int n, const void *p, long stride)
    void store_tile(int n, void *p, long stride)
    void dot_bytes(int n)
    void dot_pairs(int n)
    vf store_bfloat16(void *p, vf x)

ctypedef fused Weight:
    float
    half
    bf_pair
    quad


cdef enum:  # in the order of spec.GATE_ACTIVATIONS
    LINEAR
    RELU
    TANH
    SIGMOID
    HARD_SIGMOID
    HARD_SIGMOID_KERAS2

cdef enum:
    L1_BYTES = 24576            # of weights that stay in a first-level cache of 32 KB or more beside the rest

cdef enum:  # what a tile does with its sums
    PROJECT
    STEP_AFTER          # tanh and sigmoid
    STEP_AFTER_ANY      # any pair of activations
    GATES_BEFORE
    CANDIDATE_BEFORE


cdef struct Part:               # a part of the terms of a product, for one tile
    Py_ssize_t terms
    Py_ssize_t first            # of the inputs
    const float *const *x       # a pointer a row; two rows for each row of the result where `doubled`
    bint doubled
    Py_ssize_t block_size       # weights from a block to the next
    const float *head           # of quads: (2, gates, VL), what sums start from and the weights' steps
    const float *start          # (blocks, gates, VL): what the sums are added to, or NULL for `to` itself
    float *to                   # (rows, blocks, gates, VL), rows `stride` floats apart
    Py_ssize_t stride

cdef struct Rows:               # the rows of one call
    Py_ssize_t n
    const float *const *x       # row i's inputs of the product: n pointers to `terms` floats
    const float *h              # (n, width)
    const float *const *inputs  # row i's inputs of the layer, for a tile to project itself: n pointers; or NULL
    const float *xp             # (n, blocks, 3, VL), unless `inputs` are given
    float *out                  # (n, width), or xp itself for PROJECT
    float *const *y             # n pointers to H floats, or NULL
    float *z                    # (n, width), only where reset is before
    Ahead *ahead                # or NULL


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


cdef inline int terms_of(const Weight *kept_in) noexcept nogil:
    """How many inputs, as `input_at` takes them, one weight is for."""
    if Weight is bf_pair:
        return 2
    else:
        return 1


cdef inline vf vector_at(const Weight *weights) noexcept nogil:
    if Weight is float:
        return load(weights)
    elif Weight is half:
        return load_half(weights)
    else:
        return load(<const float *>weights)


cdef inline vf weight_of(const Weight *kept_in, vf vector, const int place) noexcept nogil:
    """What is multiplied with the input at `place` of those of a vector of weights."""
    if Weight is bf_pair:
        return second_of(vector) if place else first_of(vector)
    else:
        return vector


cdef inline vf input_at(const Weight *kept_in, const float *x) noexcept nogil:
    if Weight is quad:
        return broadcast_inputs(x)
    else:
        return broadcast(x[0])


cdef inline vf multiply_add(const Weight *kept_in, vf sum, vf weights, vf x) noexcept nogil:
    if Weight is quad:
        return dot(sum, weights, x)
    else:
        return sum + weights * x


cdef inline void accumulate(vf *sums, const int rows, const int blocks, const int gates, Py_ssize_t terms,
                            const float *const *x, Py_ssize_t first, const Weight *weights,
                            Py_ssize_t block_size) noexcept nogil:
    """sums[row, block, gate, :] += sum over k < terms of x[row][first + k] * weights[block, k, gate, :], k in order."""
    cdef const float *row_x[8]
    cdef int i, j, together = terms_of(weights)
    cdef Py_ssize_t k, turn, turns = terms // 4, whole = terms // together
    for i in range(rows):
        row_x[i] = x[i] + first
    for turn in range(turns):
        for j in range(4 // together):
            accumulate_one(sums, rows, blocks, gates, 4 // together * turn + j, together, row_x, weights, block_size)
    for k in range(4 // together * turns, whole):
        accumulate_one(sums, rows, blocks, gates, k, together, row_x, weights, block_size)
    if together == 2 and terms & 1:
        accumulate_one(sums, rows, blocks, gates, whole, 1, row_x, weights, block_size)


cdef inline void accumulate_one(vf *sums, const int rows, const int blocks, const int gates, Py_ssize_t k,
                                const int terms, const float *const *row_x, const Weight *weights,
                                Py_ssize_t block_size) noexcept nogil:
    """The `terms` inputs that the weights at k are for."""
    cdef vf w[12]                   # (blocks, gates)
    cdef vf value
    cdef int i, b, g, place
    for b in range(blocks):
        for g in range(gates):
            w[b * gates + g] = vector_at(weights + b * block_size + (k * gates + g) * VL)
    for place in range(terms):
        for i in range(rows):
            value = input_at(weights, row_x[i] + k * terms_of(weights) + place)
            for g in range(blocks * gates):
                sums[i * blocks * gates + g] = multiply_add(
                    weights, sums[i * blocks * gates + g], weight_of(weights, w[g], place), value)


cdef inline Py_ssize_t head_of(const Weight *kept_in, const int gates) noexcept nogil:
    """Weights before the first one of a block: with quads, what its sums start from and the steps of its units."""
    if Weight is quad:
        return 2 * gates * VL
    else:
        return 0


cdef inline void begin_sums(vf *sums, const int rows, const int blocks, const int gates, Part *part,
                            const Weight *kept_in) noexcept nogil:
    cdef int i, b, g
    if Weight is quad:              # all terms of which are one part
        for i in range(rows):
            for b in range(blocks):
                for g in range(gates):
                    sums[(i * blocks + b) * gates + g] = load(part.head + b * part.block_size + g * VL)
    else:
        clear_vectors(sums, rows * blocks * gates)


cdef inline void finish_sums(const vf *sums, const int rows, const int blocks, const int gates, Part *part,
                             const Weight *kept_in) noexcept nogil:
    """to = start + sums; sums of bytes are first multiplied with the steps of their row and their unit."""
    cdef bint doubled = changes_rows(kept_in) and part.doubled
    cdef const float *start
    cdef float *to
    cdef vf step
    cdef int i, b, g, at
    for i in range(rows):
        to = part.to + (i >> 1 if doubled else i) * part.stride
        start = part.start
        if part.start == NULL or (doubled and i & 1):
            start = to
        if Weight is quad:
            step = broadcast((part.x[i] - 1)[0])
            for b in range(blocks):
                for g in range(gates):
                    at = b * gates + g
                    store(to + at * VL, load(start + at * VL) + counted(sums[i * blocks * gates + at])
                          * (step * load(part.head + b * part.block_size + (gates + g) * VL)))
        else:
            for g in range(blocks * gates):
                store(to + g * VL, load(start + g * VL) + sums[i * blocks * gates + g])


cdef inline void product(const int rows, const int blocks, const int gates, Part *part,
                         const Weight *weights) noexcept nogil:
    """`multiply` for a tile whose size is known when this is compiled, so that its sums stay in registers."""
    cdef vf sums[24]                # (rows, blocks, gates)
    begin_sums(sums, rows, blocks, gates, part, weights)
    accumulate(sums, rows, blocks, gates, part.terms, part.x, part.first, weights, part.block_size)
    finish_sums(sums, rows, blocks, gates, part, weights)


cdef inline void product_of_rows(const int gates, int rows, Part *part, const Weight *weights) noexcept nogil:
    if TILE_ROWS == 8:
        if rows == 8:
            product(8, 1, gates, part, weights)
            return
        if rows == 7:
            product(7, 1, gates, part, weights)
            return
        if rows == 6:
            product(6, 1, gates, part, weights)
            return
        if rows == 5:
            product(5, 1, gates, part, weights)
            return
    if rows == 4:
        product(4, 1, gates, part, weights)
    elif rows == 3:
        product(3, 1, gates, part, weights)
    elif rows == 2:
        product(2, 1, gates, part, weights)
    else:
        product(1, 1, gates, part, weights)


cdef void multiply(int rows, int blocks, int gates, Part *part, const Weight *weights) noexcept nogil:
    """A part of a product: to[row, block, gate, :] = start[block, gate, :] + sum over the part's terms of x * weights.

    A function of its own for all tiles: inlined into the loop over the parts, the compiler would keep the results of
    one part in registers during the next, and the sums no longer (1.2 to 1.7 times the time).
    """
    if blocks == 2:
        if rows == 1:
            if gates == 3:
                product(1, 2, 3, part, weights)
            elif gates == 2:
                product(1, 2, 2, part, weights)
            else:
                product(1, 2, 1, part, weights)
        else:
            if gates == 3:
                product(2, 2, 3, part, weights)
            elif gates == 2:
                product(2, 2, 2, part, weights)
            else:
                product(2, 2, 1, part, weights)
    elif gates == 3:
        product_of_rows(3, rows, part, weights)
    elif gates == 2:
        product_of_rows(2, rows, part, weights)
    else:
        product_of_rows(1, rows, part, weights)


include "ahead.pxi"
include "tiles.pxi"
include "bytes.pxi"


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
                              Py_ssize_t stride, const Layer *layer, Ahead *ahead, bint doubled) noexcept nogil:
    """to[row, block, gate, :] = start[block, gate, :] + x[row] . weights[block, :, gate, :], part by part."""
    cdef Part part = Part(0, 0, x, doubled, block_bytes // <Py_ssize_t>sizeof(Weight), <const float *>weights, start,
                          to, stride)
    weights += head_of(weights, gates)
    if Weight is quad:
        terms = (terms + 3) // 4
    if doubled:
        rows = 2 * rows
    if in_tiles(rows, weights):
        multiply_in_tiles(rows, gates, (terms + terms_of(weights) - 1) // terms_of(weights), &part, weights)
        return
    while True:
        part.terms = min(<Py_ssize_t>layer.part, terms - part.first)
        if AHEAD_ROWS and ahead != NULL and ahead.block < layer.blocks and blocks == 2:
            multiply_both(&part, weights, layer, ahead)
        else:
            multiply(rows, blocks, gates, &part, weights)
        part.first += part.terms
        weights += part.terms // terms_of(weights) * gates * VL
        part.start = NULL
        if part.first == terms:
            break


cdef inline void tile(const int kind, int rows, int blocks, const Layer *layer, Rows *given, Py_ssize_t row,
                      Py_ssize_t block, const Weight *kept_in) noexcept nogil:
    """The equation of `kind` for `rows` rows from `row` and `blocks` blocks of VL units from `block`.

    PROJECT             xp = x W_ih + b_ih
    STEP_AFTER          r = act_r(xp_r + h U_r);  z = act_r(xp_z + h U_z)
                        n = act(xp_n + r * (h U_n + b_hn));  h' = n + z * (h - n)
    GATES_BEFORE        r = act_r(xp_r + h U_r);  z = act_r(xp_z + h U_z);  out = r * h
    CANDIDATE_BEFORE    n = act(xp_n + (r * h) U_n);  h' = n + z * (h - n)
    """
    cdef vf done[MOST_SUMS]         # (rows, blocks, gates)
    cdef vf projected[MOST_SUMS]
    cdef Py_ssize_t size = 3 * VL, stride = layer.blocks * size, block_bytes = layer.hh_block
    cdef int i, g, gates = 3, doubled = 0
    cdef const Weight *w_ih = <const Weight *>(layer.w_ih + block * layer.ih_block)
    cdef const Weight *weights = <const Weight *>(layer.w_hh + block * layer.hh_block)
    cdef const float *xp = given.xp + (row * layer.blocks + block) * size
    if changes_rows(kept_in):
        doubled = 1
    if kind == PROJECT:
        multiply_all(rows, blocks, 3, layer.inputs, given.x + (row << doubled), w_ih, layer.ih_block,
                     layer.b_ih + block * size, given.out + (row * layer.blocks + block) * size, stride, layer, NULL,
                     doubled)
        return
    if kind == GATES_BEFORE:
        gates = 2
    elif kind == CANDIDATE_BEFORE:
        gates = 1
        block_bytes = layer.hn_block
        weights = <const Weight *>(layer.w_hn + block * block_bytes)
    if given.inputs != NULL:
        xp = <float *>projected
        stride = blocks * size
        multiply_all(rows, blocks, 3, layer.inputs, given.inputs + (row << doubled), w_ih, layer.ih_block,
                     layer.b_ih + block * size, <float *>projected, stride, layer, NULL, doubled)
    elif rows > 2:
        for i in range(rows):
            for g in range(gates):      # to be there at the end of the tile
                prefetch(xp + i * stride + g * VL)
    multiply_all(rows, blocks, gates, layer.hidden, given.x + row, weights, block_bytes,
                 layer.b_hh + (block * size if gates == 3 else 0), <float *>done, blocks * gates * VL, layer,
                 given.ahead if kind == STEP_AFTER and rows == 1 else NULL, False)
    gate_arithmetic(kind, rows, blocks, layer, given, row, block, xp, stride, done)


cdef inline void gate_arithmetic(const int kind, int rows, int blocks, const Layer *layer, Rows *given, Py_ssize_t row,
                                 Py_ssize_t block, const float *xp, Py_ssize_t stride, const vf *done) noexcept nogil:
    """What `tile` does with its products: `done`, (rows, blocks, gates), and `xp`, whose rows are `stride` apart."""
    cdef Py_ssize_t unit
    cdef int i, b, activation = TANH, recurrent = SIGMOID
    cdef const float *projected
    cdef vf r, z, n, h
    if kind != STEP_AFTER:
        activation = layer.activation
        recurrent = layer.recurrent_activation
    for i in range(rows):
        for b in range(blocks):
            projected = xp + i * stride + b * 3 * VL
            unit = (row + i) * layer.width + (layer.first + block + b) * VL
            h = load(given.h + unit)
            if kind == GATES_BEFORE:
                r = activated(recurrent, load(projected) + done[(i * blocks + b) * 2])
                z = activated(recurrent, load(projected + VL) + done[(i * blocks + b) * 2 + 1])
                store(given.z + unit, z)
                store(given.out + unit, r * h)
            elif kind == CANDIDATE_BEFORE:
                n = activated(activation, load(projected + 2 * VL) + done[i * blocks + b])
                z = load(given.z + unit)
                keep(layer, given, row + i, block + b, n + z * (h - n))
            else:
                r = activated(recurrent, load(projected) + done[(i * blocks + b) * 3])
                z = activated(recurrent, load(projected + VL) + done[(i * blocks + b) * 3 + 1])
                n = activated(activation, load(projected + 2 * VL) + r * done[(i * blocks + b) * 3 + 2])
                keep(layer, given, row + i, block + b, n + z * (h - n))


cdef inline void all_tiles(const int kind, const Layer *layer, Rows *given, bint backward,
                           const Weight *kept_in) noexcept nogil:
    """Blocks outside, rows inside, so that a block's weights come from far memory once for all rows.

    One or two rows take two blocks at a time, to keep enough sums in flight: 6 % faster than four, whose gate
    arithmetic is too long to overlap with the next tile's loads. `backward` walks from the last block to the first:
    taking turns from step to step, what the last tile left in L1 (or L2) is used before it goes. For one row with a
    block that fits L1 where two do not, single blocks are 4 % faster for that reason. Rows are dealt to tiles evenly
    (9 rows are 5 and 4, not 8 and 1), but fill tile registers as far as they go.
    """
    cdef Py_ssize_t block = 0, at, row, left, tiles
    cdef Py_ssize_t bytes = layer.ih_block if kind == PROJECT else layer.hh_block
    cdef bint narrow = VL == 16 and given.n == 1 and given.ahead == NULL and bytes <= L1_BYTES < 2 * bytes
    cdef int rows, most = TILE_ROWS, pairs = 2
    if changes_rows(kept_in):
        if kind == PROJECT:         # where a row of inputs is two rows
            most = TILE_ROWS // 2
            pairs = 1
    if in_tiles(given.n * TILE_ROWS // most, kept_in):
        most = most * (2 * ROWS_OF_TILE) // TILE_ROWS
        pairs = 0
    while block < layer.blocks:
        left = layer.blocks - block
        if given.n <= pairs and left >= 2 and not narrow:
            at = left - 2 if backward else block
            if kind != STEP_AFTER:      # one size for all: the compiler has enough to do
                tile(kind, <int>given.n, 2, layer, given, 0, at, kept_in)
            elif given.n == 1:
                tile(kind, 1, 2, layer, given, 0, at, kept_in)
            else:
                tile(kind, 2, 2, layer, given, 0, at, kept_in)
            block += 2
            continue
        at = left - 1 if backward else block
        row = 0
        tiles = (given.n + most - 1) // most
        while tiles > 0:
            rows = <int>((given.n - row + tiles - 1) // tiles) if most <= TILE_ROWS else min(<int>(given.n - row), most)
            tile(kind, rows, 1, layer, given, row, at, kept_in)
            row += rows
            tiles -= 1
        block += 1


cdef void project_kept(const Layer *layer, Py_ssize_t n, const float *const *x, float *xp, float *scratch,
                       const Weight *kept_in) noexcept nogil:
    cdef const float *pointers[GROUP]
    cdef Py_ssize_t first = 0
    cdef Rows rows = Rows(n, x, NULL, NULL, xp, xp, NULL, NULL, NULL)
    if changes_rows(kept_in):
        rows.x = pointers
        while first < n:
            rows.n = min(n - first, <Py_ssize_t>GROUP // 2)
            multiplied_inputs(x + first, rows.n, layer, scratch, pointers, kept_in)
            rows.xp = rows.out = xp + first * 3 * layer.blocks * VL
            all_tiles(PROJECT, layer, &rows, False, kept_in)
            first += rows.n
    else:
        all_tiles(PROJECT, layer, &rows, False, kept_in)


cdef void project(const Layer *layer, Py_ssize_t n, const float *const *x, float *xp, float *scratch) noexcept nogil:
    """xp = x W_ih + b_ih: (n, blocks, 3, VL) from n rows of I floats."""
    if layer.kept_in == FLOAT32:
        project_kept(layer, n, x, xp, scratch, <const float *>NULL)
    elif layer.kept_in == BFLOAT16:
        project_kept(layer, n, x, xp, scratch, <const bf_pair *>NULL)
    elif layer.kept_in == INT8:
        project_kept(layer, n, x, xp, scratch, <const quad *>NULL)
    elif HAS_HALF:
        project_kept(layer, n, x, xp, scratch, <const half *>NULL)


cdef void step_after(const Layer *layer, Rows *rows, bint backward, const Weight *kept_in) noexcept nogil:
    if layer.activation == TANH and layer.recurrent_activation == SIGMOID:
        all_tiles(STEP_AFTER, layer, rows, backward, kept_in)
    else:
        all_tiles(STEP_AFTER_ANY, layer, rows, backward, kept_in)


cdef void gates_before(const Layer *layer, Rows *rows, bint backward, const Weight *kept_in) noexcept nogil:
    all_tiles(GATES_BEFORE, layer, rows, backward, kept_in)


cdef void candidate_before(const Layer *layer, Rows *rows, bint backward, const Weight *kept_in) noexcept nogil:
    all_tiles(CANDIDATE_BEFORE, layer, rows, backward, kept_in)


cdef void step_kept(const Layer *layer, Py_ssize_t n, const float *const *x, const float *h, float *h_next, float *xp,
                    float *const *y, float *scratch, bint backward, const Weight *kept_in) noexcept nogil:
    """One step of n rows, in groups whose row pointers fit a small array.

    Given x, the input's product is taken tile by tile beside the state's, so that a step goes through all weights once
    and in one order: what is left of both in a cache at the end is where the next step begins.
    """
    cdef const float *pointers[GROUP]
    cdef const float *input_pointers[2]
    cdef Py_ssize_t width = layer.width, group, first, i
    cdef float *reset_states = scratch + min(n, <Py_ssize_t>GROUP) * width     # r * h, behind z
    cdef float *bytes = scratch
    cdef Rows given
    given.x = pointers
    given.inputs = NULL
    given.ahead = NULL
    given.z = scratch
    given.y = y
    if not layer.reset_after:
        bytes = reset_states + min(n, <Py_ssize_t>GROUP) * width
    if x != NULL:
        if changes_rows(kept_in):
            if n == 1 and layer.reset_after:
                multiplied_inputs(x, 1, layer, bytes + row_for(layer.hidden, kept_in), input_pointers, kept_in)
                x = input_pointers
            else:
                project_kept(layer, n, x, xp, bytes, kept_in)
                x = NULL
        elif not layer.reset_after:     # the candidate's part of it would have to wait for the reset gates
            project_kept(layer, n, x, xp, scratch, kept_in)
            x = NULL
    for group in range((n + GROUP - 1) // GROUP):
        first = group * GROUP
        given.n = min(n - first, <Py_ssize_t>GROUP)
        given.h = h + first * width
        given.xp = xp + first * 3 * layer.blocks * VL
        given.out = h_next + first * width
        if x != NULL:
            given.inputs = x + first
        if y != NULL:
            given.y = y + first
        multiplied_rows(given.h, given.n, layer, bytes, pointers, kept_in)
        if layer.reset_after:
            step_after(layer, &given, backward, kept_in)
            continue
        given.out = reset_states
        gates_before(layer, &given, backward, kept_in)
        multiplied_rows(reset_states, given.n, layer, bytes, pointers, kept_in)
        given.out = h_next + first * width
        candidate_before(layer, &given, not backward, kept_in)


cdef void step(const Layer *layer, Py_ssize_t n, const float *const *x, const float *h, float *h_next, float *xp,
               float *const *y, float *scratch, bint backward) noexcept nogil:
    if layer.kept_in == FLOAT32:
        step_kept(layer, n, x, h, h_next, xp, y, scratch, backward, <const float *>NULL)
    elif layer.kept_in == BFLOAT16:
        step_kept(layer, n, x, h, h_next, xp, y, scratch, backward, <const bf_pair *>NULL)
    elif layer.kept_in == INT8:
        step_kept(layer, n, x, h, h_next, xp, y, scratch, backward, <const quad *>NULL)
    elif HAS_HALF:
        step_kept(layer, n, x, h, h_next, xp, y, scratch, backward, <const half *>NULL)


cdef void step_ahead_kept(const Layer *layer, const float *h, float *h_next, const float *xp, float *y, bint backward,
                          Ahead *ahead, const Weight *kept_in) noexcept nogil:
    cdef const float *state = h
    cdef Rows rows = Rows(1, &state, h, NULL, xp, h_next, &y, NULL, ahead)
    if y == NULL:
        rows.y = NULL
    multiplied_rows(h, 1, layer, ahead.scratch, &state, kept_in)
    step_after(layer, &rows, backward, kept_in)


cdef void step_ahead(const Layer *layer, const float *h, float *h_next, const float *xp, float *y, bint backward,
                     Ahead *ahead) noexcept nogil:
    """One step of one row, and a piece of the projection of steps to come."""
    if layer.kept_in == FLOAT32:
        step_ahead_kept(layer, h, h_next, xp, y, backward, ahead, <const float *>NULL)
    elif layer.kept_in == BFLOAT16:
        step_ahead_kept(layer, h, h_next, xp, y, backward, ahead, <const bf_pair *>NULL)
    elif layer.kept_in == INT8:
        step_ahead_kept(layer, h, h_next, xp, y, backward, ahead, <const quad *>NULL)
    elif HAS_HALF:
        step_ahead_kept(layer, h, h_next, xp, y, backward, ahead, <const half *>NULL)


cdef void activate(int activation, Py_ssize_t n, const float *x, float *out) noexcept nogil:
    """out = activation(x) for n floats."""
    cdef Py_ssize_t i, whole = n - n % VL
    cdef float rest[VL]
    for i in range(n // VL):
        store_unaligned(out + i * VL, activated(activation, load_unaligned(x + i * VL)))
    if whole < n:
        for i in range(VL):
            rest[i] = x[whole + i] if whole + i < n else 0
        store_part(out + whole, activated(activation, load_unaligned(rest)), <int>(n - whole))


cdef unsigned int begin_work(bint tiled) noexcept nogil:
    if tiled:
        configure_tiles()
    return flush_subnormals()


cdef void end_work(bint tiled, unsigned int before) noexcept nogil:
    restore_floating_mode(before)
    if tiled:
        release_tiles()


cdef Kernels table
table.vector_length = VL
table.tile_rows = TILE_ROWS
table.project = project
table.ahead_rows = AHEAD_ROWS
table.has_half = HAS_HALF
table.input_zero = INPUT_ZERO
table.step = step
table.step_ahead = step_ahead
table.begin_ahead = begin_ahead
table.finish_ahead = finish_ahead
table.activate = activate
table.tile_words = TILE_WORDS
table.begin_work = begin_work
table.end_work = end_work


def kernels():
    """The table of this module's kernels, as a capsule."""
    return PyCapsule_New(&table, "fastgru.engine.kernels", NULL)
