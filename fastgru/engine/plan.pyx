"""A stack of GRU layers, packed for one table of kernels, and the call that runs whole sequences through it.

``Plan`` is immutable: any number of threads may run it. What changes during a run lies in a workspace of that run; the
loops are in ``sequences.pxi`` and ``single_row.pxi``.
"""

import os

import numpy as np

cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from fastgru.engine.kernels cimport (
    BFLOAT16, INT8, VECTORS, KindKernels, Kernels, Layer, Lookahead, lookahead_steps, project_rows, scratch_of,
    step_rows, tiles_of,
)
from fastgru.engine.pack cimport aligned_array

from fastgru.errors import ShapeError, UnsupportedModelError

from .checks import check_activation, checked_weights, form_of
from .pack import last_vectors, pack_vector
from .packed import AS_BFLOAT16, KINDS, PRECISIONS, Layout, PackedMatrix, vectors_of
from .reduced import upper_halves, widen

cnp.import_array()

cdef extern from *:
    """
    #if FASTGRU_THREADS
    #define FASTGRU_BUILT_WITH "POSIX"
    #elif defined(_OPENMP)
    #define FASTGRU_BUILT_WITH "OpenMP"
    #else
    #define FASTGRU_BUILT_WITH "none"
    #endif
    """
    const char *FASTGRU_BUILT_WITH

THREADS = FASTGRU_BUILT_WITH.decode()   # whose threads compute beside the calling one

GATES = ((2, 1), (3,))                  # of w_hh by reset_after: the last one is a product of its own before the reset

cdef enum:
    MAX_SHARES = 1024          # of a batch, each of which has a thread


cdef Py_ssize_t round_up(Py_ssize_t size, Py_ssize_t multiple) noexcept nogil:
    return (size + multiple - 1) // multiple * multiple


cdef void *address(array, str name, int ndim, int dtype) except NULL:
    """The address of a plain array of this rank and type; a typed memoryview would cost 300 ns for the same check."""
    if (not cnp.PyArray_Check(array) or cnp.PyArray_NDIM(array) != ndim or cnp.PyArray_TYPE(array) != dtype
            or not cnp.PyArray_ISCARRAY_RO(array)):
        got = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise ShapeError(f"{name}: got {got}; wanted a C-contiguous array of {ndim} axes of numpy type {dtype}")
    return cnp.PyArray_DATA(array)


include "tables.pxi"
include "teams.pxi"
include "watch.pxi"
include "sequences.pxi"
include "single_row.pxi"


