# A program over many rows as one over a few of them, which threads take piece by piece. Part of program.pyx.
#
# A piece goes through the whole program before the next, so that what it makes on the way stays near, and a thread that
# loses its processor holds nobody up but for its own piece. Rows keep their bits: no instruction mixes them.

cdef extern from *:
    """
    #if FASTGRU_THREADS
    #define FASTGRU_TAKE(counter) __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED)
    #define FASTGRU_SEEN(counter) __atomic_load_n(counter, __ATOMIC_RELAXED)
    #elif defined(_MSC_VER) && defined(_WIN64)  /* whose threads are OpenMP's */
    #include <intrin.h>
    #define FASTGRU_TAKE(counter) _InterlockedExchangeAdd64((volatile __int64 *)(counter), 1)
    #define FASTGRU_SEEN(counter) (*(const volatile Py_ssize_t *)(counter))
    #elif defined(_MSC_VER)
    #include <intrin.h>
    #define FASTGRU_TAKE(counter) _InterlockedExchangeAdd((volatile long *)(counter), 1)
    #define FASTGRU_SEEN(counter) (*(const volatile Py_ssize_t *)(counter))
    #else
    #define FASTGRU_TAKE(counter) ((*(counter))++)
    #define FASTGRU_SEEN(counter) (*(counter))
    #endif
    """
    Py_ssize_t take_next "FASTGRU_TAKE" (Py_ssize_t *counter) nogil
    Py_ssize_t seen "FASTGRU_SEEN" (const Py_ssize_t *counter) nogil


