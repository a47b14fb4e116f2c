"""Kernels whose gates are functions of NumPy arrays: any activation. Products are those of another table.

A step takes the GIL and calls the functions, so a call is one thread's. Gates are computed in float64. Products of
vector kernels go through ``Affine``, so a row's bits depend neither on its batch nor on how the sequence is cut.
"""

import numpy as np

cimport numpy as cnp
from cpython.exc cimport PyErr_SetObject
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from cpython.ref cimport PyObject
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from fastgru.engine.affine cimport Affine
from fastgru.engine.kernels cimport (
    FLOAT32, FLOAT64, GROUP, ROWS, VECTORS, PYTHON_GATES, Kernels, Layer, project_rows, scratch_of,
)
from fastgru.engine.plan cimport KernelTable, Plan, Watch, catch, is_set

from fastgru.errors import DTypeError, ShapeError

from .affine import Affine as Affine_
from .packed import PlainMatrix

cnp.import_array()


cdef struct Product:            # x W^T + b of a table
    Layer layer
    Py_ssize_t stride           # floats from a row of results to the next

cdef struct GatedLayer:         # a direction of a layer of the GRU
    const Kernels *kernels      # whose products these are
    Product inputs              # to all three gates
    Product states              # to all three gates, or to r and z where reset is before
    Product candidate           # of r * h, where reset is before
    PyObject *gates             # a PythonTable


cdef void multiply(const GatedLayer *it, const Product *product, Py_ssize_t n, const float *x, Py_ssize_t width,
                   float *to, float *scratch) noexcept nogil:
    """The product of n rows, ``width`` floats apart."""
    cdef const float *rows[GROUP]
    cdef Py_ssize_t first = 0, count, i
    while first < n:
        count = min(n - first, <Py_ssize_t>GROUP)
        for i in range(count):
            rows[i] = x + (first + i) * width
        project_rows(it.kernels, &product.layer, count, rows, to + first * product.stride, scratch)
        first += count


cdef void project(const Layer *layer, Py_ssize_t n, const float *const *x, float *xp, float *scratch,
                  const void *kind) noexcept nogil:
    """xp = x W_ih + b_ih: rows of ``GatedLayer.inputs.stride`` floats from n rows of I numbers."""
    cdef const GatedLayer *it = <const GatedLayer *>layer.gated
    project_rows(it.kernels, &it.inputs.layer, n, x, xp, scratch)


cdef void step(const Layer *layer, Py_ssize_t n, const float *const *x, const float *h, float *h_next, float *xp,
               const float *const *projected, float *const *y, float *scratch, bint backward,
               const void *kind) noexcept nogil:
    """One step of n rows, unless a function raised in an earlier one; see ``PythonTable.gates``."""
    cdef const GatedLayer *it = <const GatedLayer *>layer.gated
    cdef Watch *watch = <Watch *>layer.watch
    cdef Py_ssize_t words = it.kernels.words, width = layer.width * words, i
    cdef float *states = scratch
    cdef float *reset = states + n * it.states.stride
    cdef float *candidate = reset + n * width
    cdef float *rest = candidate + n * it.candidate.stride
    if watch == NULL or is_set(&watch.over):
        return
    if x != NULL:
        project(layer, n, x, xp, rest, kind)
    multiply(it, &it.states, n, h, width, states, rest)
    with gil:
        try:
            (<PythonTable>it.gates).gates(layer, it, n, h, h_next, xp, states, reset, candidate, rest)
        except BaseException as error:
            PyErr_SetObject(type(error), error)
            catch(watch)
            return
    if y != NULL:
        for i in range(n):
            memcpy(y[i], h_next + i * width, layer.hidden * words * sizeof(float))


cdef void free_table(object capsule) noexcept:
    free(PyCapsule_GetPointer(capsule, "fastgru.engine.kernels"))


def with_gates(KernelTable kernels not None, activation, recurrent_activation):
    """The table of a GRU with these activations.

    Parameters
    ----------
    kernels : KernelTable
        What computes the products.
    activation, recurrent_activation : callable
        Of float64 arrays (rows, H) and (rows, 2, H) to new ones of the same shape; a function over all units takes the
        last axis.
    """
    cdef Kernels *table = <Kernels *>calloc(1, sizeof(Kernels))
    cdef int kind
    if table == NULL:
        raise MemoryError
    table.name, table.packing, table.words = kernels.table.name, PYTHON_GATES, kernels.table.words
    table.vector_length, table.tile_words = kernels.table.vector_length, 1
    table.begin_work, table.end_work = kernels.table.begin_work, kernels.table.end_work
    for kind in (FLOAT32, FLOAT64):
        table.kinds[kind].project, table.kinds[kind].step = project, step
    capsule = PyCapsule_New(table, "fastgru.engine.kernels", free_table)
    return PythonTable(capsule, kernels, activation, recurrent_activation)


