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

from fastgru.engine.kernels cimport VECTORS, Layer, project_rows, scratch_of, step_rows, tiles_of
from fastgru.engine.plan cimport (
    Claims, Plan, Stack, Watch, come_together, enter_team, in_parallel, leave_team, meet, seconds_now, set_flag,
    settle, slice_of,
)

from fastgru.errors import ShapeError, StreamInUseError, UnsupportedModelError

from .pack import aligned_empty

cnp.import_array()

include "steps.pxi"


cdef class Turn:
    """The one guard of every stream: whoever comes while another thread is at work is told, and changes nothing.

    A thread that was at work when its process forked is not in the child, where it is nobody's turn. Nothing here runs
    Python code, so neither another thread nor a signal's handler comes between a check and what follows.
    """

    def __enter__(self):
        self.check()
        self.process = getpid()

    def __exit__(self, *raised):
        self.process = None

    cdef int check(self) except -1:
        if self.process is not None and self.process == getpid():
            raise StreamInUseError("this stream is being stepped by another thread; give each thread its own copy()")
        return 0


cdef class State:
    """The states of ``batch`` streams through one plan with one direction.

    Parameters
    ----------
    plan : Plan
    batch : int
        Streams that step together.
    threads : int
        How many a step may use at most.
    """

    cdef readonly Turn turn
    cdef readonly Plan plan
    cdef readonly Py_ssize_t batch
    cdef object floats              # owns the memory below
    cdef float *h                   # (2, num_layers, batch, width)
    cdef char *memory               # of `Step`
    cdef Team team
    cdef int current                # which half of h holds the states
    cdef bint at_once               # whether a step is over so soon that nobody waits for it
    cdef Py_ssize_t floats_of_row   # of the states of a layer

    def __cinit__(self, Plan plan not None, Py_ssize_t batch, int threads=1):
        cdef Py_ssize_t states, memory
        cdef float[::1] floats
        cdef const Stack *stack = &plan.stack
        if plan.stack.directions != 1:
            raise UnsupportedModelError(
                "a stream computes one step at a time, but a bidirectional GRU needs the whole sequence; "
                "call the GRU on sequences instead")
        if batch < 1:
            raise ShapeError(f"batch: got {batch}, wanted at least 1")
        size = (2 * <object>stack.num_layers + 5) * batch * stack.width * stack.words
        if size > 1 << 56:
            raise ShapeError(f"batch: got {batch} streams, more than fit a memory")
        self.turn = Turn()
        self.plan = plan
        self.batch = batch
        self.at_once = stack.kernels.packing == VECTORS and work_of_step(stack, batch) < GIL_FREE_WORK
        self.floats_of_row = stack.width * stack.words
        self.team.members = team_of_steps(stack, batch, threads if stack.kernels.packing == VECTORS else 1)
        states = (2 * stack.num_layers * batch * self.floats_of_row + 15) // 16 * 16
        memory = memory_of_step(stack, batch, self.team.members)
        self.floats = aligned_empty(states + memory // <Py_ssize_t>sizeof(float))
        floats = self.floats
        self.h = &floats[0]
        self.memory = <char *>(self.h + states)
        self.reset()

    @property
    def members(self):
        """Of the team; 1 where a step has too little work for one."""
        return self.team.members

    def reset(self, const Py_ssize_t[::1] rows=None):
        """Set every state to zero, or those of some rows, each from 0 to ``batch - 1``."""
        cdef Py_ssize_t layer, i, width = self.floats_of_row
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
        cdef const Stack *stack = &self.plan.stack
        cdef cnp.ndarray out = np.empty((stack.num_layers, self.batch, stack.hidden_size), dtype=self.plan.dtype)
        self.turn.check()
        self.copy(<char *>cnp.PyArray_DATA(out), False)
        return out

    def set(self, states):
        """Set the states from an array (num_layers, batch, hidden_size)."""
        cdef cnp.ndarray given = np.ascontiguousarray(states, dtype=self.plan.dtype)
        self.turn.check()
        wanted = (self.plan.stack.num_layers, self.batch, self.plan.stack.hidden_size)
        if (<object>given).shape != wanted:
            raise ShapeError(f"state: got shape {(<object>given).shape}, wanted {wanted}")
        self.copy(<char *>cnp.PyArray_DATA(given), True)

    cdef void copy(self, char *array, bint to_states) noexcept:
        """States from an array, or to it."""
        cdef Py_ssize_t i, size = self.plan.stack.hidden_size * self.plan.stack.words * <Py_ssize_t>sizeof(float)
        cdef float *row
        for i in range(self.plan.stack.num_layers * self.batch):
            row = self.half(self.current) + i * self.floats_of_row
            if to_states:
                memcpy(row, array + i * size, size)
            else:
                memcpy(array + i * size, row, size)

    cdef float *half(self, int which) noexcept nogil:
        return self.h + which * self.plan.stack.num_layers * self.batch * self.floats_of_row

    def step(self, x, out=None):
        """Take one step; see ``Stream.step``."""
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
        if self.at_once:
            self.advance(<const float *>cnp.PyArray_DATA(given), <float *>cnp.PyArray_DATA(result), NULL)
        else:
            self.advance_alone(<const float *>cnp.PyArray_DATA(given), <float *>cnp.PyArray_DATA(result))
        self.current = 1 - self.current
        return result

    cdef int advance_alone(self, const float *x, float *y) except -1:
        """A step during which other threads may run, and are told that it is not their turn."""
        cdef Watch watch
        cdef int threads = self.plan.owner.enter(1)
        memset(&watch, 0, sizeof(watch))
        try:
            self.turn.check()
            self.turn.process = getpid()
            with nogil:
                self.advance(x, y, &watch)
            self.turn.process = None
        finally:
            self.plan.owner.leave(threads)
        return settle(&watch)

    cdef bint fits(self, array, Py_ssize_t features, bint writeable):
        """Whether ``array`` can be used where it lies: (batch, features), or (features,) for one stream."""
        cdef cnp.ndarray a
        cdef int ndim
        if not (cnp.PyArray_Check(array) if writeable else cnp.PyArray_CheckExact(array)):
            return False  # an input of a class of its own, as a masked array is, is looked at in ``converted``
        a = array
        ndim = cnp.PyArray_NDIM(a)
        if cnp.PyArray_TYPE(a) != (cnp.NPY_FLOAT if self.plan.stack.words == 1 else cnp.NPY_DOUBLE) or not cnp.PyArray_ISCARRAY_RO(a):
            return False
        if writeable and not cnp.PyArray_ISWRITEABLE(a):
            return False
        if ndim == 1:
            return self.batch == 1 and cnp.PyArray_DIM(a, 0) == features
        return ndim == 2 and cnp.PyArray_DIM(a, 0) == self.batch and cnp.PyArray_DIM(a, 1) == features

    cdef converted(self, x):
        from fastgru.arrays import as_numbers

        array = as_numbers(x, "x", self.plan.dtype)
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
        return cnp.PyArray_EMPTY(ndim, shape, cnp.NPY_FLOAT if self.plan.stack.words == 1 else cnp.NPY_DOUBLE, 0)

    cdef bad_output(self, given, out):
        wanted = (*given.shape[: given.ndim - 1], self.plan.stack.hidden_size)
        if isinstance(out, np.ndarray):
            got = f"{out.dtype} of shape {out.shape}, C-contiguous {out.flags.c_contiguous}, " \
                  f"writeable {out.flags.writeable}"
        else:
            got = type(out).__name__
        return ShapeError(f"out: got {got}; wanted a writeable C-contiguous {self.plan.dtype} array of shape {wanted}")

    cdef void advance(self, const float *x, float *y, Watch *watch) noexcept nogil:
        """One step of every layer into the other half of ``h``."""
        cdef Step step
        step.stack, step.batch, step.x, step.y = &self.plan.stack, self.batch, x, y
        step.h, step.h_next = self.half(self.current), self.half(1 - self.current)
        step.backward, step.memory, step.team, step.watch = self.current, self.memory, &self.team, watch
        take_step(&step)
