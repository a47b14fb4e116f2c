# One step of a stack, and the guard of streams, for the compiled modules of this folder.

from fastgru.engine.plan cimport Barrier, Claims, Stack, Watch

cdef enum:
    # Multiply-adds of a step above which the GIL is released: below it the step is over in about 10 us, less than
    # what handing the lock over can cost another thread.
    GIL_FREE_WORK = 500000

cdef struct Team:               # threads that take the steps of one stack together; one call at a time has it
    int members                 # 1: no team
    double last_step            # when it ended, in seconds
    Barrier begun, layer_done
    Claims claims

cdef struct Step:               # one step of every layer, as every member of a team sees it
    const Stack *stack
    Py_ssize_t batch
    const float *x              # (batch, I)
    float *y                    # (batch, H), what the last layer makes; or NULL
    const float *h              # (num_layers, batch, width)
    float *h_next
    bint backward               # whether the blocks are walked from the last to the first
    char *memory                # `memory_of_step` bytes
    Team *team
    Watch *watch                # of the call, for kernels that may end it; or NULL

cdef int team_of_steps(const Stack *stack, Py_ssize_t batch, int threads) noexcept nogil
cdef Py_ssize_t work_of_step(const Stack *stack, Py_ssize_t batch) noexcept nogil
cdef Py_ssize_t memory_of_step(const Stack *stack, Py_ssize_t batch, int members) noexcept nogil
cdef void take_step(Step *step) noexcept nogil


cdef class Turn:
    cdef object process             # the id of the process of which a thread is at work; None if none is

    cdef int check(self) except -1
