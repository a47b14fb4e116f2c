# A program that is run again and again, with states that go from a run to the next. Part of program.pyx.


cdef class Carried:
    """The states of a stream: arrays, each beside room for the one after it."""

    cdef readonly Turn turn
    cdef readonly list now
    cdef list after
    cdef int count
    cdef char **addresses       # of all in `now`, then of all in `after`

    def __cinit__(self, list arrays not None):
        self.turn = Turn()
        self.count = len(arrays)
        self.addresses = <char **>malloc((2 * self.count + 1) * sizeof(char *))
        if self.addresses == NULL:
            raise MemoryError("the addresses of states")
        self.now = [aligned_copy(array, array.dtype) for array in arrays]
        self.after = [aligned_copy(array, array.dtype) for array in arrays]
        self.find()

    def __dealloc__(self):
        free(self.addresses)

    def put(self, list arrays not None):
        """Other numbers for all states, of the same shapes; copies."""
        made = []
        for array, now in zip(arrays, self.now, strict=True):
            if array.shape != now.shape:
                raise ShapeError(f"state: got shape {array.shape}, wanted {now.shape}")
            made.append(aligned_copy(array, now.dtype))
        self.now = made
        self.find()

    cdef void find(self):
        cdef int i
        cdef cnp.ndarray array
        for i in range(self.count):
            array = self.now[i]
            self.addresses[i] = cnp.PyArray_BYTES(array)
            array = self.after[i]
            self.addresses[self.count + i] = cnp.PyArray_BYTES(array)

    cdef void advance(self) noexcept:
        """What was after is now."""
        cdef int i
        cdef char *address
        self.now, self.after = self.after, self.now
        for i in range(self.count):
            address = self.addresses[i]
            self.addresses[i] = self.addresses[self.count + i]
            self.addresses[self.count + i] = address


cdef object aligned_copy(array, dtype):
    """A copy in C order, from which kernels can take vectors if it is of float32."""
    if dtype is not _DTYPES["f"] or array.ndim == 0:
        return np.array(array, dtype, order="C", subok=False)
    made = aligned_empty(array.size).reshape(array.shape)
    made[...] = array
    return made


cdef class Port:
    """An array that a program takes or gives: its address in the frame, and what it must be."""

    cdef int base               # of the frame's bases; -1 where the program has no use for it
    cdef int state              # which state an output is as well; -1
    cdef int type_number, rank
    cdef cnp.npy_intp shape[MAX_DIMENSIONS]

    cdef bint fits(self, object array, bint written, int skipped):
        """Whether an array can be used where it lies; ``skipped``: axes that it has not."""
        cdef cnp.ndarray given
        cdef int axis
        if not (cnp.PyArray_Check(array) if written else cnp.PyArray_CheckExact(array)):
            return False        # an input of a class of its own, as a masked array is, is looked at by who converts
        given = array
        if cnp.PyArray_TYPE(given) != self.type_number or not cnp.PyArray_ISCARRAY_RO(given):
            return False
        if cnp.PyArray_NDIM(given) != self.rank - skipped or (written and not cnp.PyArray_ISWRITEABLE(given)):
            return False
        for axis in range(skipped, self.rank):
            if cnp.PyArray_DIM(given, axis - skipped) != self.shape[axis]:
                return False
        return True

    cdef cnp.ndarray new(self, int skipped):
        return cnp.PyArray_EMPTY(self.rank - skipped, &self.shape[skipped], self.type_number, 0)

    cdef cnp.ndarray room(self, object out, int skipped):
        """``out``, or a new array where it is None."""
        if out is None:
            return self.new(skipped)
        if self.fits(out, True, skipped):
            return out
        wanted = tuple([self.shape[axis] for axis in range(skipped, self.rank)])
        got = type(out).__name__
        if isinstance(out, np.ndarray):
            got = f"{out.dtype} of shape {out.shape}, C-contiguous {out.flags.c_contiguous}, " \
                  f"writeable {out.flags.writeable}"
        dtype = np.dtype(cnp.PyArray_DescrFromType(self.type_number))
        raise ShapeError(f"out: got {got}; wanted a writeable C-contiguous {dtype} array of shape {wanted}")


