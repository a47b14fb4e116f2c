# What a kernel is given and what it offers: plain structures of pointers, the same for every instruction set, for BLAS
# and for gates of Python. Vector types never cross this border. Where `Kernels.words` is 2, what pointers to floats
# point to are doubles: inputs, states, projections and outputs.

cdef enum:                      # what weights are kept as; in the order of packed.KINDS
    FLOAT32
    FLOAT16
    BFLOAT16
    INT8
    FLOAT32_AS_BFLOAT16         # of weights all of which are bfloat16: the same results as with FLOAT32, bit by bit
    FLOAT64                     # only where `Kernels.words` is 2

cdef enum:                      # how weights lie
    VECTORS                     # packed for vectors, see `pack`
    ROWS                        # (3H, inputs), row by row: for BLAS
    PYTHON_GATES                # as the table that multiplies for them has it: `Layer.gated`

cdef enum:                      # folds, in the order of program.REDUCTIONS
    SUM
    MEAN
    MAX
    MIN

cdef enum:                      # functions of a row, in the order of program.ALONG
    SOFTMAX
    LOG_SOFTMAX
    SOFTMIN

cdef inline Py_ssize_t room_of_row(Py_ssize_t n) noexcept nogil:
    """Doubles that a function of a row of n places wants beside it."""
    return n + 32

cdef enum:
    MAX_AHEAD_BYTES = 10485760 # of weights of a layer with which its projection goes beside its steps

cdef enum:
    ROW_HEAD = 16               # floats before the 8-bit inputs of a row; the last of them is the row's step

cdef inline Py_ssize_t row_of_bytes(Py_ssize_t terms) noexcept nogil:
    """Floats that `terms` 8-bit inputs take, with what stands before them; whole cache lines."""
    return ROW_HEAD + (terms + 63) // 64 * 16

cdef inline Py_ssize_t row_of_pairs(Py_ssize_t terms) noexcept nogil:
    """The same of 16-bit inputs. What stands before them is empty, and keeps rows off each other's cache sets."""
    return row_of_bytes(2 * terms)

cdef struct Layer:              # one direction of one layer, or a slice of its units, packed for one vector length VL
    int inputs                  # I
    int hidden                  # H
    int blocks                  # of VL units: ceil(H / VL), or those of the slice
    int first                   # the slice's first block; 0 for a whole layer
    int last                    # vectors of the last tile where these are not 3: of columns of a dense layer 1 or 2, of a
                                # GRU the 3 gates of the last whole block and 1 or 2 of the units beyond; otherwise 0
    int width                   # floats of a row of states: all blocks * VL, also in a slice
    int part                    # terms that are summed at a time; even. With INT8 a term is four inputs
    int kind                    # what w_ih, w_hh and w_hn are: FLOAT32 ...
    bint tiled                  # whether the kernels multiply it in tile registers of the processor
    bint pairs                  # whether its inputs and states become bfloat16 to be multiplied
    bint reset_after
    int activation              # of n; an index of activations.GATE_ACTIVATIONS
    int recurrent_activation    # of r and z
    const char *w_ih            # (blocks, I, 3, VL); see `pack` for the forms of other kinds than FLOAT32
    const char *w_hh            # (blocks, H, 3, VL), or for r and z alone (blocks, H, 2, VL) where reset is before
    const char *w_hn            # (blocks, H, 1, VL) where reset is before
    Py_ssize_t ih_block         # bytes of a block of w_ih
    Py_ssize_t hh_block
    Py_ssize_t hn_block
    float *b_ih                 # (blocks, 3, VL)   all biases but b_hn where reset is after
    float *b_hh                 # (blocks, 3, VL): b_hn where reset is after, all else zeros
    Py_ssize_t scratch_row      # floats that a step wants for each row beside those of `scratch_of`, and for all
    Py_ssize_t scratch_fixed
    const void *gated           # where the packing is PYTHON_GATES: a `GatedLayer`
    void *watch                 # of the call, for kernels that may end it; NULL in a stack

cdef inline int plain_blocks(const Layer *layer) noexcept nogil:
    """The blocks whose tiles have 3 vectors: all but those of the last tile."""
    return layer.blocks - (2 if layer.last > 3 else 1 if layer.last else 0)

