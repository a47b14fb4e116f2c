# Every kernel, once. Each kernels_*.pyx includes this file and is compiled with the flags of its instruction set.
#
# * Weights lie as [block of VL units][k][gate][VL], 64-byte aligned: a tile reads them front to back.
# * A tile is `rows` x `blocks` x `gates` vectors of accumulators that stay in registers over all of k. `rows`,
#   `blocks` and `gates` are literals at every call and the functions are inlined, so each tile is a function of its
#   own in the machine code.
# * Every output is one accumulator, summed over k in order (a projection: part by part, by a rule of the layer's
#   alone). So a row's bits depend neither on the tile it falls into nor, given FMA, on the vector length.
#   The recurrent sum starts at zero and the projection is added at its end:
#   started at the projection, which is the larger by far, every addition would round as coarsely as the last.
# * The gate arithmetic runs on the accumulators at the end of the tile: pre-activations never go to memory.

from cpython.pycapsule cimport PyCapsule_New

from fastgru.engine.kernels cimport Ahead, Kernels, Layer


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
    void copy_vectors(vf *to, const vf *source, int n)
    vf sigmoid(vf x)
    vf hyperbolic_tangent(vf x)
    unsigned int flush_subnormals()
    void restore_floating_mode(unsigned int before)


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


cdef struct Rows:               # the rows of one call
    Py_ssize_t n
    const float *const *x       # row i's inputs of the product: n pointers to `terms` floats
    const float *h              # (n, width)
    const float *xp             # (n, blocks, 3, VL)
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


cdef inline void accumulate(vf *sums, const int rows, const int blocks, const int gates, Py_ssize_t terms,
                            const float *const *x, Py_ssize_t first, const float *weights,
                            Py_ssize_t block_size) noexcept nogil:
    """sums[row, block, gate, :] += sum over k < terms of x[row][first + k] * weights[block, k, gate, :], k in order."""
    cdef vf w[12]                   # (blocks, gates)
    cdef const float *row_x[8]
    cdef vf value
    cdef Py_ssize_t k
    cdef int i, b, g
    for i in range(rows):
        row_x[i] = x[i] + first
    for k in range(terms):
        for b in range(blocks):
            for g in range(gates):
                w[b * gates + g] = load(weights + b * block_size + (k * gates + g) * VL)
        for i in range(rows):
            value = broadcast(row_x[i][k])
            for g in range(blocks * gates):
                sums[i * blocks * gates + g] = sums[i * blocks * gates + g] + w[g] * value


include "ahead.pxi"


cdef inline void keep(const Layer *layer, Rows *rows, Py_ssize_t i, Py_ssize_t block, vf value) noexcept nogil:
    """A new state goes to the state buffer, and to the output as far as its H units reach."""
    cdef Py_ssize_t first = (layer.first + block) * VL
    store(rows.out + i * layer.width + first, value)
    if rows.y != NULL:
        if first + VL <= layer.hidden:
            store_unaligned(rows.y[i] + first, value)
        else:
            store_part(rows.y[i] + first, value, <int>(layer.hidden - first))


cdef inline void project_tile(const int rows, const int blocks, const Layer *layer, Rows *given, Py_ssize_t row,
                              Py_ssize_t block) noexcept nogil:
    """xp = x W_ih + b_ih for `rows` rows from `row` and `blocks` blocks of VL units from `block`.

    Inputs are summed in parts, each from zero, and a part is added to xp when it is done: a float sum of n numbers
    errs by about n, and here by about the part and the number of parts. With I = H = 512 the error falls by half.
    """
    cdef vf sums[24]                # (rows, blocks, 3)
    cdef Py_ssize_t k = 0, terms, block_size = <Py_ssize_t>layer.inputs * 3 * VL
    cdef float *xp
    cdef int i, b, g
    for i in range(rows):
        for b in range(blocks):
            for g in range(3):
                sums[(i * blocks + b) * 3 + g] = load(layer.b_ih + ((block + b) * 3 + g) * VL)
    while k < layer.inputs:
        terms = min(<Py_ssize_t>layer.part, layer.inputs - k)
        accumulate(sums, rows, blocks, 3, terms, given.x + row, k,
                   layer.w_ih + block * block_size + k * 3 * VL, block_size)
        for i in range(rows):
            for b in range(blocks):
                xp = given.out + ((row + i) * layer.blocks + block + b) * 3 * VL
                for g in range(3):
                    if k:
                        sums[(i * blocks + b) * 3 + g] = load(xp + g * VL) + sums[(i * blocks + b) * 3 + g]
                    store(xp + g * VL, sums[(i * blocks + b) * 3 + g])
                    sums[(i * blocks + b) * 3 + g] = broadcast(0)
        k += terms


