# Which rows of a pool are whose. Part of program.pyx. Nothing here runs Python code between a check and what follows, so
# neither another thread nor a signal's handler comes between.


cdef class Slots:
    """Places for ``capacity`` streams, by ids that are never given twice; every call has its streams for itself.

    A stream has two rows of every state, of which ``half`` says the one that counts: a call writes the other ones, and
    turns to them when all is done.
    """

    cdef readonly Py_ssize_t capacity
    cdef readonly Py_ssize_t count          # of the streams that there are
    cdef long long *ids                     # by the slot; -1 where nobody is
    cdef unsigned char *busy                # whether a call has it
    cdef unsigned char *half
    cdef Py_ssize_t *free                   # the slots where nobody is, the next to be given last
    cdef long long given                    # ids so far
    cdef Py_ssize_t *spare                  # what a claim had for its slots, for the next one
    cdef Py_ssize_t spare_room
    cdef object process

    def __cinit__(self, Py_ssize_t capacity):
        cdef Py_ssize_t slot
        if capacity < 1 or capacity > 1 << 40:
            raise ShapeError(f"capacity: got {capacity}, wanted a whole number of at least 1")
        self.capacity, self.process = capacity, getpid()
        self.ids = <long long *>malloc(capacity * sizeof(long long))
        self.free = <Py_ssize_t *>malloc(capacity * sizeof(Py_ssize_t))
        self.busy = <unsigned char *>malloc(capacity)
        self.half = <unsigned char *>malloc(capacity)
        if self.ids == NULL or self.free == NULL or self.busy == NULL or self.half == NULL:
            raise MemoryError(f"{capacity} streams")
        memset(self.busy, 0, capacity)
        memset(self.half, 0, capacity)
        for slot in range(capacity):
            self.ids[slot] = -1
            self.free[slot] = capacity - 1 - slot

    def __dealloc__(self):
        free(self.ids)
        free(self.free)
        free(self.busy)
        free(self.half)
        free(self.spare)

    def join(self, Py_ssize_t n):
        """The ids of new streams, and a claim on them."""
        cdef cnp.ndarray ids = np.empty(n, np.int64)
        cdef long long *own = <long long *>cnp.PyArray_DATA(ids)
        cdef Py_ssize_t i, slot
        cdef Claim claim = Claim()
        self.look()
        if n > self.capacity - self.count:
            raise ShapeError(f"n: got {n} streams, but the pool has {self.count} of at most {self.capacity}; let others "
                             "leave, or make a larger pool")
        claim.take(self, n)
        for i in range(n):
            slot = self.free[self.capacity - self.count - 1]
            self.count += 1
            own[i] = self.given * self.capacity + slot
            self.given += 1
            self.ids[slot], self.busy[slot], claim.slots[i] = own[i], 1, slot
        claim.owner = self
        return ids, claim

    def claim(self, cnp.ndarray ids not None):
        """A claim on the streams of ids, an int64 array of one axis in C order."""
        cdef Py_ssize_t i, n = cnp.PyArray_SIZE(ids), slot
        cdef long long *own = <long long *>cnp.PyArray_DATA(ids)
        cdef long long wrong = -1
        cdef int reason = 0
        cdef Claim claim = Claim()
        if cnp.PyArray_TYPE(ids) != np.dtype(np.int64).num or not cnp.PyArray_ISCARRAY_RO(ids):
            raise ShapeError("ids: wanted an int64 array in C order")
        self.look()
        claim.take(self, n)
        for i in range(n):
            slot = <Py_ssize_t>(own[i] % self.capacity) if own[i] >= 0 else 0
            if own[i] < 0 or self.ids[slot] != own[i]:
                reason = 1
            elif self.busy[slot] == 2:
                reason = 2
            elif self.busy[slot]:
                reason = 3
            if reason:
                wrong = own[i]
                break
            self.busy[slot], claim.slots[i] = 2, slot
        n = i if reason else n
        for i in range(n):
            self.busy[claim.slots[i]] = 0 if reason else 1
        if reason == 1:
            raise ShapeError(f"ids: {wrong} is no stream of this pool, or left it")
        if reason == 2:
            raise ShapeError(f"ids: got {wrong} twice, wanted every stream once")
        if reason == 3:
            raise StreamInUseError(f"ids: stream {wrong} is being stepped by another thread")
        claim.owner = self
        return claim

    cdef int look(self) except -1:
        """In the child of a fork nobody is at work yet."""
        if self.process != getpid():
            memset(self.busy, 0, self.capacity)
            self.process = getpid()
        return 0


cdef class Claim:
    """The streams that a call has for itself, until it gives them back or is no more."""

    cdef Slots owner            # None when they were given back
    cdef Py_ssize_t *slots
    cdef Py_ssize_t count, room

    cdef int take(self, Slots owner, Py_ssize_t count) except -1:
        """Room for the slots of ``count`` streams; ``owner`` keeps one such for the next claim."""
        self.count, self.room = count, count
        if owner.spare != NULL and owner.spare_room >= count:
            self.slots, self.room, owner.spare = owner.spare, owner.spare_room, NULL
        else:
            self.slots = <Py_ssize_t *>malloc(max(count, 1) * sizeof(Py_ssize_t))
        if self.slots == NULL:
            raise MemoryError(f"{count} streams")
        return 0

    def __dealloc__(self):
        self.free(False, False)
        free(self.slots)

    def __len__(self):
        return self.count

    def rows(self, bint other=False):
        """Which rows of the states count, or are the others."""
        cdef Py_ssize_t i
        cdef cnp.ndarray made = np.empty(self.count, np.intp)
        cdef Py_ssize_t *places = <Py_ssize_t *>cnp.PyArray_DATA(made)
        for i in range(self.count):
            places[i] = self.row(i, other)
        return made

    cdef Py_ssize_t row(self, Py_ssize_t i, bint other) noexcept:
        return 2 * self.slots[i] + (self.owner.half[self.slots[i]] != other)

    def give_back(self):
        """The streams as they were."""
        self.free(False, False)

    def turn(self):
        """The streams, of which the other rows of the states count from now on."""
        self.free(True, False)

    def leave(self):
        """The streams, which are no more."""
        self.free(False, True)

    cdef void free(self, bint turned, bint gone) noexcept:
        cdef Py_ssize_t i, slot
        cdef Slots owner = self.owner
        if owner is None:
            return
        self.owner = None
        for i in range(self.count):
            slot = self.slots[i]
            owner.busy[slot] = 0
            if turned:
                owner.half[slot] = 1 - owner.half[slot]
            if gone:
                owner.ids[slot] = -1
                owner.count -= 1
                owner.free[owner.capacity - owner.count - 1] = slot
        if owner.spare == NULL:
            owner.spare, owner.spare_room, self.slots = self.slots, self.room, NULL