cdef class PythonTable(KernelTable):
    """A table that ``with_gates`` made."""

    cdef KernelTable products
    cdef object activation, recurrent_activation
    cdef list layers            # the memory of each `GatedLayer`

    def __cinit__(self, capsule, KernelTable products not None, activation, recurrent_activation):
        if self.table.packing != PYTHON_GATES or products.table.packing not in (VECTORS, ROWS):
            raise ShapeError(f"kernels: {self.name} have no functions for gates")
        self.products, self.activation, self.recurrent_activation = products, activation, recurrent_activation
        self.layers = []

    cdef int enter(self, int threads) except -1:
        return self.products.enter(1)

    cdef int leave(self, int threads) except -1:
        return self.products.leave(threads)

    cdef int pack(self, Plan plan, Layer *layer, tuple weights, str precision, str kept, str name) except -1:
        cdef GatedLayer *it
        w_ih, w_hh, b_ih, b_hh = weights
        cdef Py_ssize_t gates = 2 * <Py_ssize_t>layer.hidden
        if not all(isinstance(each, np.ndarray) for each in weights):
            raise DTypeError(f"weights of {name}: wanted arrays")
        if self.products.table.packing == ROWS and layer.hidden != self.table.vector_length:
            raise ShapeError(f"weights of {layer.hidden} units for kernels of {self.table.vector_length}")
        memory = np.zeros(sizeof(GatedLayer), np.uint8)
        self.layers.append(memory)
        it = <GatedLayer *>cnp.PyArray_DATA(memory)
        it.kernels, it.gates = self.products.table, <PyObject *>self
        inputs = self.product(plan, &it.inputs, w_ih, b_ih)
        if layer.reset_after:
            states = [self.product(plan, &it.states, w_hh, b_hh)]
        else:
            states = [self.product(plan, &it.states, w_hh[:gates], b_hh[:gates]),
                      self.product(plan, &it.candidate, w_hh[gates:], b_hh[gates:])]
        plan.packed.append((PlainMatrix((inputs,)), PlainMatrix(tuple(states))))
        layer.blocks = layer.width // self.table.vector_length
        layer.kind = FLOAT64 if self.table.words == 2 else FLOAT32
        layer.gated = it
        layer.scratch_row = it.states.stride + it.candidate.stride + <Py_ssize_t>layer.width * self.table.words
        layer.scratch_fixed = (scratch_of(&it.inputs.layer, 0) + scratch_of(&it.states.layer, 0)
                               + scratch_of(&it.candidate.layer, 0))
        return 0

    cdef product(self, Plan plan, Product *product, weight, bias):
        """Lay out a product; gives what has the weights."""
        cdef Layer *layer = &product.layer
        cdef Affine affine
        cdef Py_ssize_t outputs = weight.shape[0]
        if self.products.table.packing == VECTORS:
            affine = Affine_(self.products, weight, bias)
            layer[0] = affine.layer
            product.stride = 3 * <Py_ssize_t>layer.blocks * self.table.vector_length
            for array in affine.arrays:
                plan.own(array)
            return affine
        rows = np.zeros(((outputs + 2) // 3 * 3, weight.shape[1]), self.dtype)  # as of three gates
        rows[:outputs] = weight
        late = np.zeros(len(rows), self.dtype)
        late[:outputs] = bias
        layer.inputs, layer.hidden = weight.shape[1], len(rows) // 3
        layer.kind = FLOAT64 if self.table.words == 2 else FLOAT32
        layer.w_ih = plan.own(rows.reshape(-1).view(np.float32))
        layer.b_ih = <float *>plan.own(late.view(np.float32))
        layer.scratch_fixed = GROUP * 2 * <Py_ssize_t>layer.inputs * self.table.words
        product.stride = 3 * <Py_ssize_t>layer.hidden * self.table.words
        return rows[:outputs]

    cdef cnp.ndarray rows(self, Py_ssize_t n, Py_ssize_t stride, const float *memory):
        """(n, numbers): memory as an array."""
        cdef cnp.npy_intp shape[2]
        shape[0], shape[1] = n, stride // self.table.words
        return cnp.PyArray_SimpleNewFromData(2, shape, cnp.NPY_FLOAT if self.table.words == 1 else cnp.NPY_DOUBLE,
                                             <void *>memory)

    cdef int gates(self, const Layer *layer, const GatedLayer *it, Py_ssize_t n, const float *h_now, float *h_next,
                   const float *xp, float *states, float *reset, float *candidate, float *rest) except -1:
        """New states from the products.

        Reset after:  r, z = act_r(xp_r + h U_r + b_r), ...;  n = act(xp_n + r * (h U_n + b_hn))
        Reset before: r, z = act_r(xp_r + h U_r), ...;        n = act(xp_n + (r * h) U_n)
        Both:         h' = n + z * (h - n)
        """
        cdef Py_ssize_t hidden = layer.hidden, last = 3 * hidden, width = layer.width * <Py_ssize_t>it.kernels.words
        own, made = self.rows(n, it.inputs.stride, xp), self.rows(n, it.states.stride, states)
        h = self.rows(n, width, h_now)[:, :hidden].astype(np.float64)
        with np.errstate(all="ignore"):  # NaN and overflows are results like others
            before = np.add(own[:, :2 * hidden], made[:, :2 * hidden], dtype=np.float64).reshape(n, 2, hidden)
            of_gates = self.recurrent_activation(before)
            r, z = of_gates[:, 0], of_gates[:, 1]
            if layer.reset_after:
                late = np.multiply(r, made[:, 2 * hidden:last], dtype=np.float64)
            else:
                self.rows(n, width, reset)[:, :hidden] = r * h
                multiply(it, &it.candidate, n, reset, width, candidate, rest)
                late = self.rows(n, it.candidate.stride, candidate)[:, :hidden]
            new = self.activation(np.add(own[:, 2 * hidden:last], late, dtype=np.float64))
            self.rows(n, width, h_next)[:, :hidden] = new + z * (h - new)
        return 0
