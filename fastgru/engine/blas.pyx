"""A stack of GRU layers through BLAS, from ``scipy.linalg.cython_blas``: float64, and float32 without vector kernels.

The same call and the same loops as ``plan.Plan``, with plain row-major weights and a matrix product a step. OpenBLAS
chooses the order of its sums by shape, so results keep the bounds on error but not the bits of another batch size.
SciPy's linear algebra takes 0.16 s to import; this module is therefore imported on first use.
"""

import numpy as np

from libc.math cimport exp, expf, tanh, tanhf
from libc.string cimport memcpy, memset
from scipy.linalg.cython_blas cimport dgemm, dgemv, sgemm, sgemv

from fastgru.engine.plan cimport Watch, check_came, in_parallel, is_set, look, settle
from fastgru.engine.single_threaded_blas cimport enter, leave

from fastgru.errors import ShapeError

from .checks import check_activation, checked_weights
from .plan import check_rows
from . import single_threaded_blas

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
    PROJECTION_BYTES = 1048576  # of projected inputs at a time


cdef struct Weights:            # one direction of one layer
    Py_ssize_t inputs           # I
    void *w_ih                  # (3H, I)
    void *w_hh                  # (3H, H)
    void *b_ih                  # (3H,)
    void *b_hh                  # (3H,)


cdef struct Call:               # as in plan.pyx, with the addresses of floats or doubles
    const void *x
    const void *h0
    void *y
    void *between
    void *h
    Py_ssize_t batch
    Py_ssize_t steps
    const Py_ssize_t *rows
    const Py_ssize_t *lengths
    Py_ssize_t block_rows
    Watch *watch
    bint looks                  # whether this thread lets handlers of signals run


cdef struct Run:                # one call, as every thread sees it
    void *plan
    const Call *call
    const Weights *weights
    const Py_ssize_t *shares    # (count + 1,)
    Py_ssize_t count
    char *space                 # (count,) of `space_size`
    Py_ssize_t space_size


cdef void thread_of_run(void *what, int thread, int threads) noexcept nogil:
    """What thread ``thread`` of ``threads`` does of a run; of which there may be fewer than shares."""
    cdef const Run *run = <const Run *>what
    cdef Py_ssize_t share = thread
    cdef Call call = run.call[0]
    call.looks = thread == 0
    while share < run.count:
        (<BlasPlan>run.plan).run_rows(&call, run.weights, run.space + thread * run.space_size,
                                      run.shares[share], run.shares[share + 1])
        share += threads


cdef inline bint is_over(const Call *call) noexcept nogil:
    """Whether a handler of a signal has ended the call."""
    return look(call.watch) if call.looks else is_set(&call.watch.over)


cdef int enter_with(int threads) except -1:
    """``enter`` with as many threads as BLAS has buffers for: all, or one."""
    if threads > 1:
        try:
            enter(threads)
            return threads
        except MemoryError:
            pass
    enter(1)
    return 1


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


cdef void product(Py_ssize_t rows, Py_ssize_t outputs, Py_ssize_t inputs, const real *x, const real *weight,
                  Py_ssize_t stride, real *y, Py_ssize_t y_stride) noexcept nogil:
    """y += x weight^T; (rows x outputs) += (rows x inputs) (inputs x outputs).

    The rows of x and of weight lie `stride` apart, those of y `y_stride`.
    """
    cdef blas_int m = <blas_int>outputs, n = <blas_int>rows, k = <blas_int>inputs, one = 1
    cdef blas_int lda = <blas_int>stride, ldc = <blas_int>y_stride
    cdef real unit = 1
    cdef char transposed = b"T", plain = b"N"
    if real is float:
        if rows == 1:
            sgemv(&transposed, &k, &m, &unit, <float *>weight, &lda, <float *>x, &one, &unit, y, &one)
        else:
            sgemm(&transposed, &plain, &m, &n, &k, &unit, <float *>weight, &lda, <float *>x, &lda, &unit, y, &ldc)
    else:
        if rows == 1:
            dgemv(&transposed, &k, &m, &unit, <double *>weight, &lda, <double *>x, &one, &unit, y, &one)
        else:
            dgemm(&transposed, &plain, &m, &n, &k, &unit, <double *>weight, &lda, <double *>x, &lda, &unit, y, &ldc)


