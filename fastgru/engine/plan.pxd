# The packed network and one run through it, for the compiled modules of this folder.

from fastgru.engine.kernels cimport Kernels, Layer

cdef struct Call:               # one run over whole sequences
    const float *x              # (batch, steps, I)
    const float *h0             # (num_layers * directions, batch, H), or NULL for zeros
    float *y                    # (batch, steps, directions * H), or NULL where only h is wanted
    float *between              # two arrays like y, in turn the outputs of all layers but the last; NULL for one layer
    float *h                    # (num_layers * directions, batch, H)
    Py_ssize_t batch
    Py_ssize_t steps
    const Py_ssize_t *rows      # (batch,): the rows, longest first
    const Py_ssize_t *lengths   # (batch,): the length of rows[i]
    Py_ssize_t block_rows       # rows of projected inputs at a time, at least the rows of the largest share


cdef struct Sizes:              # of a workspace, in floats but for x_rows
    Py_ssize_t xp
    Py_ssize_t h
    Py_ssize_t scratch
    Py_ssize_t x_rows           # pointers
    Py_ssize_t all

cdef struct Workspace:          # of one thread
    float *xp                   # (block_rows, blocks, 3, VL)
    float *h                    # (2, rows, width)
    float *scratch              # (2, SCRATCH_ROWS, width)
    const float **x_rows        # (block_rows,)
    float **y_rows              # (rows,)


cdef class KernelTable:
    cdef const Kernels *table
    cdef object capsule

cdef class Plan:
    cdef const Kernels *kernels
    cdef KernelTable owner
    cdef Layer *layers              # (num_layers, directions)
    cdef list memory                # the arrays that own the packed weights
    cdef Py_ssize_t width           # blocks * VL: units rounded up to whole blocks
    cdef readonly int input_size, hidden_size, num_layers, directions
    cdef readonly bint reset_after

    cdef int pack(self, Layer *layer, tuple weights) except -1
    cdef float *own(self, array) except NULL
    cdef int start(self, Call *call, const Py_ssize_t *shares, Py_ssize_t threads) except -1
    cdef void run_rows(self, const Call *call, Workspace space, Py_ssize_t first, Py_ssize_t last) noexcept nogil
    cdef void run_direction(self, const Call *call, Workspace space, Py_ssize_t first, Py_ssize_t last, int index,
                            int direction, const float *source, float *target) noexcept nogil
    cdef void run_one(self, const Call *call, Workspace space, Py_ssize_t first, int state, int direction,
                      const float *source, float *target) noexcept nogil