cdef inline int tiles_of(const Layer *layer) noexcept nogil:
    """How many tiles, one beside the other, all units are."""
    return plain_blocks(layer) + (1 if layer.last else 0)

cdef enum:
    GROUP = 64                  # rows that a kernel takes at a time

cdef inline Py_ssize_t scratch_of(const Layer *layer, Py_ssize_t rows) noexcept nogil:
    """Floats that a step of `rows` rows, and a projection of any number, want beside inputs and outputs."""
    cdef Py_ssize_t group = min(rows, <Py_ssize_t>GROUP), size = 8 * <Py_ssize_t>layer.inputs      # columns of `Lookahead`
    if not layer.reset_after:
        size = 2 * group * layer.width                              # z, r * h
    if layer.tiled:
        group = (group + 15) // 16 * 16                             # the rows of whole tiles
    if layer.kind == INT8:
        size += group * row_of_bytes(layer.hidden) + GROUP * row_of_bytes(layer.inputs)
    elif layer.pairs:
        size += group * row_of_pairs(layer.hidden) + GROUP * row_of_pairs(layer.inputs)
    return size + rows * layer.scratch_row + layer.scratch_fixed

cdef inline Py_ssize_t scratch_of_rows(const Layer *layer) noexcept nogil:
    """Floats that a projection alone wants."""
    return GROUP * row_of_pairs(layer.inputs) if layer.pairs else 0

cdef struct Lookahead:          # the projection of steps to come, a piece at a time beside the steps before them
    const float *const *x       # a pointer to I floats for each of `lookahead_steps` steps
    const float *rows[8]        # what is multiplied: `x`, or two rows of bytes for each
    float *columns              # the same as (I, lookahead_rows)
    float *scratch              # `scratch_of` floats
    float *xp                   # (lookahead_steps, blocks, 3, VL): where the result goes
    float *sums                 # (lookahead_rows, 3, VL): of the part in progress of the block in progress
    Py_ssize_t block            # the block in progress; `blocks` when all is done
    Py_ssize_t k                # the inputs of that block that are summed already, in vectors of weights
    Py_ssize_t left             # those of the part in progress that are not
    bint under_way              # whether `sums` hold some of that part

# What multiplies one kind of weights. `kind` says by its type alone which one, and is NULL.
# xp[i] = x[i] W_ih + b_ih for n rows; xp is (n, blocks, 3, VL); scratch is `scratch_of` floats
ctypedef void (*Project)(const Layer *layer, Py_ssize_t n, const float *const *x, float *xp, float *scratch,
                         const void *kind) noexcept nogil
# one step of n rows: h and h_next are (n, width), y[i] takes the H new values of row i (y may be NULL); x are the inputs
# of the layer, or NULL where xp is their projection, or `projected` has a pointer to that of each row; scratch is
# `scratch_of` floats; `backward` walks the blocks from the last to the first
ctypedef void (*Step)(const Layer *layer, Py_ssize_t n, const float *const *x, const float *h, float *h_next, float *xp,
                      const float *const *projected, float *const *y, float *scratch, bint backward,
                      const void *kind) noexcept nogil
# the same for one row with reset after, which also does a piece of `ahead`
ctypedef void (*StepLookahead)(const Layer *layer, const float *h, float *h_next, const float *xp, float *y,
                               bint backward, Lookahead *ahead, const void *kind) noexcept nogil
# begins with the first block; does the part of `ahead` that is not done yet
ctypedef void (*MoveLookahead)(const Layer *layer, Lookahead *ahead, const void *kind) noexcept nogil

cdef struct KindKernels:
    Project project
    Step step
    StepLookahead step_lookahead
    MoveLookahead begin_lookahead
    MoveLookahead finish_lookahead