cdef class Stepper:
    """A program with the states of one stream.

    Parameters
    ----------
    program : Program
    arenas : Arenas
    carried : Carried
    takes, gives : list of (place, shape, dtype)
        The arrays of a run and which input or output of the program each is: None of one that it does not use.
    before, after : list of int
        Which inputs the states are, and which outputs those after them.
    alone : bool
        Whether a run is taken without the first axis, of one row, too.
    convert, structured, rooms : callable
        ``convert(x, named)`` gives an array that fits for what does not, or for an argument that was given by name,
        and whether it came without the first axis; ``structured(made)`` what is given for a list of outputs, or None
        where one output is given as it is; ``rooms(out)`` a list of arrays for all of them.
    """

    cdef Program program
    cdef Arenas arenas
    cdef readonly Carried carried
    cdef list takes, gives
    cdef int *bases             # of the states, then of those after them
    cdef bint alone
    cdef object convert, structured, rooms
    cdef Arena arena            # its own, where it is small; None
    cdef Frame frame            # in its own arena
    cdef Py_ssize_t nbytes

    def __cinit__(self, Program program not None, Arenas arenas not None, Carried carried not None, list takes, list gives,
                  list before, list after, bint alone, convert, structured, rooms):
        self.program, self.arenas, self.carried = program, arenas, carried
        self.alone, self.convert, self.structured, self.rooms = alone, convert, structured, rooms
        self.nbytes = program.nbytes
        self.takes = [port_of(what, program.inputs) for what in takes]
        self.gives = [port_of(what, program.outputs) for what in gives]
        self.bases = <int *>malloc((2 * carried.count + 1) * sizeof(int))
        if self.bases == NULL:
            raise MemoryError("the places of states")
        if program.schedules or not carried.count == len(before) == len(after):
            raise ShapeError("program: wanted an input and an output for every state")
        ends = []
        for place in range(carried.count):
            now = carried.now[place]
            self.bases[<int>place] = (<Port>port_of((before[place], now.shape, now.dtype), program.inputs)).base
            ends.append((<Port>port_of((after[place], now.shape, now.dtype), program.outputs)).base)
            self.bases[<int>(carried.count + place)] = ends[place]
        used = [(<Port>port).base for port in self.takes] + [self.bases[<int>place] for place in range(carried.count)]
        if sorted([base for base in used if base >= 0]) != sorted([base for _, _, base in program.inputs]):
            raise ShapeError("program: wanted every input once")
        for port in self.gives:
            if (<Port>port).base in ends:
                (<Port>port).state = ends.index((<Port>port).base)
        given = {(<Port>port).base for port in self.gives} | set(ends)
        shown = {(<Port>port).base for port in self.gives}
        if given != {base for _, _, base in program.outputs} or len(set(ends)) < len(ends) or len(shown) < len(gives):
            raise ShapeError("program: wanted a place for every output")
        if self.nbytes <= MAX_OWN_BYTES:
            self.arena = Arena(self.nbytes)
            program.begin(&self.frame, self.arena)

    def __dealloc__(self):
        free(self.bases)

    def step(self, x=None, out=None, **named):
        """A run of a program of one input; see ``ModelStream.step``."""
        cdef Port takes = self.takes[0]
        cdef int skipped = 0
        cdef cnp.ndarray given, made
        cdef list several
        if not named and takes.fits(x, False, 0):
            given = x
        elif not named and self.alone and takes.fits(x, False, 1):
            given, skipped = x, 1
        else:
            converted, single = self.convert(x, named)
            skipped = 1 if single else 0
            if not takes.fits(converted, False, skipped):
                raise ShapeError(f"x: got shape {converted.shape}, which does not fit")
            given = converted
        if len(self.gives) == 1:
            made = (<Port>self.gives[0]).room(self.rooms(out)[0] if type(out) in (tuple, list, dict) else out, skipped)
            if self.carried.turn.process is not None:
                self.carried.turn.check()
            if overlap(given, made):
                self.run_into([given], [made])
            else:
                self.begin()
                self.set_input(0, given)
                self.set_output(0, made)
                self.go()
                self.fill(0, made)
                self.carried.advance()
            if out is not None:
                return out
            return made if self.structured is None else self.structured([made])
        if self.structured is tuple and (type(out) is tuple or type(out) is list):
            several = self.rooms_for(list(out), skipped)
        else:
            several = self.rooms_for(None if out is None else self.rooms(out), skipped)
        self.run_into([given], several)
        return self.structured(several) if out is None else out

    def run(self, list arrays not None, list out=None, bint single=False, Exchange exchange=None):
        """The outputs for all inputs, with the first axis; in ``out`` where it is given, without it if ``single``.

        With ``exchange`` the states are brought in before, and what they became is taken back after.
        """
        cdef Py_ssize_t i
        cdef list made
        if len(arrays) != len(self.takes):
            raise ShapeError(f"got {len(arrays)} inputs, wanted {len(self.takes)}")
        for i in range(len(arrays)):
            if not (<Port>self.takes[i]).fits(arrays[i], False, 0):
                raise ShapeError(f"got an input of {arrays[i].dtype} {arrays[i].shape}, which does not fit")
        made = self.rooms_for(out, 1 if single else 0)
        self.run_into(arrays, made, exchange)
        return made

    cdef list rooms_for(self, list out, int skipped):
        """An array for every output: those of ``out``, or new ones."""
        cdef Py_ssize_t i
        cdef list made = []
        if out is not None and len(out) != len(self.gives):
            raise ShapeError(f"out: got {len(out)} arrays, wanted {len(self.gives)}")
        for i in range(len(self.gives)):
            made.append((<Port>self.gives[i]).room(None if out is None else out[i], skipped))
        return made

    cdef int run_into(self, list arrays, list made, Exchange exchange=None) except -1:
        """One run; results that share memory with others or with inputs get their numbers when all is read."""
        cdef Py_ssize_t i
        cdef list room = made
        cdef cnp.ndarray array, other
        for i in range(len(made)):
            if shares(made[i], arrays, len(arrays)) or shares(made[i], made, i):
                if room is made:
                    room = list(made)
                room[i] = np.empty_like(made[i])
        if self.carried.turn.process is not None:
            self.carried.turn.check()
        self.begin()
        for i in range(len(arrays)):
            self.set_input(i, arrays[i])
        for i in range(len(room)):
            self.set_output(i, room[i])
        if exchange is not None:
            self.frame.moves = exchange.between(self.carried)
        self.go()
        for i in range(len(room)):
            self.fill(i, room[i])
        self.carried.advance()
        for i in range(len(made)):
            array, other = made[i], room[i]
            if array is not other:
                memcpy(cnp.PyArray_BYTES(array), cnp.PyArray_BYTES(other), cnp.PyArray_NBYTES(array))
        return 0

    cdef int begin(self) except -1:
        """A frame for a run, which knows the states."""
        cdef int i
        if self.nbytes > MAX_OWN_BYTES:
            self.arena = self.arenas.take(self.nbytes)
            self.program.begin(&self.frame, self.arena)
        self.frame.wrong = self.frame.missing = self.frame.wanted = 0
        self.frame.moves = NULL
        for i in range(2 * self.carried.count):
            self.frame.bases[self.bases[i]] = self.carried.addresses[i]
        return 0

    cdef void set_input(self, Py_ssize_t i, cnp.ndarray array):
        cdef Port port = self.takes[i]
        if port.base >= 0:
            self.frame.bases[port.base] = cnp.PyArray_BYTES(array)

    cdef void set_output(self, Py_ssize_t i, cnp.ndarray array):
        cdef Port port = self.gives[i]
        if port.state < 0:
            self.frame.bases[port.base] = cnp.PyArray_BYTES(array)

    cdef void fill(self, Py_ssize_t i, cnp.ndarray array):
        """What is a state too goes to where the output is."""
        cdef Port port = self.gives[i]
        if port.state >= 0:
            memcpy(cnp.PyArray_BYTES(array), self.carried.addresses[self.carried.count + port.state],
                   cnp.PyArray_NBYTES(array))

    cdef int go(self) except -1:
        cdef int failed
        if self.program.work < GIL_FREE_WORK:
            failed = self.program.execute_all(&self.frame, NULL)
        else:
            self.carried.turn.process = getpid()
            try:
                failed = self.program.go(&self.frame, NULL, False)
            finally:
                self.carried.turn.process = None
        if self.nbytes > MAX_OWN_BYTES:
            self.arenas.give(self.arena)
            self.arena = None
        if failed >= 0 or self.frame.missing:
            self.program.finish(&self.frame, failed)
        return 0


