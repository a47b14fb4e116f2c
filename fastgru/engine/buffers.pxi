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
    cdef Place *places          # by buffer
    cdef Py_ssize_t buffer_count
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
        self.inputs, self.outputs, self.constants = [], [], []
        self.owned, self.names, self.schedules = [], [], []
        self.bases = 1
        declared = tuple(buffers)
        self.places = <Place *>malloc((len(declared) + 1) * sizeof(Place))
        if self.places == NULL:
            raise MemoryError("the buffers of a program")
        if not 0 <= arena_bytes < 1 << 47:
            raise MemoryError(f"{arena_bytes} bytes for the values of a call")
        self.arena_bytes = (arena_bytes + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
        for where, kind, what in declared:
            self.declare(where, kind, what)

    def __dealloc__(self):
        free(self.instructions)
        free(self.places)
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
        frame.watch, frame.moves, frame.in_pieces = NULL, NULL, False
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

    cdef int execute_all(self, Frame *frame, double *clock) noexcept nogil:
        """``execute``, and before and after it the moves of all rows."""
        cdef int failed
        bring(frame.moves, 0, ALL_ROWS)
        failed = self.execute(frame, clock)
        if failed < 0:
            take_back(frame.moves, 0, ALL_ROWS)
        return failed

    cdef int go(self, Frame *frame, double *clock, bint is_free) except -2:
        """``execute_all``, in a way that handlers of signals can end where it takes long."""
        cdef Watch watch
        cdef int failed
        if self.work < GIL_FREE_WORK and not is_free:
            return self.execute_all(frame, clock)
        memset(&watch, 0, sizeof(watch))
        frame.watch = &watch
        if self.pieces is not None and clock == NULL:
            failed = run_pieces(self.pieces, frame)
        else:
            with nogil:
                failed = self.execute_all(frame, clock)
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
        cdef Place *place = &self.places[self.buffer_count]
        itemsize = ITEMSIZES[kind]
        place.kind, place.base, place.offset, place.writable = ord(kind), 0, 0, where in ("arena", "output")
        if where == "arena":
            offset, count = what
            if offset < 0 or offset % ALIGNMENT or count < 1 or offset + count * itemsize > self.arena_bytes:
                raise ShapeError(f"a buffer of {count} elements at {offset} is not in an arena of {self.arena_bytes}")
            place.offset, place.count = offset, count
            self.buffer_count += 1
            return 0
        place.base = self.bases
        if where == "input":
            if not 0 <= what * itemsize < 1 << 47:
                raise ShapeError(f"program: an input of {what} elements")
            place.count = what
            self.inputs.append((kind, what, place.base))
        elif where == "output":
            count = 1
            for size in what:
                count *= int(size)
            if count < 1 or count * itemsize >= 1 << 47:
                raise MemoryError(f"{count} elements of a result")
            place.count = count
            self.outputs.append((_DTYPES[kind], tuple(what), place.base))
        elif where == "constant":
            array = what            # asking NumPy takes longer than all else here
            if (type(array) is not np.ndarray or array.dtype is not _DTYPES[kind]
                    or not cnp.PyArray_ISCARRAY_RO(array)):
                array = np.require(array, _DTYPES[kind], ["C_CONTIGUOUS", "ALIGNED"])
            place.count = array.size
            self.keep(array, place.base)
        else:
            raise ShapeError(f"a buffer in {where!r}")
        self.bases += 1
        self.buffer_count += 1
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

    cdef int check(self, part, Py_UCS4 kind, Operand *operand, bint written) except -1:
        """The address of a part of a buffer, which lies within it; see the docstring of the module."""
        cdef Part read
        return self.checked(part, kind, operand, written, &read)

    cdef int checked(self, Strided part, Py_UCS4 kind, Operand *operand, bint written, Part *read) except -1:
        """``check``, and the numbers of the part."""
        cdef const Place *place
        cdef Py_ssize_t buffer
        read_part(part, read)
        if not 0 <= part.buffer < self.buffer_count:
            raise ShapeError(f"program: there is no buffer {part.buffer}")
        buffer = part.buffer
        place = &self.places[buffer]
        if written and overwrites_itself(read):
            raise ShapeError("program: a result would be written over itself")
        if (part.kind != kind or place.kind != kind or (written and not place.writable)
                or not lies_within(read, place.count)):
            raise ShapeError(f"program: {part} is not {chr(kind)!r} within a buffer of {place.count} elements of "
                             f"{chr(place.kind)!r}")
        operand.base = place.base
        operand.offset = place.offset + <Py_ssize_t>read.offset * itemsize_of_kind(kind)
        return 0

    cdef int loop(self, Instruction *it, list parts, str kinds) except -1:
        """The loop over parts of one shape, the result first."""
        cdef Part read[MAX_OPERANDS]
        cdef Py_ssize_t itemsizes[MAX_OPERANDS]
        cdef int k, axis, count = len(parts)
        cdef double size = 8
        if not 0 < count <= MAX_OPERANDS or len(kinds) != count:
            raise ShapeError(f"program: got {count} operands, wanted at most {MAX_OPERANDS}")
        for k in range(count):
            self.checked(parts[k], kinds[k], &it.operands[k], k == 0, &read[k])
            itemsizes[k] = itemsize_of_kind(kinds[k])
            if not alike(&read[k], read):
                raise ShapeError(f"program: got shapes {parts[k].shape} and {parts[0].shape}, wanted the same")
        if not merge(read, count, itemsizes, it):
            raise ShapeError(f"program: more than {MAX_RANK} axes that do not lie together")
        it.operand_count = count
        for axis in range(it.rank):
            size *= it.shape[axis]
        self.add_work(size)
        return 0

    cdef void add_work(self, double work) noexcept:
        """Count the multiply-adds of an instruction; a number beyond all calls is kept within 64 bits."""
        self.work = <long long>min(self.work + work, <double>(1LL << 60))

    cdef int rows_of(self, Instruction *it, list parts, str kinds) except -1:
        """The loop over all axes but the last of parts, along which the instruction works by itself."""
        cdef Part read
        cdef int k
        for k in range(len(parts)):
            self.checked(parts[k], kinds[k], &it.operands[k], k == 0, &read)
            if read.rank == 0:
                raise ShapeError("program: got one element, wanted rows")
            it.operands[k].along = itemsize_of_kind(kinds[k])       # of one place any
            if read.shape[read.rank - 1] > 1:
                it.operands[k].along *= <Py_ssize_t>read.strides[read.rank - 1]
        return self.loop(it, [part.taken(len(part.shape) - 1, 0) for part in parts], kinds)

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

    cdef object source(self, Strided part):
        """The array of a constant, or which input it is, of a part that is all of it."""
        cdef const Place *place = &self.places[<Py_ssize_t>part.buffer]
        if part.offset or part.size != place.count:
            raise ShapeError("program: the order of the rows of a GRU is a part of something")
        for array, own in self.constants:
            if own == place.base:
                return array.reshape(-1)
        for index, (_, _, own) in enumerate(self.inputs):
            if own == place.base:
                return index
        raise ShapeError("program: the order of the rows of a GRU is computed")


cdef class TeamOfSteps:
    """The team of one instruction; programs own it."""

    cdef Team team
