# Every kernel, once. Each kernels_*.pyx includes this file and is compiled with the flags of its instruction set.
#
# * Weights lie as [block of VL units][k][gate][VL], 64-byte aligned: a tile reads them front to back.
# * A tile is `rows` x `blocks` x `gates` vectors of accumulators that stay in registers over a part of k. In `product`
#   these are literals and it is inlined, so each tile is a function of its own in the machine code.
# * A sum over k is taken in parts of 128 or fewer (256 where there are more than 256 units), each from zero and in
#   order, and the parts are added up: a float sum of n numbers errs by about n, and here by about the part and the
#   number of parts. With 256 inputs and units the largest error of 100 steps is 4.4e-7, and 5.6e-7 in one part; parts
#   of 64 would give 2.9e-7 and take 3 % longer.
#   Biases come last, and the projection after the recurrent sum: started at the larger number, every addition would
#   round as coarsely as the last. So a row's bits depend neither on the tile it falls into nor, given FMA, on the
#   vector length. With bfloat16 on AMX the processor sums in an order of its own: see `tiles.pxi`.
# * The gate arithmetic follows each tile, whose products are then still in the first-level cache.
# * Weights are kept as float, half, bf_pair, dot_pair or quad (weights.h); what differs between them stands in
#   `products.pxi`, and in `inputs.pxi`, where rows of inputs and states become rows of bytes or of pairs.

from cpython.pycapsule cimport PyCapsule_New

from fastgru.engine.kernels cimport (
    BFLOAT16, FLOAT16, FLOAT32, FLOAT32_AS_BFLOAT16, GROUP, INT8, LOG_SOFTMAX, MAX, MIN, ROW_HEAD, SOFTMAX, SOFTMIN,
    SUM, VECTORS, KindKernels,
    Kernels, Layer, Lookahead, MoveLookahead, Project, Step, StepLookahead, plain_blocks, row_of_bytes, row_of_pairs,
)


cdef extern from "simd.h" nogil:
    ctypedef float vf
    enum:
        VL
        TILE_ROWS
        LOOKAHEAD_ROWS
        FOR_CLANG
    vf broadcast(float x)
    bint THREE_BLOCKS
    vf held(vf x)
    vf added(vf sum, vf x, vf y)
    vf load(const float *p)
    vf load_unaligned(const float *p)
    void store(float *p, vf x)
    void store_unaligned(float *p, vf x)
    void store_part(float *p, vf x, int n)
    vf at_least(vf x, float low)
    vf at_most(vf x, float high)
    void prefetch(const float *p)
    void prefetch_far(const float *p)
    void clear_vectors(vf *to, int n)
    void load_vectors(vf *to, const float *p, int n)
    void store_vectors(float *p, const vf *source, int n)
    void compiler_barrier()
    void to_columns(float *columns, const float *const *rows, Py_ssize_t terms)
    vf sigmoid(vf x)
    vf hyperbolic_tangent(vf x)
    unsigned int flush_subnormals()
    void restore_floating_mode(unsigned int before)


cdef extern from "doubles.h" nogil:
    ctypedef double vd
    enum:
        VD
        DOUBLES_OF_BLOCK
    vd broadcast_double(double x)
    vd load_doubles(const double *p)
    void store_doubles(double *p, vd x)
    vd to_doubles(const float *p)
    vd part_to_doubles(const float *p, int n)
    vd first_lanes(vd x, int n)
    void store_rounded(float *p, vd x)
    double sum_of_lanes(vd x)
    vd power_of_e(vd d)
    vf larger(vf a, vf b)
    vf smaller(vf a, vf b)
    vf unless_nan(vf a, vf b)
    float largest_of_lanes(vf x)


cdef extern from "weights.h" nogil:
    ctypedef struct half:
        pass
    ctypedef struct bf_pair:
        pass
    ctypedef struct dot_pair:
        pass
    ctypedef struct quad:
        pass
    enum:
        HAS_HALF
        HALF_BYTES
        AS_BFLOAT16_BYTES
        INPUT_ZERO
        PAIRS
    vf load_half(const half *p)
    vf first_of(vf pairs)
    vf second_of(vf pairs)
    vf broadcast_inputs(const float *p)
    vf dot(vf sums, vf weights, vf inputs)
    vf dot_pairs(vf sums, vf weights, vf inputs)
    void store_bfloat16(void *p, vf x)
    vf int_to_float(vf sums)
    vf max_abs(vf a, vf b)
    float horizontal_max(vf x)
    vf round_to_bits(vf x)
    vf rounded_from(vf x)
    void store_bytes(signed char *p, vf x)


