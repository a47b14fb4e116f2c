# Parts of buffers in C numbers: whether one lies within its buffer, and the fewest axes that go over several. Part of
# program.pyx.
#
# Nothing overflows, whatever a part says. Its numbers are 64 bits wide, or it is refused. A buffer has less than 2^47
# bytes. `lies_within` adds nothing that is not known to stay below the number of its elements: it asks whether the stride
# is at most the room that is left, divided by the steps along the axis, not whether their product fits. What a loop goes
# over has passed it: of an axis of two places or more, `(size - 1) * |stride|` is below 2^47, and so `size * stride` is
# below 2^48; and the result has no stride of 0 there, so that axes of it that are taken together have no more places than
# its buffer has elements.

cdef enum:
    MAX_AXES = 64               # of an array in NumPy

cdef struct Place:              # where a buffer is
    Py_UCS4 kind
    int base                    # of the frame's bases
    Py_ssize_t offset           # bytes from there
    Py_ssize_t count            # elements
    bint writable

cdef struct Part:
    int rank
    long long offset            # all in elements
    long long shape[MAX_AXES]
    long long strides[MAX_AXES]


cdef inline Py_ssize_t itemsize_of_kind(Py_UCS4 kind) noexcept nogil:
    return 1 if kind == u"b" else 4 if kind == u"f" else 8


cdef int read_part(Strided given, Part *part) except -1:
    """The numbers of a part, of axes that have places."""
    cdef Py_ssize_t axis, rank
    if given is None:
        raise ShapeError("program: there is no operand")
    rank = len(given.shape)
    if rank > MAX_AXES or len(given.strides) != rank:
        raise ShapeError(f"program: got {rank} axes and {len(given.strides)} strides, wanted at most {MAX_AXES}")
    try:
        part.rank, part.offset = <int>rank, given.offset
        for axis in range(rank):
            part.shape[axis], part.strides[axis] = given.shape[axis], given.strides[axis]
    except OverflowError:
        raise ShapeError(f"program: {given} reaches beyond any memory") from None
    for axis in range(rank):
        if part.shape[axis] < 1:
            raise ShapeError(f"program: got shape {given.shape}, wanted no size below 1")
    return 0


cdef bint lies_within(const Part *part, long long count) noexcept nogil:
    """Whether the first and the last element that a part can reach are two of the ``count`` of its buffer."""
    cdef long long low = part.offset, high = part.offset, steps, stride
    cdef int axis
    if not 0 <= part.offset < count:
        return False
    for axis in range(part.rank):
        steps, stride = part.shape[axis] - 1, part.strides[axis]
        if steps == 0:
            continue
        if stride >= 0:
            if stride > (count - 1 - high) // steps:
                return False
            high += steps * stride
        else:
            if stride < -count or -stride > low // steps:
                return False
            low += steps * stride
    return True


cdef bint overwrites_itself(const Part *part) noexcept nogil:
    """Whether an axis goes over one element again and again."""
    cdef int axis
    for axis in range(part.rank):
        if part.strides[axis] == 0 and part.shape[axis] != 1:
            return True
    return False


cdef bint alike(const Part *one, const Part *other) noexcept nogil:
    """Whether two parts have one shape."""
    return one.rank == other.rank and memcmp(one.shape, other.shape, one.rank * sizeof(long long)) == 0


cdef bint merge(const Part *parts, int count, const Py_ssize_t *itemsizes, Instruction *it) noexcept nogil:
    """Let an instruction go over parts of one shape by the fewest axes, in the order of the first one's memory.

    False where these are more than ``MAX_RANK``. The strides of the instruction are in bytes.
    """
    cdef int order[MAX_AXES]
    cdef int n = 0, axis, at, k, rank = 0
    cdef long long size
    cdef bint together
    for axis in range(parts.rank):      # by insertion, the largest strides first, others as they come
        if parts.shape[axis] == 1:
            continue
        at = n
        while at > 0 and llabs(parts.strides[order[at - 1]]) < llabs(parts.strides[axis]):
            order[at] = order[at - 1]
            at -= 1
        order[at] = axis
        n += 1
    for at in range(n):
        axis, size = order[at], parts.shape[order[at]]
        together = rank > 0
        if together:
            for k in range(count):
                if it.operands[k].strides[rank - 1] != size * parts[k].strides[axis] * itemsizes[k]:
                    together = False
                    break
        if together:
            it.shape[rank - 1] *= <Py_ssize_t>size
        else:
            if rank == MAX_RANK:
                return False
            it.shape[rank] = <Py_ssize_t>size
            rank += 1
        for k in range(count):
            it.operands[k].strides[rank - 1] = <Py_ssize_t>(parts[k].strides[axis] * itemsizes[k])
    it.rank = rank
    return True
