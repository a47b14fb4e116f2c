# The memory of programs: arenas, buffers, and the checks of every operand; see program.pyx for what they hold.

cdef long long first_second = 0    # of this process; differences of large numbers would lose their last digits


cdef double seconds_now() noexcept nogil:
    cdef timespec now
    timespec_get(&now, TIME_UTC)
    return now.tv_sec - first_second + 1e-9 * now.tv_nsec


first_second = <long long>seconds_now()


cdef class Arena:
    """Memory for one call at a time."""

    cdef char *memory
    cdef readonly Py_ssize_t nbytes

    def __cinit__(self, Py_ssize_t nbytes):
        self.memory = <char *>malloc(nbytes + ALIGNMENT)
        if self.memory == NULL:
            raise MemoryError(f"{nbytes} bytes for the values of a call")
        self.nbytes = nbytes

    def __dealloc__(self):
        free(self.memory)

    cdef char *start(self) noexcept nogil:
        return self.memory + (ALIGNMENT - <size_t>self.memory % ALIGNMENT)


cdef class Arenas:
    """The arenas that no call has."""

    cdef list idle              # of MAX_KEPT: those that there are, and then None; its size never changes
    cdef int count

    def __cinit__(self):
        self.idle = [None] * MAX_KEPT

    cdef Arena take(self, Py_ssize_t nbytes):
        """An arena of at least this size, in bytes."""
        cdef Arena arena
        if self.count == 0:
            return Arena(nbytes)
        self.count -= 1
        arena = self.idle[self.count]
        self.idle[self.count] = None
        return arena if arena.nbytes >= nbytes else Arena(nbytes)

    cdef int give(self, Arena arena) except -1:
        if self.count < MAX_KEPT and arena.nbytes <= MAX_KEPT_BYTES:
            self.idle[self.count] = arena
            self.count += 1
        return 0


cdef class Pieces


