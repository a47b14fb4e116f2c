# The packed network and one run through it, for the compiled modules of this folder.

from fastgru.engine.kernels cimport Kernels, Layer

cdef extern from "barrier.h" nogil:
    ctypedef struct Barrier:    # where the members of a team meet
        int members
        bint stalled
    ctypedef struct Claims:     # which processors the threads of a run have
        pass
    void meet(Barrier *barrier)
    bint come_together(Barrier *barrier, Claims *claims)
    bint take_team()
    void give_team()
    ctypedef void (*Work)(void *what, int thread, int threads) noexcept nogil
    void in_parallel(int threads, Work work, void *what)
    double seconds_now()

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
    Py_ssize_t first, last      # the share: the rows from `first` to `last` in the order of `rows`

cdef struct Member:             # what one thread of the team that computes a share does of it
    int first_direction         # its directions: all of them where it is alone, or one
    int last_direction
    int slice                   # which of `slices` parts of the units of these directions
    int slices
    Barrier *step_done          # where the members of one direction meet after every step
    Barrier *layer_done         # where all meet after a layer

cdef struct Sizes:              # of a workspace, in floats but for x_rows
    Py_ssize_t xp
    Py_ssize_t h
    Py_ssize_t scratch
    Py_ssize_t x_rows           # pointers
    Py_ssize_t all

cdef struct Workspace:          # of one thread
    float *xp                   # (block_rows, blocks, 3, VL)
    float *h                    # (2, rows, width), which all slices of a direction share
    float *scratch              # (2, SCRATCH_ROWS, width)
    const float **x_rows        # (block_rows,)
    float **y_rows              # (rows,)


cdef struct Run:                # one call of `Plan.run`, as every thread sees it
    void *plan
    const Call *call
    const Py_ssize_t *shares    # (count + 1,)
    int count
    int team                    # threads a share
    Py_ssize_t group            # rows of a share that are computed together
    Sizes sizes
    float *memory               # (count * team,) workspaces
    Barrier *barriers           # (count, 1 + directions); then one of no members, and one of all
    Claims *claims


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
    cdef int start(self, Call *call, const Py_ssize_t *shares, int count, int team) except -1
    cdef Sizes sizes_of(self, Py_ssize_t block_rows, Py_ssize_t rows) noexcept nogil
    cdef void run_thread(self, const Run *run, int thread, int threads) noexcept nogil
    cdef void run_share(self, Call call, Workspace space, Member member) noexcept nogil
    cdef void run_direction(self, const Call *call, Workspace space, Member member, int index, int direction,
                            const float *source, float *target) noexcept nogil
    cdef void run_one(self, const Call *call, Workspace space, Member member, const Layer *layer, int direction,
                      const float *source, float *target) noexcept nogil

cdef bint enter_team() noexcept nogil
cdef void leave_team(bint stalled) noexcept nogil
cdef Layer slice_of(const Layer *layer, int vector_length, int slice, int slices) noexcept nogil