cdef struct Kernels:
    const char *name
    int packing                 # VECTORS ...
    int words                   # floats that a number of inputs and states takes: 1, or 2 of float64
    int vector_length           # VL
    int tile_rows               # rows of the widest tile
    int lookahead_rows          # that a `Lookahead` multiplies; 0: these kernels have too few registers for it
    bint has_half               # whether a layer may be kept in FLOAT16
    Py_ssize_t half_bytes       # of a layer's weights in FLOAT32, from which on reading them as FLOAT16 is faster
    Py_ssize_t as_bfloat16_bytes    # the same for FLOAT32_AS_BFLOAT16; 0: it is nowhere faster
    bint pairs                  # whether BFLOAT16 weights are multiplied with pairs of bfloat16
    bint joins_last             # whether the last tile of a GRU may be of more than one block: `Layer.last`
    int input_zero              # what is added to 8-bit inputs, so that none is negative
    int tile_words              # to a multiple of which BFLOAT16 and INT8 weights are padded, in 32 bits; 1: no tiles
    KindKernels kinds[6]        # by `Layer.kind`; those of FLOAT16 only where `has_half`
    # out[i] = activation(x[i]); x and out may be one
    void (*activate)(int activation, Py_ssize_t n, const float *x, float *out) noexcept nogil
    # functions of n floats, in `places.pxi`; row is `room_of_row(n)` doubles
    void (*softmax)(int function, Py_ssize_t n, const float *x, float *out, double *row) noexcept nogil
    void (*normalize)(bint rms, double epsilon, Py_ssize_t n, const float *x, const double *gamma, const double *beta,
                      float *out, double *row) noexcept nogil
    # out[i] = max or min over k of x[k apart + i], or (first + sum over k of it) / divisor, for n places
    void (*fold)(int function, Py_ssize_t count, Py_ssize_t apart, Py_ssize_t n, const float *x, float *out,
                 double first, double divisor) noexcept nogil
    # out[i, j] = sum over k of x[i, k] * y[k, j]; rows are `*_row` floats apart, terms of y `y_term` and its columns
    # `y_column`, one of which is 1; room is `room_of_matmul` floats
    void (*matmul)(Py_ssize_t rows, Py_ssize_t terms, Py_ssize_t columns, const float *x, Py_ssize_t x_row,
                   const float *y, Py_ssize_t y_term, Py_ssize_t y_column, float *out, Py_ssize_t out_row,
                   float *room) noexcept nogil
    # what a thread calls before all but these four, and after, with what the first returned; `tiled`: for `Layer.tiled`
    unsigned int (*begin_work)(bint tiled) noexcept nogil
    void (*end_work)(bint tiled, unsigned int before) noexcept nogil


cdef inline void project_rows(const Kernels *kernels, const Layer *layer, Py_ssize_t n, const float *const *x,
                              float *xp, float *scratch) noexcept nogil:
    kernels.kinds[layer.kind].project(layer, n, x, xp, scratch, NULL)


cdef inline void step_rows(const Kernels *kernels, const Layer *layer, Py_ssize_t n, const float *const *x,
                           const float *h, float *h_next, float *xp, const float *const *projected, float *const *y,
                           float *scratch, bint backward) noexcept nogil:
    kernels.kinds[layer.kind].step(layer, n, x, h, h_next, xp, projected, y, scratch, backward, NULL)


cdef inline Py_ssize_t room_of_matmul(const Kernels *kernels) noexcept nogil:
    """Floats that a product of two values wants beside them: a part of 128 terms of 8 vectors of columns."""
    return 128 * 8 * kernels.vector_length

cdef inline int lookahead_steps(const Kernels *kernels, const Layer *layer) noexcept nogil:
    """Steps that a `Lookahead` projects for a layer; 0 where it cannot, or where projecting many at once is faster.

    It goes through W_ih every few steps. With weights of 7 MB that took 0.8 to 0.9 of the time of both apart, with 14
    MB 1.25 times and with 25 MB 1.4 times of it (100 steps of one row, Zen 4 with 32 MB of L3, shared).
    """
    cdef bint in_twos = layer.kind == FLOAT32_AS_BFLOAT16 or layer.kind == BFLOAT16
    if not layer.reset_after or (in_twos and (layer.tiled or (layer.inputs % 2 and not layer.pairs))):
        return 0
    if layer.blocks * (layer.ih_block + layer.hh_block) > MAX_AHEAD_BYTES:
        return 0
    return kernels.lookahead_rows // 2 if layer.kind == INT8 else kernels.lookahead_rows