@cython.boundscheck(True)       # of tuples and lists, which what is given may make too short
@cython.wraparound(True)
cdef class Buffers:
    """The buffers of a program, its instructions so far, and the checks of what they go over.

    Parameters
    ----------
    buffers : list of (where, kind, what)
        ``("arena", kind, (offset, count))`` in bytes and elements, ``("input", kind, count)``, ``("output", kind,
        shape)`` and ``("constant", kind, array)``; kinds are those of ``ITEMSIZES``. Inputs and outputs are in order.
    arena_bytes : int
        What the buffers of the arena lie within.
    """

    cdef Instruction *instructions
    cdef int count, capacity
    cdef list places            # (kind, base, offset in bytes, bytes, whether it can be written), by buffer
    cdef list inputs            # (kind, count, base)
    cdef list outputs           # (dtype, shape, base)
    cdef list constants         # (array, base)
    cdef char **constant_addresses
    cdef int *constant_bases
    cdef int constant_count
    cdef Pieces pieces          # how a run is shared out; None where one thread goes through all of it
    cdef list owned             # packed weights, whose addresses instructions have
    cdef list names             # of what each instruction is of
    cdef list schedules         # (rows, lengths, shares, batch, steps): places of inputs, checked by every call
    cdef int bases
    cdef Py_ssize_t arena_bytes, scratch_bytes
    cdef readonly long long work    # about how many multiply-adds it is

    def __cinit__(self, list buffers not None, arena_bytes):
        self.places, self.inputs, self.outputs, self.constants = [], [], [], []
        self.owned, self.names, self.schedules = [], [], []
        self.bases = 1
        if not 0 <= arena_bytes < 1 << 47:
            raise MemoryError(f"{arena_bytes} bytes for the values of a call")
        self.arena_bytes = (arena_bytes + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
        for where, kind, what in buffers:
            self.declare(where, kind, what)

    def __dealloc__(self):
        free(self.instructions)
        free(self.constant_addresses)
        free(self.constant_bases)

    cdef Py_ssize_t head(self) noexcept nogil:
        """Bytes of an arena before the values: the addresses of the buffers."""
        return (self.bases * <Py_ssize_t>sizeof(char *) + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT

    cdef Py_ssize_t whole_nbytes(self) noexcept nogil:
        """Bytes of the arena that a run takes which one thread goes through."""
        return self.head() + self.arena_bytes + self.scratch_bytes

    cdef void begin(self, Frame *frame, Arena arena) noexcept:
        """A run in an arena of ``nbytes``; the addresses of inputs and outputs are still to be set."""
        self.begin_at(frame, arena.start())

    cdef void begin_at(self, Frame *frame, char *memory) noexcept nogil:
        """A run in memory on a boundary of a cache line."""
        cdef int i
        frame.bases = <char **>memory
        frame.bases[0] = memory + self.head()
        frame.scratch = frame.bases[0] + self.arena_bytes
        frame.wrong = frame.missing = frame.wanted = 0
        frame.watch, frame.in_pieces = NULL, False
        for i in range(self.constant_count):
            frame.bases[self.constant_bases[i]] = self.constant_addresses[i]

    cdef int execute(self, Frame *frame, double *clock) noexcept nogil:
        """Run the instructions, and note when each begins; which of them failed, or -1."""
        cdef int i
        for i in range(self.count):
            if clock != NULL:
                clock[i] = seconds_now()
            if look(frame.watch):
                return -1
            if self.instructions[i].execute(&self.instructions[i], frame):
                return i
        if clock != NULL:
            clock[self.count] = seconds_now()
        return -1

    cdef int go(self, Frame *frame, double *clock, bint is_free) except -2:
        """``execute``, in a way that handlers of signals can end where it takes long."""
        cdef Watch watch
        cdef int failed
        if self.work < GIL_FREE_WORK and not is_free:
            return self.execute(frame, clock)
        memset(&watch, 0, sizeof(watch))
        frame.watch = &watch
        if self.pieces is not None and clock == NULL:
            failed = run_pieces(self.pieces, frame)
        else:
            with nogil:
                failed = self.execute(frame, clock)
        frame.watch = NULL
        settle(&watch)
        return failed

    cdef int finish(self, Frame *frame, int failed) except -1:
        """Raise what an instruction found."""
        cdef Buffers of
        if failed >= 0:
            of = self if not frame.in_pieces else self.pieces.piece
            name, rows = of.names[failed], of.instructions[failed].numbers[0]
            raise ShapeError(f"layer {name!r}: got the integer {frame.wrong}, wanted 0 to {rows - 1}")
        if frame.missing:
            check_came(frame.wanted - frame.missing, frame.wanted)
        return 0

    cdef int declare(self, str where, str kind, what) except -1:
        """One buffer."""
        itemsize = ITEMSIZES[kind]
        if where == "arena":
            offset, count = what
            if offset < 0 or offset % ALIGNMENT or count < 1 or offset + count * itemsize > self.arena_bytes:
                raise ShapeError(f"a buffer of {count} elements at {offset} is not in an arena of {self.arena_bytes}")
            self.places.append((kind, 0, offset, count * itemsize, True))
            return 0
        base = self.bases
        self.bases += 1
        if where == "input":
            self.inputs.append((kind, what, base))
            self.places.append((kind, base, 0, what * itemsize, False))
        elif where == "output":
            count = 1
            for size in what:
                count *= int(size)
            if count < 1 or count * itemsize >= 1 << 47:
                raise MemoryError(f"{count} elements of a result")
            self.outputs.append((_DTYPES[kind], tuple(what), base))
            self.places.append((kind, base, 0, count * itemsize, True))
        elif where == "constant":
            array = np.require(what, _DTYPES[kind], ["C_CONTIGUOUS", "ALIGNED"])
            self.keep(array, base)
            self.places.append((kind, base, 0, array.nbytes, False))
        else:
            raise ShapeError(f"a buffer in {where!r}")
        return 0

    cdef int keep(self, cnp.ndarray array, int base) except -1:
        """An array that every run reads."""
        cdef int count = self.constant_count
        cdef void *addresses = realloc(self.constant_addresses, (count + 1) * sizeof(char *))
        cdef void *bases
        if addresses == NULL:
            raise MemoryError("the constants of a program")
        self.constant_addresses = <char **>addresses
        bases = realloc(self.constant_bases, (count + 1) * sizeof(int))
        if bases == NULL:
            raise MemoryError("the constants of a program")
        self.constant_bases = <int *>bases
        self.constant_addresses[count], self.constant_bases[count] = cnp.PyArray_BYTES(array), base
        self.constant_count = count + 1
        self.constants.append((array, base))
        return 0

    cdef Instruction *new(self, Execute execute, str name) except NULL:
        """An empty instruction behind the others."""
        cdef Instruction *larger
        if self.count == self.capacity:
            larger = <Instruction *>realloc(self.instructions, (2 * self.capacity + 8) * sizeof(Instruction))
            if larger == NULL:
                raise MemoryError("the instructions of a program")
            self.instructions, self.capacity = larger, 2 * self.capacity + 8
        memset(&self.instructions[self.count], 0, sizeof(Instruction))
        self.instructions[self.count].execute = execute
        return &self.instructions[self.count]

    cdef int done(self, str name) except -1:
        """The instruction that was made last is whole, and counts."""
        self.names.append(name)
        self.count += 1
        return 0

    cdef int check(self, part, str kind, Operand *operand, bint written) except -1:
        """The address of a part of a buffer, which lies within it; see the docstring of the module."""
        buffer, own, offset, shape, strides = part
        if not 0 <= buffer < len(self.places):
            raise ShapeError(f"program: there is no buffer {buffer}")
        of, base, start, nbytes, writable = self.places[buffer]
        low = high = offset
        for size, stride in zip(shape, strides, strict=True):
            if size < 1:
                raise ShapeError(f"program: got shape {shape}, wanted no size below 1")
            if stride < 0:
                low += (size - 1) * stride
            else:
                high += (size - 1) * stride
            if written and stride == 0 and size != 1:
                raise ShapeError("program: a result would be written over itself")
        itemsize = ITEMSIZES[own]
        if own != kind or of != kind or low < 0 or (high + 1) * itemsize > nbytes or (written and not writable):
            raise ShapeError(f"program: {part} is not {kind!r} within a buffer of {nbytes} bytes of {of!r}")
        operand.base = base
        operand.offset = start + offset * itemsize
        return 0

    cdef int loop(self, Instruction *it, list parts, str kinds) except -1:
        """The loop over parts of one shape, the result first."""
        cdef int k, axis
        for k in range(len(parts)):
            self.check(parts[k], kinds[k:k + 1], &it.operands[k], k == 0)
            if parts[k].shape != parts[0].shape:
                raise ShapeError(f"program: got shapes {parts[k].shape} and {parts[0].shape}, wanted the same")
        shape, strides = merged(parts)
        if len(shape) > MAX_RANK or len(parts) > MAX_OPERANDS:
            raise ShapeError(f"program: {len(shape)} axes that do not lie together, wanted at most {MAX_RANK}")
        it.rank, it.operand_count = len(shape), len(parts)
        self.work += min(8 * parts[0].size, 1 << 60)
        for axis in range(it.rank):
            it.shape[axis] = shape[axis]
            for k in range(it.operand_count):
                it.operands[k].strides[axis] = strides[k][axis] * ITEMSIZES[kinds[k:k + 1]]
        return 0

    cdef int rows_of(self, Instruction *it, list parts, str kinds) except -1:
        """The loop over all axes but the last of parts, along which the instruction works by itself."""
        cdef int k
        for k in range(len(parts)):
            self.check(parts[k], kinds[k:k + 1], &it.operands[k], k == 0)
        self.loop(it, [part.taken(len(part.shape) - 1, 0) for part in parts], kinds)
        for k in range(len(parts)):
            it.operands[k].along = parts[k].strides[-1] * ITEMSIZES[kinds[k:k + 1]]
        return 0

    cdef int schedule(self, rows, lengths, shares, batch, steps) except -1:
        """Check an order of rows, or let every call check it."""
        sources = [self.source(part) for part in (rows, lengths, shares)]
        if any(type(source) is int for source in sources):
            if not all(type(source) is int for source in sources):
                raise ShapeError("program: the order of the rows of a GRU")
            self.schedules.append((*sources, batch, steps))
        else:
            check_rows(*sources, batch, steps)
        return 0

    cdef object source(self, part):
        """The array of a constant, or which input it is, of a part that is all of it."""
        kind, base, start, nbytes, writable = self.places[part.buffer]
        if part.offset or part.size * ITEMSIZES[part.kind] != nbytes:
            raise ShapeError("program: the order of the rows of a GRU is a part of something")
        for array, own in self.constants:
            if own == base:
                return array.reshape(-1)
        for place, (_, _, own) in enumerate(self.inputs):
            if own == base:
                return place
        raise ShapeError("program: the order of the rows of a GRU is computed")


cdef class TeamOfSteps:
    """The team of one instruction; programs own it."""

    cdef Team team
