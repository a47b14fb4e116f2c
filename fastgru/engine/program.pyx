"""Programs: lists of instructions that run one after the other without Python, in memory that is laid out before.

A program is made for the sizes of one call and runs in an arena, which belongs to a call and comes from ``Arenas``, so
that any number of threads may run one program. The instructions lie in ``elementwise.pxi``, ``along.pxi``,
``rows.pxi`` and ``values.pxi``; ``caller.pxi`` and ``stepper.pxi`` run a program with arrays as a model and a stream are given them, and
``slots.pxi`` says whose the rows of a pool of streams are, whose states ``exchange.pxi`` moves.

Memory is safe by construction: what a file says can only choose instructions and shapes.

* Buffers are declared first. Those of the arena are checked to lie within it, inputs and outputs are arrays of a declared
  kind and size, and constants are arrays that the program owns.
* Every operand of every instruction passes ``check``: the first and the last element that its offset, shape and strides
  can reach lie within its buffer, by arithmetic that cannot overflow (``operands.pxi``). Only what is checked becomes an
  address, and an instruction only goes over the shapes that were checked. Results may not be constants or inputs.
* Each instruction checks that the shapes of its operands fit each other and its weights.
* What a call brings is checked by the call: kinds and sizes of inputs, orders and lengths of rows; and the one kind of
  number that is used as an address, the integers of an embedding, by its instruction.
"""

from os import getpid

import numpy as np

cimport cython
cimport numpy as cnp
from libc.stdlib cimport calloc, free, llabs, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from fastgru.engine.affine cimport Affine
from fastgru.engine.kernels cimport (
    MAX, MEAN, MIN, SUM, Kernels, Layer, project_rows, room_of_matmul, room_of_row, scratch_of,
    scratch_of_rows,
)
from fastgru.engine.pack cimport aligned_empty
from fastgru.engine.plan cimport (
    Call, KernelTable, Plan, Stack, Watch, check_came, compute_in, in_parallel, look, settle, workspace_of,
)
from fastgru.engine.state cimport (
    GIL_FREE_WORK, Step, Team, Turn, memory_of_step, take_step, team_of_steps, work_of_step,
)
from fastgru.engine.strided cimport Strided

from fastgru.errors import ShapeError, StreamInUseError

from .checks import check_activation
from .plan import check_rows
from .strided import ITEMSIZES

cnp.import_array()

cdef extern from "<time.h>" nogil:
    struct timespec:
        long long tv_sec
        long tv_nsec
    enum:
        TIME_UTC
    int timespec_get(timespec *now, int base)

include "instructions.pxi"
include "exchange.pxi"
include "elementwise.pxi"
include "along.pxi"
include "projected.pxi"
include "rows.pxi"
include "values.pxi"

REDUCTIONS = ("sum", "mean", "max", "min")
ALONG = ("softmax", "log_softmax", "softmin")
_DTYPES = {"f": np.dtype(np.float32), "d": np.dtype(np.float64), "i": np.dtype(np.int64), "b": np.dtype(np.bool_)}

include "functions.pxi"
include "operands.pxi"
include "buffers.pxi"
include "multiplying.pxi"