cdef class Plan:
    """Packed weights of a stack of GRU layers.

    Parameters
    ----------
    kernels : KernelTable
    layers : list of list of (w_ih, w_hh, b_ih, b_hh)
        ``layers[layer][direction]``; (3H, I), (3H, H), (3H,), (3H,), gates r, z, n, of the kernels' type. A matrix of
        float32 may be an object
        that is asked for its numbers when it is packed, ``form(precision, name)``, or has them ``packed`` already; its
        ``settle`` is told where they are from then on, so that what it was given need not stay.
    reset_after : bool
    activation, recurrent_activation : int
        Indices of ``activations.GATE_ACTIVATIONS``.
    precision : str
        What the matrices are rounded to: ``"float32"`` or one of ``reduced.REDUCED``. What these kernels cannot load is
        kept as float32, rounded as it would be.
    kept : str, optional
        What they are kept in, where that is wider than the precision.
    """

    def __cinit__(self, KernelTable kernels not None, list layers not None, bint reset_after, int activation,
                  int recurrent_activation, str precision="float32", str kept=""):
        cdef int index, layer, direction
        cdef Stack *stack = &self.stack
        cdef Layer *it
        if precision not in PRECISIONS:
            raise UnsupportedModelError(f"precision: got {precision!r}, wanted one of {', '.join(PRECISIONS)}")
        layers = checked_weights(layers, kernels.dtype)
        check_activation(activation, recurrent_activation)
        self.owner = kernels
        self.memory = []
        self.packed = []
        stack.kernels = kernels.table
        stack.words = kernels.table.words
        stack.num_layers = len(layers)
        stack.directions = len(layers[0])
        stack.input_size = layers[0][0][0].shape[1]
        stack.hidden_size = layers[0][0][1].shape[1]
        stack.reset_after = reset_after
        stack.width = round_up(stack.hidden_size, kernels.table.vector_length)
        stack.layers = <Layer *>calloc(stack.num_layers * stack.directions, sizeof(Layer))
        if stack.layers == NULL:
            raise MemoryError
        for index in range(stack.num_layers * stack.directions):
            layer, direction = index // stack.directions, index % stack.directions
            weights = layers[layer][direction]
            it = &stack.layers[index]
            it.inputs, it.hidden, it.width = weights[0].shape[1], stack.hidden_size, <int>stack.width
            it.reset_after = reset_after
            it.activation, it.recurrent_activation = activation, recurrent_activation
            kernels.pack(self, it, weights, precision, kept or precision, "l" + str(layer) + ("_reverse" if direction else ""))
            stack.tiled |= it.tiled

    def __dealloc__(self):
        free(self.stack.layers)

    cdef char *own(self, array) except NULL:
        self.memory.append(array)
        return <char *>address(array, "weights", 1, cnp.NPY_FLOAT)

    cdef cnp.ndarray new(self, int ndim, cnp.npy_intp *shape):
        """An uninitialised array of the plan's type."""
        if self.stack.words == 1:
            return aligned_array(ndim, shape)
        return cnp.PyArray_EMPTY(ndim, shape, cnp.NPY_DOUBLE, 0)

    dtype = property(lambda Plan self: self.owner.dtype, doc="Of inputs, states and results.")
    input_size = property(lambda Plan self: self.stack.input_size)
    hidden_size = property(lambda Plan self: self.stack.hidden_size)
    num_layers = property(lambda Plan self: self.stack.num_layers)
    directions = property(lambda Plan self: self.stack.directions)
    width = property(lambda Plan self: self.stack.width, doc="``hidden_size`` rounded up to whole vectors.")
    reset_after = property(lambda Plan self: bool(self.stack.reset_after))

    kernels = property(lambda Plan self: self.owner)

    @property
    def is_instruction(self):
        """Whether a program may have it: its kernels take neither BLAS nor Python."""
        return self.stack.kernels.packing == VECTORS

    @property
    def kernel_level(self):
        return self.owner.name

    @property
    def nbytes(self):
        """Bytes of weights and biases, as they lie here."""
        return sum(array.nbytes for array in self.memory)

    @property
    def arrays(self):
        """All that it holds."""
        return list(self.memory)

    def form(self, int index, int which):
        """A matrix of layer ``index // directions`` and its direction: ``w_ih``, 0, or ``w_hh``, 1; and its scales."""
        return self.packed[index][which].form()

    def run(self, x, h0, rows, lengths, shares, bint sequences=True, int team=1):
        """Take whole sequences through the stack.

        Parameters
        ----------
        x : (batch, steps, input_size), C-contiguous, of the plan's dtype
        h0 : (num_layers * directions, batch, hidden_size), C-contiguous, of the plan's dtype, or None
        rows, lengths : (batch,) intp
            The rows in the order in which they are computed, longest first, and the length of each of these.
        shares : (n + 1,) intp
            Share i is ``rows[shares[i]:shares[i + 1]]``, and computed apart from all others.
        sequences : bool
            False: y is None, only the final states are wanted.
        team : int
            Threads for each share. Above 1 only one call of the process at a time has them, and others compute alone.

        Returns
        -------
        y : (batch, steps, directions * hidden_size), zero beyond a row's length; or None
        h : (num_layers * directions, batch, hidden_size)
        """
        cdef const Stack *stack = &self.stack
        cdef int number = cnp.NPY_DOUBLE if stack.words == 2 else cnp.NPY_FLOAT, threads, count
        cdef Py_ssize_t whole[2]
        cdef Call call
        cdef cnp.npy_intp layers[4]
        cdef cnp.npy_intp *outputs = layers + 1
        cdef cnp.npy_intp finals[3]
        memset(&call, 0, sizeof(call))
        call.x = <float *>address(x, "x", 3, number)
        call.batch, call.steps = cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1)
        if cnp.PyArray_DIM(x, 2) != stack.input_size or call.batch < 1 or call.steps < 1:
            raise ShapeError(f"x: got shape {x.shape}, wanted (batch, steps, {stack.input_size})")
        check_rows(rows, lengths, shares, call.batch, call.steps)
        call.rows = <Py_ssize_t *>cnp.PyArray_DATA(rows)
        call.lengths = <Py_ssize_t *>cnp.PyArray_DATA(lengths)
        finals[0], finals[1], finals[2] = stack.num_layers * stack.directions, call.batch, stack.hidden_size
        outputs[0], outputs[1], outputs[2] = call.batch, call.steps, stack.directions * stack.hidden_size
        if h0 is not None:
            call.h0 = <float *>address(h0, "h0", 3, number)
            if not cnp.PyArray_CompareLists(cnp.PyArray_DIMS(h0), finals, 3):
                raise ShapeError(f"h0: got shape {h0.shape}, wanted {(finals[0], finals[1], finals[2])}")
        h = cnp.PyArray_EMPTY(3, finals, number, 0)
        call.h = <float *>cnp.PyArray_DATA(h)
        y = None
        if sequences:
            y = self.new(3, outputs)
            call.y = <float *>cnp.PyArray_DATA(y)
        if stack.num_layers > 1:
            layers[0] = min(stack.num_layers - 1, 2)
            between = self.new(4, layers)
            call.between = <float *>cnp.PyArray_DATA(between)
        if not 1 <= team <= 1024:
            raise ShapeError(f"team: got {team}, wanted 1 to 1024")
        count = <int>cnp.PyArray_DIM(shares, 0) - 1
        threads = self.owner.enter(count * team)
        try:
            if threads < count * team:
                whole[0], whole[1] = 0, call.batch
                compute(stack, &call, whole, 1, 1)
            else:
                compute(stack, &call, <const Py_ssize_t *>cnp.PyArray_DATA(shares), count, team)
        finally:
            self.owner.leave(threads)
        return y, h


