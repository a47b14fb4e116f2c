# A program of one input that is called with arrays as they lie. Part of program.pyx.


cdef class Caller:
    """A program of one input, for any number of threads.

    Parameters
    ----------
    program : Program
    arenas : Arenas
    takes : (place, shape, dtype)
    gives : list of (place, shape, dtype)
        The array that is given and those that are made, and which input and outputs of the program they are.
    """

    cdef Program program
    cdef Arenas arenas
    cdef Port takes
    cdef list gives
    cdef Py_ssize_t nbytes

    def __cinit__(self, Program program not None, Arenas arenas not None, tuple takes, list gives):
        self.program, self.arenas, self.nbytes = program, arenas, program.nbytes
        self.takes = port_of(takes, program.inputs)
        self.gives = [port_of(what, program.outputs) for what in gives]
        given = {(<Port>port).base for port in self.gives}
        if program.schedules or len(program.inputs) > 1 or given != {base for _, _, base in program.outputs}:
            raise ShapeError("program: wanted one input, and a place for every output")
        if len(given) < len(self.gives) or (program.inputs and self.takes.base < 0):
            raise ShapeError("program: wanted every output once")

    def call(self, x):
        """A list of the outputs for an array; None where it does not fit as it lies."""
        cdef Frame frame
        cdef Arena arena
        cdef Port port
        cdef cnp.ndarray array
        cdef list made
        cdef Py_ssize_t i
        cdef int failed
        if not self.takes.fits(x, False, 0):
            return None
        made = []
        arena = self.arenas.take(self.nbytes)
        self.program.begin(&frame, arena)
        array = x
        if self.takes.base >= 0:
            frame.bases[self.takes.base] = cnp.PyArray_BYTES(array)
        for i in range(len(self.gives)):
            port = self.gives[i]
            array = port.new(0)
            frame.bases[port.base] = cnp.PyArray_BYTES(array)
            made.append(array)
        failed = self.program.go(&frame, NULL, False)
        self.arenas.give(arena)
        if failed >= 0 or frame.missing:
            self.program.finish(&frame, failed)
        return made