cdef inline bint overlap(cnp.ndarray one, cnp.ndarray other) noexcept:
    """Whether two arrays have memory in common."""
    return (cnp.PyArray_BYTES(one) < cnp.PyArray_BYTES(other) + cnp.PyArray_NBYTES(other)
            and cnp.PyArray_BYTES(other) < cnp.PyArray_BYTES(one) + cnp.PyArray_NBYTES(one))


cdef bint shares(cnp.ndarray array, list others, Py_ssize_t count) except -1:
    """Whether an array has memory in common with one of the first ``count`` others."""
    cdef Py_ssize_t i
    for i in range(count):
        if overlap(array, <cnp.ndarray?>others[i]):
            return True
    return False


cdef Port port_of(tuple what, list declared):
    """A port for one of the inputs or outputs that a program declares, or for none of them."""
    cdef Port port = Port()
    place, shape, dtype = what
    port.base, port.state, port.type_number, port.rank = -1, -1, dtype.num, len(shape)
    count = 1
    if len(shape) > MAX_DIMENSIONS:
        raise ShapeError(f"program: got {len(shape)} axes")
    for axis, size in enumerate(shape):
        port.shape[<int>axis] = size
        count *= size
    if place is not None:
        kind, wanted, base = declared[place]
        if isinstance(wanted, tuple):
            kind, wanted = kind, int(np.prod(wanted))
        else:
            kind = _DTYPES[kind]
        if kind != dtype or wanted != count:
            raise ShapeError(f"program: got {dtype} of {shape}, wanted {wanted} of {kind}")
        port.base = base
    return port
