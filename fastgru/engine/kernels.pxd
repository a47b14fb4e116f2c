# What a kernel is given and what it offers: plain structures of float pointers, the same for every instruction set.
# Vector types never cross this border.

cdef struct Layer:              # one direction of one layer, or a slice of its units, packed for one vector length VL
    int inputs                  # I
    int hidden                  # H
    int blocks                  # of VL units: ceil(H / VL), or those of the slice
    int first                   # the slice's first block; 0 for a whole layer
    int width                   # floats of a row of states: all blocks * VL, also in a slice
    int part                    # terms that are summed at a time
    bint reset_after
    int activation              # of n; an index of spec.GATE_ACTIVATIONS
    int recurrent_activation    # of r and z
    float *w_ih                 # (blocks, I, 3, VL)
    float *b_ih                 # (blocks, 3, VL)   all biases but b_hn where reset is after
    float *w_hh                 # (blocks, H, 3, VL), or for r and z alone (blocks, H, 2, VL) where reset is before
    float *w_hn                 # (blocks, H, 1, VL) where reset is before
    float *b_hh                 # (blocks, 3, VL): b_hn where reset is after, all else zeros

cdef struct Ahead:               # the projection of steps to come, done a piece at a time beside the steps before them
    const float *const *x       # `ahead_rows` pointers to I floats
    float *xp                   # (ahead_rows, blocks, 3, VL): where the result goes
    float *sums                 # (ahead_rows, 3, VL): of the part in progress of the block in progress
    Py_ssize_t block            # the block in progress; `blocks` when all is done
    Py_ssize_t k                # the inputs of that block that are summed already

cdef struct Kernels:
    const char *name
    int vector_length           # VL
    int tile_rows               # rows of the widest tile
    int ahead_rows              # steps that an `Ahead` projects; 0: these kernels have too few registers for it
    # xp[i] = x[i] W_ih + b_ih for n rows; xp is (n, blocks, 3, VL)
    void (*project)(const Layer *layer, Py_ssize_t n, const float *const *x, float *xp) noexcept nogil
    # one step of n rows: h and h_next are (n, width), y[i] takes the H new values of row i (y may be NULL); x are the
    # inputs of the layer, or NULL where xp is their projection; scratch is (2, n, width) where reset is before;
    # `backward` walks the blocks from the last to the first
    void (*step)(const Layer *layer, Py_ssize_t n, const float *const *x, const float *h, float *h_next, float *xp,
                 float *const *y, float *scratch, bint backward) noexcept nogil
    # the same for one row with reset after, which also does a piece of `ahead`; and the rest of it
    void (*step_ahead)(const Layer *layer, const float *h, float *h_next, const float *xp, float *y, bint backward,
                       Ahead *ahead) noexcept nogil
    void (*begin_ahead)(const Layer *layer, Ahead *ahead) noexcept nogil
    void (*finish_ahead)(const Layer *layer, Ahead *ahead) noexcept nogil
    # out[i] = activation(x[i]); x and out may be one
    void (*activate)(int activation, Py_ssize_t n, const float *x, float *out) noexcept nogil
    unsigned int (*flush_subnormals)() noexcept nogil
    void (*restore_floating_mode)(unsigned int before) noexcept nogil