cdef extern from "amx.h" nogil:
    enum:
        TILES
        TILE_WORDS
        MAX_SUMS
    void configure_tiles()
    void release_tiles()
    void clear_tile(int n)
    void load_tile(int n, const void *p, long stride)
    void store_tile(int n, void *p, long stride)
    void dot_tile_of_bytes(int n)
    void dot_tile_of_pairs(int n)

# What the weights are kept as. A parameter `kind` is a null pointer, which says that by its type alone.
ctypedef fused Weight:
    float
    half
    bf_pair
    dot_pair
    quad


cdef enum:  # in the order of activations.GATE_ACTIVATIONS
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
    Py_ssize_t most             # terms of a part
    const float *const *x       # a pointer a row; two rows for each row of the result where `two_part`
    bint two_part               # with quads
    Py_ssize_t block_size       # weights from a block to the next
    Py_ssize_t next_block       # and to the block that comes after this tile's, which may be the one before
    const float *head           # of quads: (2, gates, VL), what sums start from and the weights' steps
    const float *start          # (blocks, gates, VL): what the sums are added to, or NULL for `to` itself
    float *to                   # (rows, blocks, gates, VL), rows `stride` floats apart
    Py_ssize_t stride

cdef struct Rows:               # the rows of one call
    Py_ssize_t n
    const float *const *x       # row i's inputs of the product: n pointers to `terms` floats
    const float *h              # (n, width)
    const float *const *inputs  # row i's inputs of the layer, for a tile to project itself: n pointers; or NULL
    const float *const *xp      # n pointers to (blocks, 3, VL), unless `inputs` are given, and for PROJECT
    float *out                  # (n, width), or (n, blocks, 3, VL) for PROJECT
    float *const *y             # n pointers to H floats, or NULL
    float *z                    # (n, width), only where reset is before
    Lookahead *ahead                # or NULL
    bint backward               # whether the blocks are walked from the last to the first


include "products.pxi"
include "lookahead.pxi"
include "tiles.pxi"
include "inputs.pxi"
include "equation.pxi"
include "places.pxi"
include "matmul.pxi"


cdef void project(const Layer *layer, Py_ssize_t n, const float *const *x, float *xp, float *scratch,
                       const Weight *kind) noexcept nogil:
    """xp = x W_ih + b_ih: (n, blocks, 3, VL) from n rows of I floats."""
    cdef const float *pointers[GROUP]
    cdef Py_ssize_t first = 0, most = GROUP // 2 if two_part(kind) else GROUP
    cdef Rows rows = Rows(n, x, NULL, NULL, NULL, xp, NULL, NULL, NULL, False)
    if converts_inputs(kind):
        rows.x = pointers
        while first < n:
            rows.n = min(n - first, most)
            multiplied_inputs(x + first, rows.n, layer, scratch, pointers, kind)
            rows.out = xp + first * 3 * layer.blocks * VL
            all_tiles(PROJECT, layer, &rows, kind)
            first += rows.n
    else:
        all_tiles(PROJECT, layer, &rows, kind)


cdef void step_after(const Layer *layer, Rows *rows, const Weight *kind) noexcept nogil:
    if layer.activation == TANH and layer.recurrent_activation == SIGMOID:
        all_tiles(STEP_AFTER, layer, rows, kind)
    else:
        all_tiles(STEP_AFTER_ANY, layer, rows, kind)


cdef void gates_before(const Layer *layer, Rows *rows, const Weight *kind) noexcept nogil:
    all_tiles(GATES_BEFORE, layer, rows, kind)


cdef void candidate_before(const Layer *layer, Rows *rows, const Weight *kind) noexcept nogil:
    all_tiles(CANDIDATE_BEFORE, layer, rows, kind)


