# The packed network, for the compiled modules of this folder.

cimport numpy as cnp

from fastgru.engine.kernels cimport Kernels, Layer

cdef extern from "barrier.h" nogil:
    ctypedef struct Barrier:    # where the members of a team meet
        int members
        int stalled
        int over
    ctypedef struct Claims:     # which processors the threads of a run have
        pass
    void meet(Barrier *barrier)
    bint come_together(Barrier *barrier, Claims *claims)
    bint is_set(const int *flag)
    void set_flag(int *flag)
    double seconds_now()

ctypedef void (*Work)(void *what, int thread, int threads) noexcept nogil   # what each of `threads` threads does

cdef struct Watch:              # a call that a signal's handler can end; all zeros at first
    double next                 # when handlers may run again, by the clock of `seconds_now`
    int over                    # whether one raised something
    void *kind                  # what it raised
    void *value
    void *trace
    Watch *leader               # the watch of the calling thread, for another thread's; or NULL
    Barrier *barriers           # where threads of the call wait for each other
    int barrier_count

cdef struct Stack:              # packed layers
    const Kernels *kernels
    Layer *layers               # (num_layers, directions)
    int input_size, hidden_size, num_layers, directions
    bint reset_after
    bint tiled                  # whether a layer is
    Py_ssize_t width            # blocks * VL: units rounded up to whole blocks
    int words                   # floats that a number of inputs and states takes; sizes here are in numbers


cdef struct Call:               # one run over whole sequences
    const float *x              # (batch, steps, I); NULL where `numbers` are given
    const long long *numbers    # (batch, steps): rows of a table, or NULL
    const float *projected      # (table, directions, 3 * width): those of the first layer, where they are given
    const float *h0             # (num_layers * directions, batch, H), or NULL for zeros
    float *y                    # (batch, steps, directions * H), or NULL where only h is wanted
    float *between              # two arrays like y, in turn the outputs of all layers but the last; NULL for one layer
    float *h                    # (num_layers * directions, batch, H)
    Py_ssize_t batch
    Py_ssize_t steps
    const Py_ssize_t *rows      # (batch,): the rows, longest first
    const Py_ssize_t *lengths   # (batch,): the length of rows[i]
    Py_ssize_t block_rows       # rows of projected inputs at a time, at least the rows of the largest share
    Watch *watch                # or NULL
    Py_ssize_t first, last      # the share: the rows from `first` to `last` in the order of `rows`


cdef class Plan

cdef class KernelTable:
    cdef const Kernels *table
    cdef object capsule
    cdef readonly object dtype  # of inputs, states and biases

    cdef int pack(self, Plan plan, Layer *layer, tuple weights, str precision, str kept, str name) except -1
    cdef int enter(self, int threads) except -1
    cdef int leave(self, int threads) except -1

cdef class Plan:
    cdef Stack stack
    cdef KernelTable owner
    cdef list memory            # the arrays that own the packed weights
    cdef readonly list packed   # of every direction of every layer its two matrices, each with its `form`

    cdef char *own(self, array) except NULL
    cdef cnp.ndarray new(self, int ndim, cnp.npy_intp *shape)

cdef bint look(Watch *watch) noexcept nogil
cdef int settle(Watch *watch) except -1
cdef void catch(Watch *watch) noexcept
cdef tuple biases_of(b_ih, b_hh, bint reset_after)
cdef int in_parallel(int threads, Work work, void *what) noexcept nogil
cdef int check_came(int came, int wanted) except -1
cdef bint enter_team() noexcept nogil
cdef void leave_team(bint stalled) noexcept nogil
cdef Layer slice_of(const Layer *layer, int vector_length, int slice, int slices) noexcept nogil
cdef Py_ssize_t workspace_of(const Stack *stack, Call *call, Py_ssize_t largest, int count, int team) noexcept nogil
cdef int compute_in(const Stack *stack, Call *call, const Py_ssize_t *shares, int count, int team, char *memory,
                    int *wanted) noexcept nogil
