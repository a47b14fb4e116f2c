"""Kernels of plain row-major weights, whose products are those of ``scipy.linalg.cython_blas``: float64, and float32
without vector kernels.

A layer is one block as wide as its units, so that gates lie one behind the other, as in PyTorch. OpenBLAS chooses the
order of its sums by shape, so results keep the bounds on error but not the bits of another batch size. SciPy's linear
algebra takes 0.16 s to import; this module is therefore imported on first use.
"""

import numpy as np

from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from libc.math cimport exp, expf, tanh, tanhf
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from scipy.linalg.cython_blas cimport dgemm, dgemv, sgemm, sgemv

from fastgru.engine.kernels cimport FLOAT32, FLOAT64, ROWS, Kernels, Layer, Project, Step
from fastgru.engine.plan cimport KernelTable, Plan, biases_of
from fastgru.engine.single_threaded_blas cimport enter, leave

from fastgru.errors import DTypeError, ShapeError

from . import single_threaded_blas
from .packed import PlainMatrix

single_threaded_blas.find()     # SciPy's is loaded now

include "blas_int.pxi"          # blas_int: made by setup.py, int or 64 bits wide as SciPy was built

cdef extern from "simd.h" nogil:
    unsigned int flush_subnormals()
    void restore_floating_mode(unsigned int before)

ctypedef fused real:
    float
    double

cdef enum:                      # in the order of activations.GATE_ACTIVATIONS
    LINEAR
    RELU
    TANH
    SIGMOID
    HARD_SIGMOID
    HARD_SIGMOID_KERAS2

cdef enum:
    LARGEST = 2147483647        # stride that a blas_int holds
    GATHERED = 128              # rows that do not lie evenly apart and are multiplied together


cdef inline real activated(int activation, real x) noexcept nogil:
    if activation == TANH:
        return tanhf(x) if real is float else tanh(x)
    if activation == SIGMOID:
        return 1 / (1 + (expf(-x) if real is float else exp(-x)))
    if activation == RELU:
        return 0 if x < 0 else x
    if activation == HARD_SIGMOID or activation == HARD_SIGMOID_KERAS2:
        x = x / 6 + <real>0.5 if activation == HARD_SIGMOID else x * <real>0.2 + <real>0.5
        return 0 if x < 0 else (1 if x > 1 else x)
    return x


cdef void multiply(Py_ssize_t rows, Py_ssize_t outputs, Py_ssize_t inputs, const real *x, Py_ssize_t x_stride,
                   const real *weight, Py_ssize_t stride, real *y, Py_ssize_t y_stride) noexcept nogil:
    """y += x weight^T; (rows x outputs) += (rows x inputs) (inputs x outputs); rows lie a stride apart."""
    cdef blas_int m = <blas_int>outputs, n = <blas_int>rows, k = <blas_int>inputs, one = 1
    cdef blas_int lda = <blas_int>stride, ldb = <blas_int>x_stride, ldc = <blas_int>y_stride
    cdef real unit = 1
    cdef char transposed = b"T", plain = b"N"
    if real is float:
        if rows == 1:
            sgemv(&transposed, &k, &m, &unit, <float *>weight, &lda, <float *>x, &one, &unit, y, &one)
        else:
            sgemm(&transposed, &plain, &m, &n, &k, &unit, <float *>weight, &lda, <float *>x, &ldb, &unit, y, &ldc)
    else:
        if rows == 1:
            dgemv(&transposed, &k, &m, &unit, <double *>weight, &lda, <double *>x, &one, &unit, y, &one)
        else:
            dgemm(&transposed, &plain, &m, &n, &k, &unit, <double *>weight, &lda, <double *>x, &ldb, &unit, y, &ldc)


cdef Py_ssize_t stride_of(Py_ssize_t n, const real *const *x, Py_ssize_t inputs) noexcept nogil:
    """How far rows lie apart if that is the same of all, and as BLAS takes it; 0 if not."""
    cdef Py_ssize_t i, stride = inputs if n == 1 else x[1] - x[0]
    if stride < inputs or stride > LARGEST:
        return 0
    for i in range(2, n):
        if x[i] - x[i - 1] != stride:
            return 0
    return stride


cdef void project(const Layer *layer, Py_ssize_t n, const float *const *x, float *xp, float *scratch,
                  const real *kind) noexcept nogil:
    """xp = x W_ih + b_ih: (n, 3H) from n rows of I numbers."""
    cdef Py_ssize_t inputs = layer.inputs, outputs = 3 * layer.hidden, first = 0, count, i, at, stride
    cdef Py_ssize_t part = max(layer.hidden, 8) if layer.hidden < 128 else inputs   # few units have large weights
    cdef const real *const *rows = <const real *const *>x
    cdef const real *source
    cdef real *to = <real *>xp
    for i in range(n):
        memcpy(to + i * outputs, layer.b_ih, outputs * sizeof(real))
    while first < n:
        count, stride = n - first, stride_of(n - first, rows + first, inputs)
        source = rows[first]
        if stride == 0:
            count, stride, source = min(count, <Py_ssize_t>GATHERED), inputs, <const real *>scratch
            for i in range(count):
                memcpy(<real *>scratch + i * inputs, rows[first + i], inputs * sizeof(real))
        at = 0
        while at < inputs:
            multiply(count, outputs, min(part, inputs - at), source + at, stride,
                     <const real *>layer.w_ih + at, inputs, to + first * outputs, outputs)
            at += part
        first += count