cdef inline void tile(const int kind, const int rows, const int blocks, const Layer *layer, Rows *given,
                      Py_ssize_t row, Py_ssize_t block, const bint carrying) noexcept nogil:
    """The equation of `kind` for `rows` rows from `row` and `blocks` blocks of VL units from `block`.

    STEP_AFTER          r = act_r(xp_r + h U_r);  z = act_r(xp_z + h U_z)
                        n = act(xp_n + r * (h U_n + b_hn));  h' = n + z * (h - n)
    GATES_BEFORE        r = act_r(xp_r + h U_r);  z = act_r(xp_z + h U_z);  out = r * h
    CANDIDATE_BEFORE    n = act(xp_n + (r * h) U_n);  h' = n + z * (h - n)
    """
    cdef vf sums[24]                # (rows, blocks, gates)
    cdef vf done[24]
    cdef vf r, z, n, h
    cdef int i, b, g, gates = 3, activation = TANH, recurrent = SIGMOID
    cdef Py_ssize_t terms = layer.hidden, unit
    cdef const float *weights = layer.w_hh
    cdef const float *xp
    if kind == PROJECT:
        project_tile(rows, blocks, layer, given, row, block)
        return
    if kind == GATES_BEFORE:
        gates = 2
    elif kind == CANDIDATE_BEFORE:
        gates = 1
        weights = layer.w_hn
    if kind != STEP_AFTER:
        activation = layer.activation
        recurrent = layer.recurrent_activation
    weights = weights + block * terms * gates * VL

    for i in range(rows):
        for b in range(blocks):
            for g in range(gates):
                sums[(i * blocks + b) * gates + g] = broadcast(0)
                if g == 2:
                    sums[(i * blocks + b) * gates + g] = load(layer.b_hn + (block + b) * VL)
                if rows > 2:                        # to be there at the end of the tile
                    prefetch(given.xp + (((row + i) * layer.blocks + block + b) * 3 + g) * VL)

    if carrying:
        accumulate_both(sums, blocks, terms, given.x[0], weights, terms * 3 * VL, layer, given.ahead)
    else:
        accumulate(sums, rows, blocks, gates, terms, given.x + row, 0, weights, terms * gates * VL)

    copy_vectors(done, sums, rows * blocks * gates)
    for i in range(rows):
        for b in range(blocks):
            xp = given.xp + ((row + i) * layer.blocks + block + b) * 3 * VL
            unit = (row + i) * layer.width + (layer.first + block + b) * VL
            h = load(given.h + unit)
            if kind == GATES_BEFORE:
                r = activated(recurrent, load(xp) + done[(i * blocks + b) * 2])
                z = activated(recurrent, load(xp + VL) + done[(i * blocks + b) * 2 + 1])
                store(given.z + unit, z)
                store(given.out + unit, r * h)
            elif kind == CANDIDATE_BEFORE:
                n = activated(activation, load(xp + 2 * VL) + done[i * blocks + b])
                z = load(given.z + unit)
                keep(layer, given, row + i, block + b, n + z * (h - n))
            else:
                r = activated(recurrent, load(xp) + done[(i * blocks + b) * 3])
                z = activated(recurrent, load(xp + VL) + done[(i * blocks + b) * 3 + 1])
                n = activated(activation, load(xp + 2 * VL) + r * done[(i * blocks + b) * 3 + 2])
                keep(layer, given, row + i, block + b, n + z * (h - n))


cdef inline void row_tile(const int kind, int rows, const Layer *layer, Rows *given, Py_ssize_t row,
                          Py_ssize_t block) noexcept nogil:
    if TILE_ROWS == 8:
        if rows == 8:
            tile(kind, 8, 1, layer, given, row, block, False)
            return
        if rows == 7:
            tile(kind, 7, 1, layer, given, row, block, False)
            return
        if rows == 6:
            tile(kind, 6, 1, layer, given, row, block, False)
            return
        if rows == 5:
            tile(kind, 5, 1, layer, given, row, block, False)
            return
    if rows == 4:
        tile(kind, 4, 1, layer, given, row, block, False)
    elif rows == 3:
        tile(kind, 3, 1, layer, given, row, block, False)
    elif rows == 2:
        tile(kind, 2, 1, layer, given, row, block, False)
    else:
        tile(kind, 1, 1, layer, given, row, block, False)


