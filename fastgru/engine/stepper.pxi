# A program that is run again and again, with states that go from a run to the next. Part of program.pyx.


cdef class Carried:
    """The states of a stream: arrays, each beside room for the one after it."""

    cdef readonly Turn turn
    cdef readonly list now
    cdef list after

    def __cinit__(self, list arrays not None):
        self.turn = Turn()
        self.now = [np.array(array, order="C", subok=False) for array in arrays]
        self.after = [np.empty_like(array) for array in self.now]

    def put(self, list arrays not None):
        """Other numbers for all states, of the same shapes; copies."""
        made = []
        for array, now in zip(arrays, self.now, strict=True):
            if array.shape != now.shape:
                raise ShapeError(f"state: got shape {array.shape}, wanted {now.shape}")
            made.append(np.array(array, now.dtype, order="C", subok=False))
        self.now = made


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


@cython.boundscheck(True)
@cython.wraparound(True)
cdef class Stepper:
    """A program with the states of one stream.

    Parameters
    ----------
    program : Program
    pool : Pool
    carried : Carried
    takes, gives : list of (place, shape, dtype)
        The arrays of a run and which input or output of the program each is: None of one that it does not use.
    before, after : list of int
        Which inputs the states are, and which outputs those after them.
    alone : bool
        Whether a run is taken without the first axis, of one row, too.
    convert : callable
        ``convert(x, named)`` gives an array that fits for what does not, or for an argument that was given by name,
        and whether it came without the first axis.
    """

    cdef Program program
    cdef Pool pool
    cdef readonly Carried carried
    cdef list takes, gives
    cdef list before, after     # bases of the states
    cdef bint alone
    cdef object convert
    cdef Py_ssize_t nbytes

    def __cinit__(self, Program program not None, Pool pool not None, Carried carried not None, list takes, list gives,
                  list before, list after, bint alone, convert):
        self.program, self.pool, self.carried = program, pool, carried
        self.alone, self.convert, self.nbytes = alone, convert, program.nbytes
        self.takes = [port_of(what, program.inputs) for what in takes]
        self.gives = [port_of(what, program.outputs) for what in gives]
        self.before, self.after = [], []
        if program.schedules or not len(carried.now) == len(before) == len(after):
            raise ShapeError("program: wanted an input and an output for every state")
        for array, source, target in zip(carried.now, before, after):
            port_of((source, array.shape, array.dtype), program.inputs)
            port_of((target, array.shape, array.dtype), program.outputs)
            self.before.append(program.inputs[source][2])
            self.after.append(program.outputs[target][2])
        used = [(<Port>port).base for port in self.takes] + self.before
        if sorted([base for base in used if base >= 0]) != sorted([base for _, _, base in program.inputs]):
            raise ShapeError("program: wanted every input once")
        for port in self.gives:
            if (<Port>port).base in self.after:
                (<Port>port).state = self.after.index((<Port>port).base)
        given = {(<Port>port).base for port in self.gives} | set(self.after)
        if given != {base for _, _, base in program.outputs} or len(set(self.after)) < len(self.after):
            raise ShapeError("program: wanted a place for every output")

    def step(self, x=None, out=None, **named):
        """A run of a program of one input and one output; see ``ModelStream.step``."""
        cdef Port takes = self.takes[0]
        cdef Port gives = self.gives[0]
        cdef int skipped = 0
        cdef cnp.ndarray given, made
        if takes.fits(x, False, 0) and not named:
            given = x
        elif self.alone and takes.fits(x, False, 1) and not named:
            given, skipped = x, 1
        else:
            converted, single = self.convert(x, named)
            skipped = 1 if single else 0
            if not takes.fits(converted, False, skipped):
                raise ShapeError(f"x: got shape {converted.shape}, which does not fit")
            given = converted
        made = gives.room(out, skipped)
        self.run_into([given], [made])
        return made

    def run(self, list arrays not None, list out=None, bint single=False):
        """The outputs for all inputs, with the first axis; in ``out`` where it is given, without it if ``single``."""
        cdef int i
        cdef int skipped = 1 if single else 0
        if len(arrays) != len(self.takes) or (out is not None and len(out) != len(self.gives)):
            raise ShapeError(f"got {len(arrays)} inputs and {0 if out is None else len(out)} outputs, wanted "
                             f"{len(self.takes)} and {len(self.gives)}")
        for i in range(len(arrays)):
            if not (<Port>self.takes[i]).fits(arrays[i], False, 0):
                raise ShapeError(f"got an input of {arrays[i].dtype} {arrays[i].shape}, which does not fit")
        made = [(<Port>self.gives[i]).room(None if out is None else out[i], skipped) for i in range(len(self.gives))]
        self.run_into(arrays, made)
        return made

    cdef int run_into(self, list arrays, list made) except -1:
        """One run; results that share memory with others or with inputs get their numbers when all is read."""
        cdef int i
        cdef list room = made
        cdef Port port
        cdef cnp.ndarray array, other
        for i in range(len(made)):
            if shares(made[i], arrays) or shares(made[i], made[:i]):
                if room is made:
                    room = list(made)
                room[i] = np.empty_like(made[i])
        if self.carried.turn.process is not None:
            self.carried.turn.check()
        self.go(arrays, room)
        if room is not made:
            for i in range(len(made)):
                array, other = made[i], room[i]
                if array is not other:
                    memcpy(cnp.PyArray_BYTES(array), cnp.PyArray_BYTES(other), cnp.PyArray_NBYTES(array))
        return 0

    cdef int go(self, list arrays, list room) except -1:
        cdef Frame frame
        cdef Carried carried = self.carried
        cdef Program program = self.program
        cdef Arena arena = self.pool.take(self.nbytes)
        cdef int i, failed
        cdef Port port
        cdef cnp.ndarray array, other
        program.begin(&frame, arena)
        for i in range(len(arrays)):
            port, array = self.takes[i], arrays[i]
            if port.base >= 0:
                frame.bases[port.base] = cnp.PyArray_BYTES(array)
        for i in range(len(room)):
            port, array = self.gives[i], room[i]
            frame.bases[port.base] = cnp.PyArray_BYTES(array)
        for i in range(len(self.before)):
            array, other = carried.now[i], carried.after[i]
            frame.bases[<int>self.before[i]] = cnp.PyArray_BYTES(array)
            frame.bases[<int>self.after[i]] = cnp.PyArray_BYTES(other)
        if program.work < GIL_FREE_WORK:
            failed = program.execute(&frame, NULL)
        else:
            carried.turn.process = getpid()
            with nogil:
                failed = program.execute(&frame, NULL)
            carried.turn.process = None
        self.pool.give(arena)
        program.finish(&frame, failed)
        for i in range(len(room)):
            port = self.gives[i]
            if port.state >= 0:
                array, other = room[i], carried.after[port.state]
                memcpy(cnp.PyArray_BYTES(array), cnp.PyArray_BYTES(other), cnp.PyArray_NBYTES(array))
        carried.now, carried.after = carried.after, carried.now
        return 0


cdef bint shares(cnp.ndarray array, list others) except -1:
    """Whether an array has memory in common with one of others."""
    cdef cnp.ndarray other
    cdef char *begin = cnp.PyArray_BYTES(array)
    cdef char *start
    cdef int i
    for i in range(len(others)):
        other = others[i]
        start = cnp.PyArray_BYTES(other)
        if begin < start + cnp.PyArray_NBYTES(other) and start < begin + cnp.PyArray_NBYTES(array):
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