cpdef int check_rows(rows, lengths, shares, Py_ssize_t batch, Py_ssize_t steps) except -1:
    """Every row of the batch once, lengths falling and within 1..steps, shares rising from 0 to batch."""
    cdef const Py_ssize_t *row = <Py_ssize_t *>address(rows, "rows", 1, cnp.NPY_INTP)
    cdef const Py_ssize_t *length = <Py_ssize_t *>address(lengths, "lengths", 1, cnp.NPY_INTP)
    cdef const Py_ssize_t *share = <Py_ssize_t *>address(shares, "shares", 1, cnp.NPY_INTP)
    cdef Py_ssize_t i, cuts = cnp.PyArray_DIM(shares, 0)
    cdef bint fits = cnp.PyArray_DIM(rows, 0) == batch and cnp.PyArray_DIM(lengths, 0) == batch
    cdef bytearray marks
    cdef char *seen
    if fits and batch >= 1 and 2 <= cuts <= min(batch, <Py_ssize_t>MAX_SHARES) + 1:
        marks = bytearray(batch)
        seen = marks
        fits = share[0] == 0 and share[cuts - 1] == batch
        for i in range(cuts - 1):
            fits = fits and share[i] <= share[i + 1]
        for i in range(batch):
            fits = fits and 0 <= row[i] < batch and not seen[row[i]] and 1 <= length[i] <= steps
            fits = fits and (i == 0 or length[i] <= length[i - 1])
            if not fits:
                break
            seen[row[i]] = 1
    else:
        fits = False
    if not fits:
        raise ShapeError(f"rows, lengths or shares do not describe a batch of {batch} rows of 1 to {steps} steps")
    return 0