cdef inline void all_tiles(const int kind, const Layer *layer, Rows *given, bint backward) noexcept nogil:
    """Blocks outside, rows inside, so that a block's weights come from far memory once for all rows.

    One or two rows take two blocks at a time, to keep enough sums in flight: 6 % faster than four, whose gate
    arithmetic is too long to overlap with the next tile's loads. `backward` walks from the last block to the first:
    taking turns from step to step, what the last tile left in L1 (or L2) is used before it goes. For one row with a
    block that fits L1 where two do not, single blocks are 4 % faster for that reason. Rows are dealt to tiles evenly
    (9 rows are 5 and 4, not 8 and 1).
    """
    cdef Py_ssize_t block = 0, at, row, left, tiles
    cdef Py_ssize_t bytes = 12 * VL * (layer.inputs if kind == PROJECT else layer.hidden)   # of a block's weights
    cdef bint narrow = VL == 16 and given.n == 1 and given.ahead == NULL and bytes <= L1_BYTES < 2 * bytes
    cdef int rows
    while block < layer.blocks:
        left = layer.blocks - block
        if given.n <= 2 and left >= 2 and not narrow:
            at = left - 2 if backward else block
            if AHEAD_ROWS and kind in (STEP_AFTER, STEP_AFTER_ANY) and given.ahead != NULL and given.ahead.block < layer.blocks:
                tile(kind, 1, 2, layer, given, 0, at, True)
            elif given.n == 1:
                tile(kind, 1, 2, layer, given, 0, at, False)
            else:
                tile(kind, 2, 2, layer, given, 0, at, False)
            block += 2
            continue
        at = left - 1 if backward else block
        row = 0
        tiles = (given.n + TILE_ROWS - 1) // TILE_ROWS
        while tiles > 0:
            rows = <int>((given.n - row + tiles - 1) // tiles)
            row_tile(kind, rows, layer, given, row, at)
            row += rows
            tiles -= 1
        block += 1


cdef void project(const Layer *layer, Py_ssize_t n, const float *const *x, float *xp) noexcept nogil:
    """xp = x W_ih + b_ih: (n, blocks, 3, VL) from n rows of I floats."""
    cdef Rows rows = Rows(n, x, NULL, xp, xp, NULL, NULL, NULL)
    all_tiles(PROJECT, layer, &rows, False)


cdef void step_after(const Layer *layer, Rows *rows, bint backward) noexcept nogil:
    if layer.activation == TANH and layer.recurrent_activation == SIGMOID:
        all_tiles(STEP_AFTER, layer, rows, backward)
    else:
        all_tiles(STEP_AFTER_ANY, layer, rows, backward)


cdef void gates_before(const Layer *layer, Rows *rows, bint backward) noexcept nogil:
    all_tiles(GATES_BEFORE, layer, rows, backward)


cdef void candidate_before(const Layer *layer, Rows *rows, bint backward) noexcept nogil:
    all_tiles(CANDIDATE_BEFORE, layer, rows, backward)


cdef enum:
    GROUP = 64                  # rows whose pointers are laid out at a time


cdef void step(const Layer *layer, Py_ssize_t n, const float *h, float *h_next, const float *xp, float *const *y,
               float *scratch, bint backward) noexcept nogil:
    """One step of n rows, in groups whose row pointers fit a small array."""
    cdef const float *pointers[GROUP]
    cdef Py_ssize_t width = layer.width, group, first, i
    cdef Rows given
    given.x = pointers
    given.ahead = NULL
    given.z = scratch
    given.y = y
    for group in range((n + GROUP - 1) // GROUP):
        first = group * GROUP
        given.n = min(n - first, <Py_ssize_t>GROUP)
        given.h = h + first * width
        given.xp = xp + first * 3 * layer.blocks * VL
        given.out = h_next + first * width
        if y != NULL:
            given.y = y + first
        for i in range(given.n):
            pointers[i] = given.h + i * width
        if layer.reset_after:
            step_after(layer, &given, backward)
            continue
        given.out = scratch + given.n * width   # r * h, behind z
        gates_before(layer, &given, backward)
        for i in range(given.n):
            pointers[i] = given.out + i * width
        given.out = h_next + first * width
        candidate_before(layer, &given, not backward)


cdef void step_ahead(const Layer *layer, const float *h, float *h_next, const float *xp, float *y, bint backward,
                     Ahead *ahead) noexcept nogil:
    """One step of one row, and a piece of the projection of steps to come."""
    cdef Rows rows = Rows(1, &h, h, xp, h_next, &y, NULL, ahead)
    if y == NULL:
        rows.y = NULL
    step_after(layer, &rows, backward)


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


cdef Kernels table
table.vector_length = VL
table.tile_rows = TILE_ROWS
table.project = project
table.ahead_rows = AHEAD_ROWS
table.step = step
table.step_ahead = step_ahead
table.begin_ahead = begin_ahead
table.finish_ahead = finish_ahead
table.activate = activate
table.flush_subnormals = flush_subnormals
table.restore_floating_mode = restore_floating_mode


def kernels():
    """The table of this module's kernels, as a capsule."""
    return PyCapsule_New(&table, "fastgru.engine.kernels", NULL)
