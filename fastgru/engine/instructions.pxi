# What an instruction is, and what it is given to run. Part of program.pyx.

cdef extern from "loops.h" nogil:
    ctypedef void (*Inner)(Py_ssize_t n, char *const *p, const Py_ssize_t *strides, const double *options) noexcept nogil
    ctypedef struct Loop:
        const char *name
        const char *kinds
        Inner inner
    const Loop *LOOPS
    enum:
        LOOP_COUNT

cdef enum:
    MAX_RANK = 6                # axes of a loop, when those that lie together are one
    MAX_OPERANDS = 8
    MAX_DIMENSIONS = 8          # of an array that a program takes or gives
    ALIGNMENT = 64              # bytes
    ROWS = 64                   # that a product takes at a time
    BETWEEN_LOOKS = 16          # such products, before handlers of signals may run
    MAX_OWN_BYTES = 65536       # of an arena that a stream keeps for itself
    MAX_KEPT = 4                # arenas that a pool keeps
    MAX_KEPT_BYTES = 1073741824 # of one of these

cdef struct Operand:
    int base                    # of the frame's bases
    Py_ssize_t offset           # bytes from there
    Py_ssize_t strides[MAX_RANK]    # bytes, for the axes of the instruction's loop
    Py_ssize_t along            # bytes from a place to the next of the axis that the instruction works along

cdef struct Instruction

cdef struct Moves               # see `exchange.pxi`

cdef struct Frame:              # one run of a program
    char **bases                # of the arena, and of every other buffer
    char *scratch               # what an instruction needs while it runs
    Py_ssize_t wrong            # an integer that is not in its range
    bint in_pieces              # whether an instruction of a piece found it
    Watch *watch                # or NULL, where a run is short
    const Moves *moves          # of the states of a pool's streams; or NULL
    int missing                 # threads that did not come
    int wanted

ctypedef int (*Execute)(const Instruction *it, Frame *frame) noexcept nogil    # 0, or 1 where `wrong` is set

cdef struct Instruction:
    Execute execute
    int rank
    Py_ssize_t shape[MAX_RANK]  # of the loop
    int operand_count
    Operand operands[MAX_OPERANDS]  # the result first
    Inner inner                 # of an elementwise instruction
    int code                    # an activation of the kernels, or which of several functions
    Py_ssize_t length           # of the axis that it works along
    Py_ssize_t numbers[10]
    double options[2]
    const Kernels *kernels
    const Layer *layer
    const Stack *stack
    Team *team                  # of a step of a stack
    const Projected *projected  # of a GRU whose inputs are rows of a table


cdef inline char *address(const Instruction *it, Frame *frame, int operand) noexcept nogil:
    return frame.bases[it.operands[operand].base] + it.operands[operand].offset


cdef inline bint advance(const Instruction *it, int rank, Py_ssize_t *index, char **p) noexcept nogil:
    """Go to the next place of the first ``rank`` axes of the loop, with every operand; False after the last."""
    cdef int axis = rank - 1, k
    while axis >= 0:
        index[axis] += 1
        for k in range(it.operand_count):
            p[k] += it.operands[k].strides[axis]
        if index[axis] < it.shape[axis]:
            return True
        for k in range(it.operand_count):
            p[k] -= it.shape[axis] * it.operands[k].strides[axis]
        index[axis] = 0
        axis -= 1
    return False