cdef class BlasPlan:
    """Weights of a stack of GRU layers in plain row-major order.

    Parameters
    ----------
    layers : list of list of (w_ih, w_hh, b_ih, b_hh)
        ``layers[layer][direction]``; (3H, I), (3H, H), (3H,), (3H,), gates r, z, n, all float32 or all float64.
    reset_after : bool
    activation, recurrent_activation : int
        Indices of ``activations.GATE_ACTIVATIONS``.
    """

    cdef readonly int input_size, hidden_size, num_layers, directions
    cdef readonly bint reset_after
    cdef readonly object dtype
    cdef bint is_double
    cdef int activation, recurrent_activation
    cdef list memory            # of (w_ih, w_hh, b_ih, b_hh), a layer and direction each

    def __cinit__(self, list layers not None, bint reset_after, int activation, int recurrent_activation):
        layers = checked_weights(layers)
        check_activation(activation, recurrent_activation)
        self.dtype = layers[0][0][0].dtype
        self.is_double = self.dtype == np.float64
        self.num_layers = len(layers)
        self.directions = len(layers[0])
        self.input_size = layers[0][0][0].shape[1]
        self.hidden_size = layers[0][0][1].shape[1]
        self.reset_after = reset_after
        self.activation = activation
        self.recurrent_activation = recurrent_activation
        self.memory = [weights for layer in layers for weights in layer]

    @property
    def kernel_level(self):
        return "blas"

    @property
    def nbytes(self):
        """Bytes of weights."""
        return sum(array.nbytes for arrays in self.memory for array in arrays)

    @property
    def arrays(self):
        """All that it holds."""
        return [array for arrays in self.memory for array in arrays]

    def form(self, int index, int which):
        """A matrix of layer ``index // directions`` and its direction: ``w_ih``, 0, or ``w_hh``, 1; it has no steps."""
        return self.memory[index][which], None

    def run(self, x, h0, rows, lengths, Py_ssize_t[::1] shares not None, bint sequences=True):
        """As ``Plan.run``, in the type of the weights."""
        cdef const Py_ssize_t[::1] row_order, row_lengths
        cdef Py_ssize_t threads = shares.shape[0] - 1, thread, rows_of_share = 0, space_size
        cdef char[::1] space, weights
        cdef int entered, came
        cdef Watch watch
        cdef Call call
        cdef Run run
        x = np.asarray(x)
        h0 = None if h0 is None else np.asarray(h0)
        if x.ndim != 3:
            raise ShapeError(f"x: got {x.ndim} axes, wanted (batch, steps, {self.input_size})")
        batch, steps, features = x.shape
        states = self.num_layers * self.directions
        if features != self.input_size or batch < 1 or steps < 1:
            raise ShapeError(f"x: got shape {x.shape}, wanted (batch, steps, {self.input_size})")
        check_rows(rows, lengths, np.asarray(shares), batch, steps)
        row_order, row_lengths = rows, lengths
        memset(&call, 0, sizeof(call))
        memset(&watch, 0, sizeof(watch))
        call.watch = &watch
        y = np.empty((batch, steps, self.directions * self.hidden_size), dtype=self.dtype) if sequences else None
        h = np.empty((states, batch, self.hidden_size), dtype=self.dtype)
        call.x = self.bytes_of(x)
        call.h = self.bytes_of(h)
        if h0 is not None:
            if h0.shape != h.shape:
                raise ShapeError(f"h0: got shape {h0.shape}, wanted {h.shape}")
            call.h0 = self.bytes_of(h0)
        if sequences:
            call.y = self.bytes_of(y)
        between = None
        if self.num_layers > 1:
            between = np.empty((min(self.num_layers - 1, 2), batch, steps, self.directions * self.hidden_size),
                               dtype=self.dtype)
            call.between = self.bytes_of(between)
        call.batch, call.steps, call.rows, call.lengths = batch, steps, &row_order[0], &row_lengths[0]
        for thread in range(threads):
            rows_of_share = max(rows_of_share, shares[thread + 1] - shares[thread])
        call.block_rows = PROJECTION_BYTES // (3 * self.hidden_size * <Py_ssize_t>self.dtype.itemsize)
        call.block_rows = min(max(call.block_rows, rows_of_share), rows_of_share * call.steps)
        widest = max(self.input_size, self.directions * self.hidden_size)
        space_size = call.block_rows * (widest + 3 * self.hidden_size) + rows_of_share * 5 * self.hidden_size
        space_size *= self.dtype.itemsize
        space_array = np.empty(threads * space_size, dtype=np.int8)
        space = space_array
        weights = self.pointers()
        single_threaded_blas.wait_for_fork()
        run = Run(<void *>self, &call, <const Weights *>&weights[0], &shares[0], threads, &space[0], space_size)
        entered = enter_with(<int>threads)
        try:
            with nogil:
                came = in_parallel(entered, thread_of_run, &run)
        finally:
            leave(entered)
        settle(&watch)
        check_came(came, <int>threads)
        return y, h

    cdef void *bytes_of(self, array) except NULL:
        """The address of a C-contiguous array of the plan's type."""
        if array.dtype != self.dtype or not array.flags.c_contiguous:
            raise ShapeError(f"got a {array.dtype} array, wanted {self.dtype}, C-contiguous")
        return <void *><size_t>array.ctypes.data

    cdef pointers(self):
        """A bytes object of ``Weights``, one a layer and direction."""
        table = bytearray(len(self.memory) * sizeof(Weights))
        cdef char[::1] view = table
        cdef Weights *weights = <Weights *>&view[0]
        for index, (w_ih, w_hh, b_ih, b_hh) in enumerate(self.memory):
            weights[<int>index] = Weights(w_ih.shape[1], self.bytes_of(w_ih), self.bytes_of(w_hh),
                                          self.bytes_of(b_ih), self.bytes_of(b_hh))
        return table

    cdef void run_rows(self, const Call *call, const Weights *weights, char *space, Py_ssize_t first,
                       Py_ssize_t last) noexcept nogil:
        """Every layer and direction, for the rows from ``first`` to ``last`` in the order of ``call.rows``."""
        cdef unsigned int mode
        if first == last:
            return
        mode = flush_subnormals()
        if self.is_double:
            self.run_typed(call, weights, <double *>space, first, last)
        else:
            self.run_typed(call, weights, <float *>space, first, last)
        restore_floating_mode(mode)

    cdef void run_typed(self, const Call *call, const Weights *weights, real *space, Py_ssize_t first,
                        Py_ssize_t last) noexcept nogil:
        cdef int index, direction
        cdef Py_ssize_t output = <Py_ssize_t>self.directions * self.hidden_size, i, at
        cdef const real *source = <const real *>call.x
        cdef real *target
        for index in range(self.num_layers):
            target = <real *>call.y
            if index < self.num_layers - 1:
                target = <real *>call.between + (index % 2) * call.batch * call.steps * output
            for direction in range(self.directions):
                self.run_direction(call, &weights[index * self.directions + direction], space, first, last,
                                   index * self.directions + direction, direction, source, target)
            source = target
        if call.y != NULL:
            for i in range(first, last):
                at = call.rows[i] * call.steps + call.lengths[i]
                memset(<real *>call.y + at * output, 0, (call.steps - call.lengths[i]) * output * sizeof(real))

    cdef void run_direction(self, const Call *call, const Weights *weights, real *space, Py_ssize_t first,
                            Py_ssize_t last, int state, int direction, const real *source,
                            real *target) noexcept nogil:
        """All steps of one direction of one layer, a block of steps at a time: project the block, then step through."""
        cdef Py_ssize_t rows = last - first, hidden = self.hidden_size, output = self.directions * hidden
        cdef Py_ssize_t running = rows, projected, begin = 0, end, t, i, j, n, at, inputs = weights.inputs
        cdef Py_ssize_t part = max(hidden, 8) if hidden < 128 else inputs   # few units have large weights: shorter sums
        cdef const Py_ssize_t *lengths = call.lengths + first
        cdef const Py_ssize_t *order = call.rows + first
        cdef real *x = space                                # (block_rows, I)
        cdef real *xp = x + call.block_rows * inputs        # (block_rows, 3H)
        cdef real *h = xp + call.block_rows * 3 * hidden    # (rows, H)
        cdef real *gates = h + rows * hidden                # (rows, 3H)
        cdef real *reset = gates + rows * 3 * hidden        # (rows, H), r * h where reset is before
        cdef real *finals = <real *>call.h + <Py_ssize_t>state * call.batch * hidden
        cdef const real *b_ih = <const real *>weights.b_ih
        memset(h, 0, rows * hidden * sizeof(real))
        if call.h0 != NULL:
            for i in range(rows):
                memcpy(h + i * hidden, <const real *>call.h0 + (state * call.batch + order[i]) * hidden,
                       hidden * sizeof(real))
        while begin < lengths[0]:
            n = running
            projected = 0
            end = begin
            while end < lengths[0]:
                while lengths[n - 1] <= end:
                    n -= 1
                if projected + n > call.block_rows:
                    break
                for i in range(n):
                    at = order[i] * call.steps + (lengths[i] - 1 - end if direction else end)
                    memcpy(x + (projected + i) * inputs, source + at * inputs, inputs * sizeof(real))
                    memcpy(xp + (projected + i) * 3 * hidden, b_ih, 3 * hidden * sizeof(real))
                projected += n
                end += 1
            for i in range((inputs + part - 1) // part):
                product(projected, 3 * hidden, min(part, inputs - i * part), x + i * part,
                        <const real *>weights.w_ih + i * part, inputs, xp, 3 * hidden)
            projected = 0
            for t in range(begin, end):
                while lengths[running - 1] <= t:
                    running -= 1
                if is_over(call):
                    return
                self.step(weights, running, h, xp + projected * 3 * hidden, gates, reset)
                projected += running
                for i in range(running):
                    at = order[i] * call.steps + (lengths[i] - 1 - t if direction else t)
                    if target != NULL:
                        memcpy(target + at * output + direction * hidden, h + i * hidden, hidden * sizeof(real))
                    if lengths[i] == t + 1:
                        memcpy(finals + order[i] * hidden, h + i * hidden, hidden * sizeof(real))
            begin = end

    cdef void step(self, const Weights *weights, Py_ssize_t rows, real *h, const real *xp, real *gates,
                   real *reset) noexcept nogil:
        """One step in place.

        Reset after:  r, z = act_r(xp_r + h U_r + b_r), ...;  n = act(xp_n + r * (h U_n + b_hn))
        Reset before: r, z = act_r(xp_r + h U_r), ...;        n = act(xp_n + (r * h) U_n)
        Both:         h = n + z * (h - n)
        """
        cdef Py_ssize_t hidden = self.hidden_size, i, j
        cdef const real *w_hh = <const real *>weights.w_hh
        cdef const real *x
        cdef real *gate
        cdef real n
        if self.reset_after:
            for i in range(rows):
                memcpy(gates + i * 3 * hidden, <const real *>weights.b_hh, 3 * hidden * sizeof(real))
            product(rows, 3 * hidden, hidden, h, w_hh, hidden, gates, 3 * hidden)
        else:
            memset(gates, 0, rows * 3 * hidden * sizeof(real))
            product(rows, 2 * hidden, hidden, h, w_hh, hidden, gates, 3 * hidden)
        for i in range(rows):
            gate = gates + i * 3 * hidden
            x = xp + i * 3 * hidden
            for j in range(2 * hidden):
                gate[j] = activated(self.recurrent_activation, x[j] + gate[j])
            if not self.reset_after:
                for j in range(hidden):
                    reset[i * hidden + j] = gate[j] * h[i * hidden + j]
        if not self.reset_after:
            product(rows, hidden, hidden, reset, w_hh + 2 * hidden * hidden, hidden, gates + 2 * hidden, 3 * hidden)
        for i in range(rows):
            gate = gates + i * 3 * hidden
            x = xp + i * 3 * hidden
            for j in range(hidden):
                n = gate[2 * hidden + j]
                n = activated(self.activation, x[2 * hidden + j] + (gate[j] * n if self.reset_after else n))
                h[i * hidden + j] = n + gate[hidden + j] * (h[i * hidden + j] - n)
