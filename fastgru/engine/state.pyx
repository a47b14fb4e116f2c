"""What changes from one step to the next: the hidden states of some parallel streams, and the single step.

Everything a step needs is allocated with the ``State``, so that a step itself allocates nothing but its output, and
not even that with ``out``. A state belongs to one caller at a time, which is told where another is at work.

Where a step has much work, a team of threads computes it, each a slice of the units. The threads stay awake for a
while after a step, and are with the next within 1 us; asleep they would take 30 to 60 us to come, longer than a step of
256 units takes one thread. So the first step after a pause is always computed alone.
"""

from os import getpid

import numpy as np

cimport numpy as cnp
from libc.string cimport memcpy, memset

from fastgru.engine.kernels cimport Layer, scratch_of
from fastgru.engine.plan cimport (
    Barrier, Claims, Plan, come_together, enter_team, in_parallel, leave_team, meet, seconds_now, slice_of,
)

from fastgru.errors import ShapeError, StreamInUseError, UnsupportedModelError

from .pack import aligned_empty

cnp.import_array()

cdef enum:
    # Multiply-adds of a step above which the GIL is released: below it the step is over in about 10 us, less than
    # what handing the lock over can cost another thread.
    GIL_FREE_WORK = 500000
    # Multiply-adds of a step that each member of a team must have. With 256 inputs and units two members have 196,608
    # each; a step took 9.7 us instead of 17.4 (Zen 4).
    WORK_PER_MEMBER = 150000

cdef double AWAKE = 200e-6      # seconds after a step in which the next one finds the team's threads awake


cdef struct Step:               # one step of a state, as every member of a team sees it
    void *state
    const float *x
    float *y


cdef void member_of_step(void *given, int member, int members) noexcept nogil:
    cdef Step *step = <Step *>given
    (<State>step.state).advance_member(step.x, step.y, member, members)


cdef class Turn:
    """The one guard of every stream: whoever comes while another thread is at work is told, and changes nothing.

    A thread that was at work when its process forked is not in the child, where it is nobody's turn. Nothing here runs
    Python code, so neither another thread nor a signal's handler comes between a check and what follows.
    """

    cdef object process             # the id of the process of which a thread is at work; None if none is

    def __enter__(self):
        self.check()
        self.process = getpid()

    def __exit__(self, *raised):
        self.process = None

    cdef int check(self) except -1:
        if self.process is not None and self.process == getpid():
            raise StreamInUseError("this stream is being stepped by another thread; give each thread its own copy()")
        return 0


cdef class Held:
    """The states of a stream: ``try_step`` computes the next ones beside them, and ``keep`` takes these for them.

    So a step of several GRUs is kept by all or none. This class is for states that are arrays.
    """

    cdef readonly Turn turn
    cdef public object now, next    # (num_layers, batch, hidden)

    def __cinit__(self, *_):
        self.turn = Turn()

    cdef void keep(self) noexcept:
        self.now = self.next

    cdef int put(self, array) except -1:
        self.now = array
        return 0


def keep_all(list states):
    """Keep the step that every one of the states has tried."""
    for state in states:
        (<Held?>state).keep()


def put_all(list states, list arrays):
    """Set all states, each from an array of its shape and type that nobody else has."""
    for state, array in zip(states, arrays, strict=True):
        (<Held?>state).put(array)


