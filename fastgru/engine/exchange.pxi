# The states of streams of a pool on their way into a batch and back. Part of program.pyx.
#
# Whoever computes some rows moves their states, so that they are near then: copying them for all 1,000 rows of 128 units
# before and after took 130 us of 920, in one thread (Zen 4, states of 10,000 streams).

cdef enum:
    ALL_ROWS = -1
    FEW_MOVES = 6               # that an exchange has room for by itself: a step of a pool allocates nothing


cdef struct Move:               # of one state
    char *store                 # (2 * capacity, outer, part): two rows of each stream
    char *now                   # (outer, size, part): of the batch, before a run and after it
    char *after
    Py_ssize_t outer
    Py_ssize_t part             # bytes

cdef struct Moves:
    Move *all
    int count
    Py_ssize_t size             # rows of the batch
    Py_ssize_t start            # row i is of the stream places[start + i] of the claim, or of the last of these
    Py_ssize_t n                # of these
    const Py_ssize_t *places    # NULL: all of the claim
    const Py_ssize_t *slots     # of the claim
    const unsigned char *half   # by the slot: which row counts
    bint other                  # whether states are brought from the rows that do not count


cdef inline Py_ssize_t row_of(const Moves *moves, Py_ssize_t i, bint other) noexcept nogil:
    """Which row of a store is that of row i of the batch."""
    cdef Py_ssize_t at = min(moves.start + i, moves.n - 1)
    cdef Py_ssize_t slot = moves.slots[at if moves.places == NULL else moves.places[at]]
    return 2 * slot + (moves.half[slot] != other)


cdef void bring(const Moves *moves, Py_ssize_t first, Py_ssize_t rows) noexcept nogil:
    """The states of some rows into the batch."""
    cdef Py_ssize_t i, o, last
    cdef const Move *it
    cdef const char *row
    cdef int k
    if moves == NULL:
        return
    last = moves.size if rows == ALL_ROWS else min(first + rows, moves.size)
    for k in range(moves.count):
        it = &moves.all[k]
        for i in range(first, last):
            row = it.store + row_of(moves, i, moves.other) * it.outer * it.part
            for o in range(it.outer):
                memcpy(it.now + (o * moves.size + i) * it.part, row + o * it.part, it.part)


cdef void take_back(const Moves *moves, Py_ssize_t first, Py_ssize_t rows) noexcept nogil:
    """What the states of some rows became to the rows that do not count yet."""
    cdef Py_ssize_t i, o, last
    cdef const Move *it
    cdef char *row
    cdef int k
    if moves == NULL:
        return
    last = moves.size if rows == ALL_ROWS else min(first + rows, moves.size)
    for k in range(moves.count):
        it = &moves.all[k]
        for i in range(first, min(last, moves.n - moves.start)):
            row = it.store + row_of(moves, i, True) * it.outer * it.part
            for o in range(it.outer):
                memcpy(row + o * it.part, it.after + (o * moves.size + i) * it.part, it.part)


cdef class Exchange:
    """The states of the streams of a claim for one run of a batch of ``size`` rows.

    Parameters
    ----------
    claim : Claim
        Whose streams the rows are while this is used.
    stores : list of (2 * capacity, ...) arrays
        By state.
    outers : list of int
        How many parts, as layers, a row of each has, which lie apart in a batch: (outer, rows, rest).
    size : int
    rows : (n,) intp, optional
        Streams of the claim; row i of the batch is of ``rows[start + i]``, or of the last. None: all of them.
    start : int
    other : bool
        Whether states are brought from the rows that do not count.
    """

    cdef Claim claim
    cdef list stores
    cdef object rows
    cdef Moves moves
    cdef Move few[FEW_MOVES]

    def __cinit__(self, Claim claim not None, list stores not None, list outers not None, Py_ssize_t size, rows,
                  Py_ssize_t start, bint other):
        cdef Moves *moves = &self.moves
        cdef cnp.ndarray store, chosen
        cdef const Py_ssize_t *places
        cdef Py_ssize_t i, outer
        self.claim, self.stores, self.rows = claim, list(stores), rows
        moves.count, moves.size, moves.start, moves.other = <int>len(stores), size, start, other
        moves.all = &self.few[0]
        if len(stores) > FEW_MOVES:
            moves.all = <Move *>calloc(len(stores), sizeof(Move))
        if moves.all == NULL:
            raise MemoryError("the moves of states")
        if claim.owner is None or len(outers) != len(stores):
            raise ShapeError("states of another pool, or of streams that were given back")
        moves.slots, moves.half, moves.n = claim.slots, claim.owner.half, claim.count
        for i in range(len(stores)):
            store, outer = stores[i], outers[i]
            nbytes = cnp.PyArray_NBYTES(store) // max(2 * claim.owner.capacity, 1)
            if store.ndim < 1 or store.shape[0] != 2 * claim.owner.capacity or not cnp.PyArray_ISCARRAY(store):
                raise ShapeError("states of another pool, or that do not lie together")
            if outer < 1 or nbytes < 1 or nbytes % outer:
                raise ShapeError(f"states of {nbytes} bytes in {outer} parts")
            moves.all[i].store, moves.all[i].outer = cnp.PyArray_BYTES(store), outer
            moves.all[i].part = nbytes // outer
        if rows is not None:
            chosen = rows
            if cnp.PyArray_TYPE(chosen) != cnp.NPY_INTP or not cnp.PyArray_ISCARRAY_RO(chosen) or chosen.ndim != 1:
                raise ShapeError("rows: wanted an intp array in C order")
            places = <const Py_ssize_t *>cnp.PyArray_DATA(chosen)
            for i in range(chosen.shape[0]):
                if not 0 <= places[i] < claim.count:
                    raise ShapeError(f"rows: got {places[i]}, wanted 0 to {claim.count - 1}")
            moves.places, moves.n = places, chosen.shape[0]
        if size < 1 or not 0 <= start < moves.n:
            raise ShapeError(f"{size} streams from {start} of {moves.n}")

    def __dealloc__(self):
        if self.moves.all != &self.few[0]:
            free(self.moves.all)

    cdef const Moves *between(self, Carried carried) except NULL:
        """The moves between the stores and the states of a batch."""
        cdef int i
        cdef cnp.ndarray store, now
        if self.claim.owner is None or carried.count != self.moves.count:
            raise ShapeError("states of another batch, or of streams that were given back")
        for i in range(self.moves.count):
            store, now = self.stores[i], carried.now[i]
            if store.dtype is not now.dtype or not cnp.PyArray_ISCARRAY(now) or (
                    cnp.PyArray_NBYTES(now) != self.moves.size * self.moves.all[i].outer * self.moves.all[i].part):
                raise ShapeError(f"a batch of {(<object>now).shape} {now.dtype} for {(<object>store).shape} {store.dtype}")
            self.moves.all[i].now = carried.addresses[i]
            self.moves.all[i].after = carried.addresses[carried.count + i]
        return &self.moves

    def bring(self, Carried carried not None):
        """All states into the batch, for a run that is no program."""
        bring(self.between(carried), 0, ALL_ROWS)

    def take_back(self, Carried carried not None):
        """The states that the batch has now to the rows that do not count yet."""
        cdef int i
        self.between(carried)
        for i in range(self.moves.count):
            self.moves.all[i].after = self.moves.all[i].now
        take_back(&self.moves, 0, ALL_ROWS)