cdef class Pieces:
    """The programs for the rows of a piece, and where a piece lies in the arrays of the whole.

    Parameters
    ----------
    whole : Program
        Over ``rows`` rows.
    piece : Program
        The same over as many rows as a piece has.
    rest : Program, optional
        The same over the rows that are left for the last piece; None where there are as many as in the others.
    rows : int
        Of a piece.
    count : int
        Pieces.
    threads : int
    divided : list of (list of bool, list of bool)
        Whether each input and each output has the rows on its outermost axis; the others are the same for all rows.
    """

    cdef Program piece, rest
    cdef int threads, arrays
    cdef Py_ssize_t rows, count
    cdef int *own               # by array: which base of a piece it is, and which of the whole
    cdef int *wholes
    cdef Py_ssize_t *strides    # by array: bytes from a piece to the next

    def __cinit__(self, Program whole not None, Program piece not None, Program rest, Py_ssize_t rows, Py_ssize_t count,
                  int threads, list divided):
        cdef int at = 0
        self.piece, self.rest, self.rows, self.count, self.threads = piece, rest, rows, count, threads
        declared = [*whole.inputs, *whole.outputs]
        self.arrays = len(declared)
        self.own = <int *>malloc((self.arrays + 1) * sizeof(int))
        self.wholes = <int *>malloc((self.arrays + 1) * sizeof(int))
        self.strides = <Py_ssize_t *>malloc((self.arrays + 1) * sizeof(Py_ssize_t))
        if self.own == NULL or self.wholes == NULL or self.strides == NULL:
            raise MemoryError("the pieces of a program")
        if not 1 <= rows < 1 << 31 or not 2 <= count < 1 << 31 or threads < 1 or len(divided) != self.arrays:
            raise ShapeError(f"program: {count} pieces for {threads} threads")
        others = [*piece.inputs, *piece.outputs]
        if [each[0] for each in others] != [each[0] for each in declared] or piece.schedules or (
                piece.pieces is not None or (rest is not None and not same_but_for_sizes(piece, rest))):
            raise ShapeError("program: a piece of another program")
        last = others if rest is None else [*rest.inputs, *rest.outputs]
        for at in range(self.arrays):
            size, own, least = size_of(declared[at]), size_of(others[at]), size_of(last[at])
            if size != ((count - 1) * own + least if divided[at] else own) or (not divided[at] and own != least):
                raise ShapeError(f"program: pieces of {own} and {least} elements for {size}")
            if not divided[at] and at >= len(whole.inputs):
                raise ShapeError("program: an output that all pieces would write")
            self.own[at], self.wholes[at] = others[at][2], declared[at][2]
            self.strides[at] = own * itemsize_of(others[at]) if divided[at] else 0

    def __dealloc__(self):
        free(self.own)
        free(self.wholes)
        free(self.strides)

    cdef Py_ssize_t room(self) noexcept:
        """Bytes that a thread takes, on whole cache lines."""
        cdef Py_ssize_t room = self.piece.whole_nbytes()
        if self.rest is not None:
            room = max(room, self.rest.whole_nbytes())
        return (room + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


cdef struct PiecesRun:          # one run, as every thread sees it
    void *piece                 # programs
    void *rest                  # or NULL
    Py_ssize_t rows             # of a piece
    Py_ssize_t count
    int arrays
    const int *own
    const int *wholes
    const Py_ssize_t *strides
    const Frame *whole
    char *memory                # (threads, room)
    Py_ssize_t room
    Py_ssize_t next             # piece that nobody has taken
    Py_ssize_t failures         # of pieces; the first of them says what is wrong
    int failed                  # which instruction of a piece, or -1
    Py_ssize_t wrong


cdef object size_of(tuple declared):
    """The elements of an input or an output of a program."""
    count = declared[1]
    if isinstance(count, tuple):
        size = 1
        for each in count:
            size *= int(each)
        return size
    return count


cdef object itemsize_of(tuple declared):
    return (_DTYPES[declared[0]] if isinstance(declared[0], str) else declared[0]).itemsize


cdef bint same_but_for_sizes(Program one, Program other):
    """Whether two programs have the same instructions, inputs and outputs, of whatever sizes."""
    cdef int i
    if one.count != other.count or one.names != other.names or other.schedules or other.pieces is not None:
        return False
    for i in range(one.count):
        if one.instructions[i].execute != other.instructions[i].execute:
            return False
    return [each[0] for each in one.inputs + one.outputs] == [each[0] for each in other.inputs + other.outputs]


cdef int run_pieces(Pieces pieces, Frame *frame) noexcept:
    """Run all pieces; which instruction failed, or -1."""
    cdef PiecesRun run
    cdef int threads = pieces.threads, came
    run.piece, run.rest = <void *>pieces.piece, NULL if pieces.rest is None else <void *>pieces.rest
    run.rows, run.count, run.arrays = pieces.rows, pieces.count, pieces.arrays
    run.own, run.wholes, run.strides = pieces.own, pieces.wholes, pieces.strides
    run.whole, run.memory, run.room = frame, frame.bases[0], pieces.room()
    run.next, run.failures, run.failed, run.wrong = 0, 0, -1, 0
    with nogil:
        came = in_parallel(threads, pieces_of_thread, &run)
    frame.missing, frame.wanted, frame.wrong, frame.in_pieces = threads - came, threads, run.wrong, True
    return run.failed


cdef void pieces_of_thread(void *given, int thread, int threads) noexcept nogil:
    """What one thread does: pieces, as long as there are any."""
    cdef PiecesRun *run = <PiecesRun *>given
    cdef void *program = run.piece
    cdef Frame frame
    cdef Watch watch
    cdef Py_ssize_t index = take_next(&run.next)
    cdef int k, failed
    memset(&watch, 0, sizeof(watch))
    watch.leader = run.whole.watch
    (<Program>program).begin_at(&frame, run.memory + thread * run.room)
    while index < run.count and seen(&run.failures) == 0 and not look(run.whole.watch if thread == 0 else &watch):
        if index == run.count - 1 and run.rest != NULL:
            program = run.rest
            (<Program>program).begin_at(&frame, run.memory + thread * run.room)
        frame.watch = run.whole.watch if thread == 0 else &watch
        for k in range(run.arrays):
            frame.bases[run.own[k]] = run.whole.bases[run.wholes[k]] + index * run.strides[k]
        bring(run.whole.moves, index * run.rows, run.rows)
        failed = (<Program>program).execute(&frame, NULL)
        if failed < 0:
            take_back(run.whole.moves, index * run.rows, run.rows)
        elif take_next(&run.failures) == 0:
            run.failed, run.wrong = failed, frame.wrong
        index = take_next(&run.next)