cdef class State(Held):
    """The states of ``batch`` streams through one plan with one direction.

    Parameters
    ----------
    plan : Plan
    batch : int
        Streams that step together.
    threads : int
        How many a step may use at most.
    """

    cdef readonly Plan plan
    cdef readonly Py_ssize_t batch
    cdef readonly int members       # of the team; 1 where a step has too little work for one
    cdef object floats, pointers    # own the memory below
    cdef float *h                   # (2, num_layers, batch, width)
    cdef float *xp                  # (batch, blocks, 3, VL)
    cdef float *scratch             # (members,) of `scratch_size`
    cdef Py_ssize_t scratch_size
    cdef const float **x_rows       # (members, batch)
    cdef float **y_rows             # (members, batch)
    cdef Barrier begun, layer_done
    cdef Claims claims
    cdef double last_step           # when it ended, in seconds
    cdef int current                # which half of h holds the states
    cdef Py_ssize_t work

    def __cinit__(self, Plan plan not None, Py_ssize_t batch, int threads=1):
        cdef Py_ssize_t states, projected, index
        cdef float[::1] floats
        cdef char[::1] pointers
        if plan.stack.directions != 1:
            raise UnsupportedModelError(
                "a stream computes one step at a time, but a bidirectional GRU needs the whole sequence; "
                "call the GRU on sequences instead")
        if batch < 1:
            raise ShapeError(f"batch: got {batch}, wanted at least 1")
        size = 2 * <object>plan.stack.num_layers * batch * plan.stack.width + 5 * batch * <object>plan.stack.width
        if size > 1 << 56:
            raise ShapeError(f"batch: got {batch} streams, more than fit a memory")
        self.plan = plan
        self.batch = batch
        self.work = 0
        for index in range(plan.stack.num_layers):
            self.work += batch * 3 * plan.stack.hidden_size * (plan.stack.layers[index].inputs + plan.stack.hidden_size)
        self.members = 1
        if plan.stack.reset_after:        # or every unit's candidate would wait for the reset gates of all
            self.members = <int>max(min(<Py_ssize_t>threads, self.work // WORK_PER_MEMBER // plan.stack.num_layers,
                                        (plan.stack.layers[0].blocks + 1) // 2), 1)
        self.begun.members = self.layer_done.members = self.members
        states = 2 * plan.stack.num_layers * batch * plan.stack.width
        projected = batch * 3 * plan.stack.width
        self.scratch_size = 0
        for index in range(plan.stack.num_layers):
            self.scratch_size = max(self.scratch_size, scratch_of(&plan.stack.layers[index], batch))
        self.scratch_size = (self.scratch_size + 15) // 16 * 16
        self.floats = aligned_empty(states + projected + self.members * self.scratch_size)
        self.pointers = np.empty(2 * batch * self.members * sizeof(void *), dtype=np.int8)
        floats = self.floats
        pointers = self.pointers
        self.h = &floats[0]
        self.xp = self.h + states
        self.scratch = self.xp + projected
        self.x_rows = <const float **>&pointers[0]
        self.y_rows = <float **>(self.x_rows + batch * self.members)
        self.reset()

    def reset(self, const Py_ssize_t[::1] rows=None):
        """Set every state to zero, or those of some rows, each from 0 to ``batch - 1``."""
        cdef Py_ssize_t layer, i, width = self.plan.stack.width
        self.turn.check()
        if rows is None:
            memset(self.h, 0, 2 * self.plan.stack.num_layers * self.batch * width * sizeof(float))
            self.current = 0
            return
        for i in range(rows.shape[0]):
            if not 0 <= rows[i] < self.batch:
                raise ShapeError(f"rows: got {rows[i]}, wanted 0 to {self.batch - 1}")
        for layer in range(self.plan.stack.num_layers):
            for i in range(rows.shape[0]):
                memset(self.half(self.current) + (layer * self.batch + rows[i]) * width, 0, width * sizeof(float))

    def get(self):
        """The states now: a new array (num_layers, batch, hidden_size)."""
        return self.copied(self.current)

    def tried(self):
        """The states that the step just tried leads to."""
        return self.copied(1 - self.current)

    cdef copied(self, int which):
        cdef Plan plan = self.plan
        cdef Py_ssize_t i
        cdef cnp.ndarray out = np.empty((plan.stack.num_layers, self.batch, plan.stack.hidden_size), dtype=np.float32)
        cdef float *to = <float *>cnp.PyArray_DATA(out)
        self.turn.check()
        for i in range(plan.stack.num_layers * self.batch):
            memcpy(to + i * plan.stack.hidden_size, self.half(which) + i * plan.stack.width,
                   plan.stack.hidden_size * sizeof(float))
        return out

    def set(self, states):
        """Set the states from a float32 array (num_layers, batch, hidden_size)."""
        self.turn.check()
        self.put(states)

    cdef int put(self, states) except -1:
        cdef const float[:, :, ::1] given = states
        cdef Plan plan = self.plan
        cdef Py_ssize_t layer, i
        if (given.shape[0] != plan.stack.num_layers or given.shape[1] != self.batch
                or given.shape[2] != plan.stack.hidden_size):
            raise ShapeError(f"state: got shape {(given.shape[0], given.shape[1], given.shape[2])}, "
                             f"wanted {(plan.stack.num_layers, self.batch, plan.stack.hidden_size)}")
        for layer in range(plan.stack.num_layers):
            for i in range(self.batch):
                memcpy(self.half(self.current) + (layer * self.batch + i) * plan.stack.width, &given[layer, i, 0],
                       plan.stack.hidden_size * sizeof(float))
        return 0

    cdef void keep(self) noexcept:
        self.current = 1 - self.current

    cdef float *half(self, int which) noexcept nogil:
        return self.h + which * self.plan.stack.num_layers * self.batch * self.plan.stack.width

    def step(self, x, out=None):
        """Take one step; see ``Stream.step``."""
        cdef cnp.ndarray result = self.attempt(x, out)
        self.current = 1 - self.current
        return result

    def try_step(self, x):
        """What ``step`` gives; the states stay as they are until ``keep_all``."""
        return self.attempt(x, None)

    cdef cnp.ndarray attempt(self, x, out):
        cdef cnp.ndarray given
        cdef cnp.ndarray result
        given = <cnp.ndarray>x if self.fits(x, self.plan.stack.input_size, False) else self.converted(x)
        if out is None:
            result = self.new_output(given)
        elif self.fits(out, self.plan.stack.hidden_size, True) and cnp.PyArray_NDIM(out) == cnp.PyArray_NDIM(given):
            result = out
        else:
            raise self.bad_output(given, out)
        if self.turn.process is not None:
            self.turn.check()
        if self.work < GIL_FREE_WORK:
            self.advance(<const float *>cnp.PyArray_DATA(given), <float *>cnp.PyArray_DATA(result))
            return result
        self.turn.process = getpid()
        with nogil:
            self.advance(<const float *>cnp.PyArray_DATA(given), <float *>cnp.PyArray_DATA(result))
        self.turn.process = None
        return result

    cdef bint fits(self, array, Py_ssize_t features, bint writeable):
        """Whether ``array`` can be used where it lies: (batch, features), or (features,) for one stream."""
        cdef cnp.ndarray a
        cdef int ndim
        if not (cnp.PyArray_Check(array) if writeable else cnp.PyArray_CheckExact(array)):
            return False  # an input of a class of its own, as a masked array is, is looked at in ``converted``
        a = array
        ndim = cnp.PyArray_NDIM(a)
        if cnp.PyArray_TYPE(a) != cnp.NPY_FLOAT or not cnp.PyArray_ISCARRAY_RO(a):
            return False
        if writeable and not cnp.PyArray_ISWRITEABLE(a):
            return False
        if ndim == 1:
            return self.batch == 1 and cnp.PyArray_DIM(a, 0) == features
        return ndim == 2 and cnp.PyArray_DIM(a, 0) == self.batch and cnp.PyArray_DIM(a, 1) == features

    cdef converted(self, x):
        from fastgru.arrays import as_numbers

        array = as_numbers(x, "x", np.float32)
        if not self.fits(array, self.plan.stack.input_size, False):
            one = f" or ({self.plan.stack.input_size},)" if self.batch == 1 else ""
            raise ShapeError(f"x: got shape {array.shape}, wanted {(self.batch, self.plan.stack.input_size)}{one}: "
                             "one step of every stream")
        return array

    cdef cnp.ndarray new_output(self, cnp.ndarray given):
        cdef cnp.npy_intp shape[2]
        cdef int ndim = cnp.PyArray_NDIM(given)
        shape[0] = self.batch
        shape[ndim - 1] = self.plan.stack.hidden_size
        return cnp.PyArray_EMPTY(ndim, shape, cnp.NPY_FLOAT, 0)

    cdef bad_output(self, given, out):
        wanted = (*given.shape[: given.ndim - 1], self.plan.stack.hidden_size)
        if isinstance(out, np.ndarray):
            got = f"{out.dtype} of shape {out.shape}, C-contiguous {out.flags.c_contiguous}, " \
                  f"writeable {out.flags.writeable}"
        else:
            got = type(out).__name__
        return ShapeError(f"out: got {got}; wanted a writeable C-contiguous float32 array of shape {wanted}")

    cdef void advance(self, const float *x, float *y) noexcept nogil:
        """One step of every layer, by one thread or by the team, into the other half of ``h``."""
        cdef Step step = Step(<void *>self, x, y)
        cdef double now
        cdef bint together = False
        cdef bint overlapping = (x < y + self.batch * self.plan.stack.hidden_size
                                 and y < x + self.batch * self.plan.stack.input_size)
        if self.members > 1 and not overlapping:
            now = seconds_now()
            together = now - self.last_step < AWAKE and enter_team()
        if together:
            memset(&self.claims, 0, sizeof(Claims))
            self.begun.stalled = self.layer_done.stalled = False
            in_parallel(self.members, member_of_step, &step)
            leave_team(self.begun.stalled or self.layer_done.stalled)
        else:
            self.advance_slice(x, y, 0, 1, overlapping)
        if self.members > 1:
            self.last_step = seconds_now()

    cdef void advance_member(self, const float *x, float *y, int member, int members) noexcept nogil:
        """What one of the threads that came does; where these are fewer than the team's, one does all."""
        if members < self.members or come_together(&self.begun, &self.claims):
            self.begun.stalled = True
            if member == 0:
                self.advance_slice(x, y, 0, 1, False)
        else:
            self.advance_slice(x, y, member, members, False)

    cdef void advance_slice(self, const float *x, float *y, int member, int members, bint overlapping) noexcept nogil:
        """A slice of the units of every layer; each layer's input is the state the layer below has just made.

        Where x and y overlap, all of x is read before anything is written.
        """
        cdef Layer layer
        cdef Py_ssize_t i, index, size = self.batch * self.plan.stack.width
        cdef float *h = self.half(self.current)
        cdef float *h_next = self.half(1 - self.current)
        cdef const float **x_rows = self.x_rows + member * self.batch
        cdef float **y_rows = self.y_rows + member * self.batch
        cdef float *xp
        cdef float *scratch = self.scratch + member * self.scratch_size
        cdef unsigned int mode = self.plan.stack.kernels.begin_work(self.plan.stack.tiled)
        for i in range(self.batch):
            y_rows[i] = y + i * self.plan.stack.hidden_size
        for index in range(self.plan.stack.num_layers):
            layer = slice_of(&self.plan.stack.layers[index], self.plan.stack.kernels.vector_length, member, members)
            for i in range(self.batch):
                if index == 0:
                    x_rows[i] = x + i * self.plan.stack.input_size
                else:
                    x_rows[i] = h_next + (index - 1) * size + i * self.plan.stack.width
            xp = self.xp + self.batch * 3 * layer.first * self.plan.stack.kernels.vector_length
            if overlapping:
                self.plan.stack.kernels.project(&layer, self.batch, x_rows, xp, scratch)
            self.plan.stack.kernels.step(
                &layer, self.batch, NULL if overlapping else x_rows, h + index * size, h_next + index * size, xp,
                y_rows if index == self.plan.stack.num_layers - 1 else NULL, scratch, self.current)
            if members > 1:
                meet(&self.layer_done)
        self.plan.stack.kernels.end_work(self.plan.stack.tiled, mode)