@cython.boundscheck(True)
@cython.wraparound(True)
cdef class Program(Multiplying):
    """Instructions for the sizes of one call; for its parameters see ``Buffers``."""

    def elementwise(self, str name, str function, list parts, double first=0, double second=0):
        """``parts[0] = function(*parts[1:])``, element by element; all have one shape."""
        cdef Instruction *it = self.new(run_elementwise, name)
        kinds = "".join([part.kind for part in parts])
        if (function, kinds) not in INNER:
            raise ShapeError(f"program: there is no {function} of {kinds}")
        self.loop(it, parts, kinds)
        it.inner = LOOPS[<int>INNER[function, kinds]].inner
        it.options[0], it.options[1] = first, second
        self.done(name)

    def activate(self, str name, KernelTable kernels not None, int code, out, x):
        """``out = activation(x)`` by the kernels; both in C order."""
        cdef Instruction *it = self.new(run_activation, name)
        check_activation(code)
        self.loop(it, [out, x], "ff")
        if not (out.contiguous and x.contiguous):
            raise ShapeError("program: an activation of elements that do not lie together")
        it.kernels, it.code, it.length = kernels.table, code, out.size
        self.owned.append(kernels)
        self.done(name)

    def reduce(self, str name, KernelTable kernels not None, str function, out, x):
        """``out[...] = function(x[..., :])``, one place after the other, of sums and means in float64."""
        cdef Instruction *it = self.new(run_reduction, name)
        if x.shape[:-1] != out.shape:
            raise ShapeError(f"program: {function} of {x.shape} to {out.shape}")
        self.check(x, "f", &it.operands[1], False)
        self.loop(it, [out, x.taken(len(x.shape) - 1, 0)], "ff")
        it.operands[1].along = x.strides[-1] * 4
        it.kernels, it.code, it.length = kernels.table, REDUCTIONS.index(function), x.shape[-1]
        self.owned.append(kernels)
        self.done(name)

    def along(self, str name, KernelTable kernels not None, str function, out, x):
        """Softmax, or one of its kind, over the last axis."""
        cdef Instruction *it = self.new(run_softmax, name)
        if x.shape != out.shape:
            raise ShapeError(f"program: {function} of {x.shape} to {out.shape}")
        self.rows_of(it, [out, x], "ff")
        it.kernels, it.code, it.length = kernels.table, ALONG.index(function), x.shape[-1]
        self.owned.append(kernels)
        self.scratch_bytes = max(self.scratch_bytes, (room_of_row(it.length) + it.length) * <Py_ssize_t>sizeof(double))
        self.done(name)

    def normalize(self, str name, KernelTable kernels not None, out, x, gamma, beta, double epsilon, bint rms):
        """``(x - mean) / sqrt(variance + epsilon) * gamma + beta`` over the last axis, in float64."""
        cdef Instruction *it = self.new(run_normalization, name)
        cdef list parts = [out, x]
        cdef str kinds = "ff"
        it.numbers[0] = it.numbers[1] = -1
        for place, weight in enumerate((gamma, beta)):
            if weight is not None:
                it.numbers[place] = len(parts)
                parts.append(weight)
                kinds += "d"
        if any(part.shape != out.shape for part in parts):
            raise ShapeError(f"program: a normalization of {[part.shape for part in parts]}")
        self.rows_of(it, parts, kinds)
        it.kernels, it.length, it.options[0], it.code = kernels.table, x.shape[-1], epsilon, rms
        self.owned.append(kernels)
        self.scratch_bytes = max(self.scratch_bytes,
                                 (room_of_row(it.length) + 3 * it.length) * <Py_ssize_t>sizeof(double))
        self.done(name)

    def pool(self, str name, KernelTable kernels not None, bint largest, out, x, int size, int stride, int dilation,
             before, counted):
        """The maximum or the mean of windows: (..., places, channels) to (..., windows, channels).

        Window w takes the places ``w * stride - before + k * dilation`` that there are; a mean is over those within
        ``counted``, the padding on both sides that counts too.
        """
        cdef Instruction *it = self.new(run_pool, name)
        if len(x.shape) < 2 or (*out.shape[:-2], *out.shape[-1:]) != (*x.shape[:-2], x.shape[-1]):
            raise ShapeError(f"program: windows of {x.shape} to {out.shape}")
        if size < 1 or stride < 1 or dilation < 1 or len(out.shape) != len(x.shape):
            raise ShapeError(f"program: windows of {size} places, {stride} and {dilation} apart")
        reach = int(out.shape[-2]) * stride + int(size) * dilation
        if any(not 0 <= each < 1 << 61 for each in (reach, before, *counted)):
            raise ShapeError(f"program: windows over {reach} places, {before} before and {counted} beside them")
        self.check(x, "f", &it.operands[1], False)
        self.check(out, "f", &it.operands[0], True)
        self.loop(it, [out.taken(len(out.shape) - 2, 0), x.taken(len(x.shape) - 2, 0)], "ff")
        it.operands[0].along, it.operands[1].along = out.strides[-2] * 4, x.strides[-2] * 4
        it.kernels, it.code = kernels.table, largest
        self.owned.append(kernels)
        it.numbers[0], it.numbers[1], it.numbers[2], it.numbers[3] = size, stride, dilation, before
        it.numbers[4], it.numbers[5], it.numbers[6], it.numbers[7] = x.shape[-2], out.shape[-2], counted[0], counted[1]
        self.done(name)

    def embed(self, str name, out, table, index):
        """``out[..., :] = table[index[...]]``; an integer that is no row's is an error of the call."""
        cdef Instruction *it = self.new(run_embedding, name)
        if len(table.shape) != 2 or out.shape != (*index.shape, table.shape[1]) or (
                out.strides[-1] != 1 and out.shape[-1] != 1):
            raise ShapeError(f"program: rows of {table.shape} by {index.shape} to {out.shape}")
        if not table.contiguous:
            raise ShapeError("program: a table whose rows do not lie together")
        self.check(out, "f", &it.operands[0], True)
        self.check(table, "f", &it.operands[2], False)
        self.loop(it, [out.taken(len(out.shape) - 1, 0), index], "fi")
        it.numbers[0], it.numbers[1] = table.shape
        self.done(name)

    def number(self, str name, Py_ssize_t numbers, out, x):
        """``out = x``, integers from 0 to ``numbers - 1``; another is an error of the call."""
        cdef Instruction *it = self.new(run_number, name)
        if out.shape != x.shape:
            raise ShapeError(f"program: integers {x.shape} to {out.shape}")
        self.check(out, "i", &it.operands[0], True)
        self.loop(it, [out, x], "ii")
        it.numbers[0] = numbers
        self.done(name)

    def recur(self, str name, Plan plan not None, out, h, x, h0, between, rows, lengths, shares, int team,
              ProjectedRows projected=None, numbers=None, str embedding=""):
        """A stack of GRU layers over (batch, steps, features), as ``Plan.run``; ``out`` and ``h0`` may be None.

        Where ``projected`` is given, x are (batch, steps) integers, whose features the layer called ``embedding`` would
        look up, and ``numbers`` is a buffer for them.

        ``rows``, ``lengths`` and ``shares`` are parts of constants or of inputs, which every call then checks.
        """
        cdef Instruction *it
        cdef const Stack *stack = &plan.stack
        cdef Call call
        cdef object batch = x.shape[0], steps = x.shape[1], width, states
        check_plan(plan)
        width = (batch, steps, stack.directions * stack.hidden_size)
        states = (stack.num_layers * stack.directions, batch, stack.hidden_size)
        if projected is not None:
            if projected.plan is not plan or numbers.shape != (batch, steps) or x.shape != (batch, steps):
                raise ShapeError(f"program: a GRU of integers {x.shape} and {numbers.shape}")
            self.number(embedding, projected.table.shape[0], numbers, x)
            x = numbers
        elif len(x.shape) != 3 or x.shape[2] != stack.input_size:
            raise ShapeError(f"program: a GRU of {x.shape}")
        if h.shape != states or (h0 is not None and h0.shape != states):
            raise ShapeError(f"program: a GRU of {x.shape} and {states}")
        if out is not None and out.shape != width:
            raise ShapeError(f"program: a GRU of {x.shape} to {out.shape}")
        if (between is None) != (stack.num_layers == 1):
            raise ShapeError("program: a GRU of several layers has something between them")
        if between is not None and between.shape != (min(stack.num_layers - 1, 2), *width):
            raise ShapeError(f"program: {between.shape} between the layers")
        if sizeof(Py_ssize_t) != 8 or rows.shape != (batch,) or lengths.shape != (batch,) or len(shares.shape) != 1:
            raise ShapeError("program: the order of the rows of a GRU")
        it = self.new(run_gru, name)
        for place, part in enumerate((h, x, rows, lengths, shares, out, between, h0)):
            if part is None:
                continue
            if not part.contiguous:
                raise ShapeError("program: a GRU of elements that do not lie together")
            kind = "i" if 2 <= place <= 4 or (place == 1 and projected is not None) else "f"
            self.check(part, kind, &it.operands[place], place in (0, 5, 6))
            it.numbers[2 + place] = 1
        self.schedule(rows, lengths, shares, batch, steps)
        it.numbers[0], it.numbers[1] = batch, steps
        it.length, it.code, it.stack = shares.shape[0] - 1, team, stack
        memset(&call, 0, sizeof(call))
        call.batch, call.steps = batch, steps
        if not 1 <= team <= 1024:
            raise ShapeError(f"team: got {team}, wanted 1 to 1024")
        self.scratch_bytes = max(self.scratch_bytes, workspace_of(stack, &call, batch, <int>it.length, team))
        if projected is not None:
            it.projected = &projected.projected
            self.scratch_bytes = max(self.scratch_bytes, memory_of_projection(stack))
            self.owned.append(projected)
        self.add_work(steps * stack.directions * work_of_step(stack, batch))
        self.owned.append(plan)
        self.done(name)

    def step(self, str name, Plan plan not None, h, x, h0, int threads):
        """One step of a stack of GRU layers in one direction: (batch, 1, features) and states that may be None."""
        cdef Instruction *it = self.new(run_step, name)
        cdef const Stack *stack = &plan.stack
        cdef TeamOfSteps team = TeamOfSteps()
        cdef object batch = x.shape[0], states
        check_plan(plan)
        states = (stack.num_layers, batch, stack.hidden_size)
        if stack.directions != 1 or x.shape != (batch, 1, stack.input_size) or h.shape != states or (
                h0 is not None and h0.shape != states):
            raise ShapeError(f"program: a step of a GRU of {x.shape} and {states}")
        for place, part in enumerate((h, x, h0)):
            if part is None:
                continue
            if not part.contiguous:
                raise ShapeError("program: a step of a GRU of elements that do not lie together")
            self.check(part, "f", &it.operands[place], place == 0)
        it.numbers[0], it.numbers[1] = batch, h0 is not None
        team.team.members = team_of_steps(stack, batch, threads)
        it.stack, it.team = stack, &team.team
        size = <object>(2 * stack.num_layers) * batch * stack.width
        if size >= 1 << 44:
            raise MemoryError(f"{size} states of a GRU")
        self.scratch_bytes = max(self.scratch_bytes, (<Py_ssize_t>size + 16) * <Py_ssize_t>sizeof(float) + ALIGNMENT
                                 + memory_of_step(stack, batch, team.team.members))
        self.work += work_of_step(stack, batch)
        self.owned += [plan, team]
        self.done(name)

    def __len__(self):
        return self.count

    @property
    def nbytes(self):
        """Of the arena that a call takes."""
        whole = self.whole_nbytes()       # as short runs go, and those of which each instruction is timed
        return whole if self.pieces is None else max(whole, self.head() + self.pieces.threads * self.pieces.room())

    def divide(self, Program piece not None, Program rest, Py_ssize_t rows, Py_ssize_t count, int threads,
               list divided):
        """Let every run go through pieces of the rows, as ``Pieces`` says."""
        self.pieces = Pieces(self, piece, rest, rows, count, threads, divided)

    @property
    def is_divided(self):
        """Whether runs go through pieces of the rows."""
        return self.pieces is not None
    def run(self, list arrays not None, Arenas arenas not None, list seconds=None):
        """The outputs for inputs in C order, each of the declared kind and size.

        ``seconds``, if given, gets how long each instruction took.

        Raises
        ------
        ShapeError
            An input does not fit, or holds an integer beyond its range.
        """
        cdef Frame frame
        cdef Arena arena
        cdef Py_ssize_t i
        cdef int failed
        cdef double *clock = NULL
        cdef cnp.ndarray array
        if len(arrays) != len(self.inputs):
            raise ShapeError(f"program: got {len(arrays)} inputs, wanted {len(self.inputs)}")
        for i in range(len(self.inputs)):
            kind, count, base = self.inputs[i]
            given = arrays[i]
            if (not cnp.PyArray_Check(given) or not cnp.PyArray_ISCARRAY_RO(given) or given.dtype is not _DTYPES[kind]
                    or cnp.PyArray_SIZE(given) != count):
                raise ShapeError(f"program: got an input of {given.dtype} {given.shape}, wanted {count} of {kind!r}")
        for rows, lengths, shares, batch, steps in self.schedules:
            check_rows(arrays[rows], arrays[lengths], arrays[shares], batch, steps)
        arena = arenas.take(self.nbytes)
        self.begin(&frame, arena)
        for i in range(len(self.inputs)):
            array = arrays[i]
            frame.bases[<int>self.inputs[i][2]] = cnp.PyArray_BYTES(array)
        made = []
        for dtype, shape, base in self.outputs:
            array = np.empty(shape, dtype)
            frame.bases[<int>base] = cnp.PyArray_BYTES(array)
            made.append(array)
        if seconds is not None:
            clock = <double *>malloc((self.count + 1) * sizeof(double))
            if clock == NULL:
                raise MemoryError("the times of instructions")
        try:
            failed = self.go(&frame, clock, True)
        except BaseException:
            free(clock)
            raise
        if clock != NULL:
            if failed < 0:
                seconds += [(self.names[k], clock[k + 1] - clock[k]) for k in range(self.count)]
            free(clock)
        arenas.give(arena)
        self.finish(&frame, failed)
        return made


include "pieces.pxi"
include "stepper.pxi"
include "caller.pxi"
include "slots.pxi"