cdef void step(const Layer *layer, Py_ssize_t n, const float *const *x, const float *h_now, float *h_next, float *xp,
               const float *const *projected, float *const *y, float *scratch, bint backward,
               const real *kind) noexcept nogil:
    """One step of n rows.

    Reset after:  r, z = act_r(xp_r + h U_r), ...;  n = act(xp_n + r * (h U_n + b_hn))
    Reset before: r, z = act_r(xp_r + h U_r), ...;  n = act(xp_n + (r * h) U_n)
    Both:         h' = n + z * (h - n)
    """
    cdef Py_ssize_t hidden = layer.hidden, width = 3 * hidden, i, j
    cdef const real *h = <const real *>h_now
    cdef const real *w_hh = <const real *>layer.w_hh
    cdef const real *own
    cdef real *gates = <real *>scratch                  # (n, 3H)
    cdef real *reset = gates + n * width                # (n, H): r * h where reset is before
    cdef real *gate
    cdef real *to
    cdef real value
    if x != NULL:
        project(layer, n, x, xp, <float *>(reset + n * hidden), kind)
    for i in range(n):
        memcpy(gates + i * width, layer.b_hh, width * sizeof(real))
    multiply(n, width if layer.reset_after else 2 * hidden, hidden, h, hidden, w_hh, hidden, gates, width)
    for i in range(n):
        gate, own = gates + i * width, <const real *>xp + i * width
        for j in range(2 * hidden):
            gate[j] = activated(layer.recurrent_activation, own[j] + gate[j])
        if not layer.reset_after:
            for j in range(hidden):
                reset[i * hidden + j] = gate[j] * h[i * hidden + j]
    if not layer.reset_after:
        multiply(n, hidden, hidden, reset, hidden, w_hh + 2 * hidden * hidden, hidden, gates + 2 * hidden, width)
    for i in range(n):
        gate, own, to = gates + i * width, <const real *>xp + i * width, <real *>h_next + i * hidden
        for j in range(hidden):
            value = gate[2 * hidden + j]
            value = activated(layer.activation, own[2 * hidden + j] + (gate[j] * value if layer.reset_after else value))
            to[j] = value + gate[hidden + j] * (h[i * hidden + j] - value)
        if y != NULL:
            memcpy(<real *>y[i], to, hidden * sizeof(real))


cdef unsigned int begin_work(bint tiled) noexcept nogil:
    return flush_subnormals()


cdef void end_work(bint tiled, unsigned int before) noexcept nogil:
    restore_floating_mode(before)


cdef void free_table(object capsule) noexcept:
    free(PyCapsule_GetPointer(capsule, "fastgru.engine.kernels"))


def capsule(int hidden_size, dtype):
    """The kernels for layers of ``hidden_size`` units, as a ``BlasTable`` takes them.

    Parameters
    ----------
    hidden_size : int
    dtype : float32 or float64
    """
    cdef Kernels *table
    if dtype != np.float32 and dtype != np.float64:
        raise DTypeError(f"dtype: got {dtype}, wanted float32 or float64")
    if not 1 <= hidden_size < 1 << 25:
        raise ShapeError(f"hidden_size: got {hidden_size}, wanted 1 to {(1 << 25) - 1}")
    table = <Kernels *>calloc(1, sizeof(Kernels))
    if table == NULL:
        raise MemoryError
    table.name, table.packing, table.vector_length = "blas", ROWS, hidden_size
    table.words = 2 if dtype == np.float64 else 1
    table.tile_words = 1
    table.begin_work, table.end_work = begin_work, end_work
    table.kinds[FLOAT32].project, table.kinds[FLOAT32].step = <Project>project[float], <Step>step[float]
    table.kinds[FLOAT64].project, table.kinds[FLOAT64].step = <Project>project[double], <Step>step[double]
    return PyCapsule_New(table, "fastgru.engine.kernels", free_table)


def kernels(int hidden_size, dtype):
    """The table of ``capsule``."""
    return BlasTable(capsule(hidden_size, dtype))


cdef class BlasTable(KernelTable):
    """Kernels that ``capsule`` made."""

    def __cinit__(self, capsule):
        if self.table.packing != ROWS:
            raise ShapeError(f"kernels: {self.name} are no BLAS")

    cdef int enter(self, int threads) except -1:
        """As many threads as BLAS has buffers for: all, or one."""
        single_threaded_blas.wait_for_fork()
        if threads > 1:
            try:
                enter(threads)
                return threads
            except MemoryError:
                pass
        enter(1)
        return 1

    cdef int leave(self, int threads) except -1:
        leave(threads)
        return 0

    cdef int pack(self, Plan plan, Layer *layer, tuple weights, str precision, str kept, str name) except -1:
        w_ih, w_hh, b_ih, b_hh = weights
        if layer.hidden != self.table.vector_length:
            raise ShapeError(f"weights of {layer.hidden} units for kernels of {self.table.vector_length}")
        if not all(isinstance(each, np.ndarray) for each in weights):
            raise DTypeError(f"weights of {name}: wanted arrays")
        early, late = biases_of(b_ih, b_hh, layer.reset_after)
        plan.packed.append((PlainMatrix((w_ih,)), PlainMatrix((w_hh,))))
        layer.blocks = 1
        layer.kind = FLOAT64 if self.table.words == 2 else FLOAT32
        layer.w_ih, layer.w_hh = plan.own(as_words(w_ih)), plan.own(as_words(w_hh))
        layer.b_ih = <float *>plan.own(as_words(early.astype(self.dtype)))
        layer.b_hh = <float *>plan.own(as_words(late))
        layer.scratch_row = 4 * <Py_ssize_t>layer.hidden * self.table.words
        layer.scratch_fixed = GATHERED * <Py_ssize_t>layer.inputs * self.table.words
        return 0


cdef as_words(array):
    return array.reshape(-1).view(np.float32)