cdef void step(const Layer *layer, Py_ssize_t n, const float *const *x, const float *h, float *h_next, float *xp,
                    const float *const *projected, float *const *y, float *scratch, bint backward,
                    const Weight *kind) noexcept nogil:
    """One step of n rows, in groups whose row pointers fit a small array.

    Given x, the input's product is taken tile by tile beside the state's, so that a step goes through all weights once
    and in one order: what is left of both in a cache at the end is where the next step begins.
    """
    cdef const float *pointers[GROUP]
    cdef const float *xp_pointers[GROUP]
    cdef const float *input_pointers[2]
    cdef Py_ssize_t width = layer.width, group, first, i
    cdef float *reset_states = scratch + min(n, <Py_ssize_t>GROUP) * width     # r * h, behind z
    cdef float *bytes = scratch
    cdef Rows given
    given.x = pointers
    given.xp = xp_pointers
    given.inputs = NULL
    given.ahead = NULL
    given.z = scratch
    given.y = y
    if not layer.reset_after:
        bytes = reset_states + min(n, <Py_ssize_t>GROUP) * width
    if x != NULL:
        if converts_inputs(kind):
            if n == 1 and layer.reset_after:
                multiplied_inputs(x, 1, layer, bytes + row_for(layer.hidden, kind), input_pointers, kind)
                x = input_pointers
            else:
                project(layer, n, x, xp, bytes, kind)
                x = NULL
        elif not layer.reset_after:     # the candidate's part of it would have to wait for the reset gates
            project(layer, n, x, xp, scratch, kind)
            x = NULL
    for group in range((n + GROUP - 1) // GROUP):
        first = group * GROUP
        given.n = min(n - first, <Py_ssize_t>GROUP)
        given.backward = backward
        given.h = h + first * width
        given.out = h_next + first * width
        if x != NULL:
            given.inputs = x + first
        else:
            for i in range(given.n):
                if projected == NULL:
                    xp_pointers[i] = xp + (first + i) * 3 * layer.blocks * VL
                else:
                    xp_pointers[i] = projected[first + i]
        if y != NULL:
            given.y = y + first
        multiplied_rows(given.h, given.n, layer, bytes, pointers, kind)
        if layer.reset_after:
            step_after(layer, &given, kind)
            continue
        given.out = reset_states
        gates_before(layer, &given, kind)
        multiplied_rows(reset_states, given.n, layer, bytes, pointers, kind)
        given.out = h_next + first * width
        given.backward = not backward
        candidate_before(layer, &given, kind)


cdef void step_lookahead(const Layer *layer, const float *h, float *h_next, const float *xp, float *y,
                              bint backward, Lookahead *ahead, const Weight *kind) noexcept nogil:
    cdef const float *state = h
    cdef Rows rows = Rows(1, &state, h, NULL, &xp, h_next, &y, NULL, ahead, backward)
    if y == NULL:
        rows.y = NULL
    multiplied_rows(h, 1, layer, ahead.scratch, &state, kind)
    step_after(layer, &rows, kind)


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


cdef void set_kernels(KindKernels *to, const Weight *kind) noexcept:
    to.project = <Project>project[Weight]
    to.step = <Step>step[Weight]
    to.step_lookahead = <StepLookahead>step_lookahead[Weight]
    to.begin_lookahead = <MoveLookahead>begin_lookahead[Weight]
    to.finish_lookahead = <MoveLookahead>finish_lookahead[Weight]


cdef Kernels table
set_kernels(&table.kinds[FLOAT32], <const float *>NULL)
set_kernels(&table.kinds[FLOAT32_AS_BFLOAT16], <const bf_pair *>NULL)
if PAIRS:
    set_kernels(&table.kinds[BFLOAT16], <const dot_pair *>NULL)
else:
    set_kernels(&table.kinds[BFLOAT16], <const bf_pair *>NULL)
set_kernels(&table.kinds[INT8], <const quad *>NULL)
if HAS_HALF:
    set_kernels(&table.kinds[FLOAT16], <const half *>NULL)
table.packing = VECTORS
table.words = 1
table.vector_length = VL
table.tile_rows = TILE_ROWS
table.lookahead_rows = LOOKAHEAD_ROWS
table.has_half = HAS_HALF
table.half_bytes = HALF_BYTES
table.as_bfloat16_bytes = AS_BFLOAT16_BYTES
table.pairs = PAIRS
table.joins_last = TILE_ROWS == 8 and not TILES
table.input_zero = INPUT_ZERO
table.activate = activate
table.softmax = softmax
table.normalize = normalize
table.fold = fold
table.matmul = matmul
table.tile_words = TILE_WORDS
table.begin_work = begin_work
table.end_work = end_work


def kernels():
    """The table of this module's kernels, as a capsule."""
    return PyCapsule_New(&table, "fastgru.engine.kernels", NULL)
