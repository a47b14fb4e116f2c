"""A stack of GRU layers, packed for one set of kernels, and the loops that run whole sequences through it.

* ``Plan`` is immutable: any number of threads may run it. What changes during a run lies in a workspace of that run.
* Rows are split over threads, and each share of them goes through all layers, directions and steps with no barrier.
* Where there are more threads than rows a team computes a share: its members take a direction each, and then slices of
  the units, so that each keeps its weights in a cache of its own. They meet after every step.
* Rows of unequal length are sorted, longest first, so that the rows still running are always the first ones and no
  work is done on padding. A reverse direction starts at each row's own last step.
* The input projection is computed for a block of steps at a time, small enough to stay in the L2 cache.
"""

import os

import numpy as np

cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from fastgru.engine.kernels cimport Ahead, Kernels, Layer

from fastgru.errors import ShapeError

from .checks import check_activation, checked_weights
from .pack import aligned_empty, pack_matrix, pack_vector

cnp.import_array()

cdef extern from *:
    """
    #ifdef _OPENMP
    #define FASTGRU_OPENMP 1
    #else
    #define FASTGRU_OPENMP 0
    #endif
    """
    const bint FASTGRU_OPENMP

OPENMP = bool(FASTGRU_OPENMP)

cdef enum:
    PROJECTION_BYTES = 524288   # of projected inputs at a time
    ROWS_BYTES = 524288         # of states, projections, inputs and outputs of a step, for the rows that step together:
                                # 1 to 2 % faster than 262144, and than all of 256 rows of 256 units (Zen 4, 1 MB of L2)
    SCRATCH_ROWS = 64           # rows the step kernel takes at a time


cdef class KernelTable:
    """The kernels of one instruction set; made from the capsule of a ``kernels_*`` module."""

    def __cinit__(self, capsule):
        self.table = <const Kernels *>PyCapsule_GetPointer(capsule, "fastgru.engine.kernels")
        self.capsule = capsule

    @property
    def name(self):
        return self.table.name.decode()

    @property
    def vector_length(self):
        return self.table.vector_length

    def activate(self, int activation, const float[::1] x not None):
        """``activation(x)``, by the same code as inside the kernels; for a whole array."""
        cdef float[::1] out = np.empty(x.shape[0], dtype=np.float32)
        cdef unsigned int mode
        check_activation(activation)
        if x.shape[0]:
            with nogil:
                mode = self.table.flush_subnormals()
                self.table.activate(activation, x.shape[0], &x[0], &out[0])
                self.table.restore_floating_mode(mode)
        return np.asarray(out)


cdef Py_ssize_t round_up(Py_ssize_t size, Py_ssize_t multiple) noexcept nogil:
    return (size + multiple - 1) // multiple * multiple


cdef void *address(array, str name, int ndim, int dtype) except NULL:
    """The address of a plain array of this rank and type; a typed memoryview would cost 300 ns for the same check."""
    if (not cnp.PyArray_Check(array) or cnp.PyArray_NDIM(array) != ndim or cnp.PyArray_TYPE(array) != dtype
            or not cnp.PyArray_ISCARRAY_RO(array)):
        got = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise ShapeError(f"{name}: got {got}; wanted a C-contiguous array of {ndim} axes of numpy type {dtype}")
    return cnp.PyArray_DATA(array)


cdef class Plan:
    """Packed weights of a stack of GRU layers.

    Parameters
    ----------
    kernels : KernelTable
    layers : list of list of (w_ih, w_hh, b_ih, b_hh)
        ``layers[layer][direction]``; float32 (3H, I), (3H, H), (3H,), (3H,), gates r, z, n.
    reset_after : bool
    activation, recurrent_activation : int
        Indices of ``spec.GATE_ACTIVATIONS``.
    """

    def __cinit__(self, KernelTable kernels not None, list layers not None, bint reset_after, int activation,
                  int recurrent_activation):
        cdef int index
        layers = checked_weights(layers, np.float32)
        check_activation(activation, recurrent_activation)
        self.owner = kernels
        self.kernels = kernels.table
        self.memory = []
        self.num_layers = len(layers)
        self.directions = len(layers[0])
        self.input_size = layers[0][0][0].shape[1]
        self.hidden_size = layers[0][0][1].shape[1]
        self.reset_after = reset_after
        self.width = round_up(self.hidden_size, kernels.table.vector_length)
        self.layers = <Layer *>calloc(self.num_layers * self.directions, sizeof(Layer))
        if self.layers == NULL:
            raise MemoryError
        for index in range(self.num_layers * self.directions):
            self.pack(&self.layers[index], layers[index // self.directions][index % self.directions])
            self.layers[index].activation = activation
            self.layers[index].recurrent_activation = recurrent_activation

    def __dealloc__(self):
        free(self.layers)

    cdef int pack(self, Layer *layer, tuple weights) except -1:
        """One direction of one layer."""
        cdef int hidden = self.hidden_size, length = self.kernels.vector_length
        w_ih, w_hh, b_ih, b_hh = weights
        layer.inputs = w_ih.shape[1]
        layer.hidden = hidden
        layer.blocks = (hidden + length - 1) // length
        layer.first = 0
        layer.width = <int>self.width
        layer.reset_after = self.reset_after
        # Shorter sums where there are few units, whose weights are large; see kernels.pxi for what they cost.
        layer.part = min(max(hidden, 8), 128 if hidden <= 256 else 256)
        bias = b_ih.astype(np.float64)
        bias[: 2 * hidden] += b_hh[: 2 * hidden]
        layer.w_ih = self.own(pack_matrix(w_ih, 3, length))
        layer.b_ih = self.own(pack_vector(bias, 3, length))
        late = np.zeros_like(b_hh)
        late[2 * hidden :] = b_hh[2 * hidden :] if self.reset_after else 0
        layer.b_hh = self.own(pack_vector(late, 3, length))
        if self.reset_after:
            layer.w_hh = self.own(pack_matrix(w_hh, 3, length))
        else:
            layer.w_hh = self.own(pack_matrix(w_hh[: 2 * hidden], 2, length))
            layer.w_hn = self.own(pack_matrix(w_hh[2 * hidden :], 1, length))
        return 0

    cdef float *own(self, array) except NULL:
        self.memory.append(array)
        return <float *>address(array, "weights", 1, cnp.NPY_FLOAT)

    @property
    def kernel_level(self):
        return self.owner.name

    @property
    def nbytes(self):
        """Bytes of packed weights."""
        return sum(array.nbytes for array in self.memory)

    def run(self, x, h0, rows, lengths, shares, bint sequences=True, int team=1):
        """Take whole sequences through the stack.

        Parameters
        ----------
        x : (batch, steps, input_size) float32, C-contiguous
        h0 : (num_layers * directions, batch, hidden_size) float32, C-contiguous, or None
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
        y : (batch, steps, directions * hidden_size) float32, zero beyond a row's length; or None
        h : (num_layers * directions, batch, hidden_size) float32
        """
        cdef Call call
        cdef cnp.npy_intp outputs[3]
        cdef cnp.npy_intp finals[3]
        memset(&call, 0, sizeof(call))
        call.x = <float *>address(x, "x", 3, cnp.NPY_FLOAT)
        call.batch, call.steps = cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1)
        if cnp.PyArray_DIM(x, 2) != self.input_size or call.batch < 1 or call.steps < 1:
            raise ShapeError(f"x: got shape {x.shape}, wanted (batch, steps, {self.input_size})")
        check_rows(rows, lengths, shares, call.batch, call.steps)
        call.rows = <Py_ssize_t *>cnp.PyArray_DATA(rows)
        call.lengths = <Py_ssize_t *>cnp.PyArray_DATA(lengths)
        finals[0], finals[1], finals[2] = self.num_layers * self.directions, call.batch, self.hidden_size
        outputs[0], outputs[1], outputs[2] = call.batch, call.steps, self.directions * self.hidden_size
        if h0 is not None:
            call.h0 = <float *>address(h0, "h0", 3, cnp.NPY_FLOAT)
            if not cnp.PyArray_CompareLists(cnp.PyArray_DIMS(h0), finals, 3):
                raise ShapeError(f"h0: got shape {h0.shape}, wanted {(finals[0], finals[1], finals[2])}")
        h = cnp.PyArray_EMPTY(3, finals, cnp.NPY_FLOAT, 0)
        call.h = <float *>cnp.PyArray_DATA(h)
        y = None
        if sequences:
            y = aligned_empty(outputs[0] * outputs[1] * outputs[2]).reshape(outputs[0], outputs[1], outputs[2])
            call.y = <float *>cnp.PyArray_DATA(y)
        if self.num_layers > 1:
            between = aligned_empty(min(self.num_layers - 1, 2) * outputs[0] * outputs[1] * outputs[2])
            call.between = <float *>cnp.PyArray_DATA(between)
        if not 1 <= team <= 1024:
            raise ShapeError(f"team: got {team}, wanted 1 to 1024")
        self.start(&call, <const Py_ssize_t *>cnp.PyArray_DATA(shares), <int>cnp.PyArray_DIM(shares, 0) - 1, team)
        return y, h

    cdef int start(self, Call *call, const Py_ssize_t *shares, int count, int team) except -1:
        """Lay out a workspace for every thread, then let each do its part."""
        cdef Py_ssize_t largest = 0
        cdef int share, slices = team // self.directions
        cdef bint stalled
        cdef Run run
        if not self.reset_after:
            slices = min(slices, 1)                 # every unit's candidate needs the reset gates of all
        slices = min(slices, (self.layers[0].blocks + 1) // 2)
        team = max(slices * self.directions, 1)
        for share in range(count):
            largest = max(largest, shares[share + 1] - shares[share])
        run.group = largest
        if team == 1:
            run.group = min(largest, max(ROWS_BYTES // (7 * self.width * <Py_ssize_t>sizeof(float)) // 8 * 8, 16))
            largest = run.group
        call.block_rows = PROJECTION_BYTES // (3 * self.width * sizeof(float))
        call.block_rows = min(max(call.block_rows, largest, 8), largest * call.steps)
        call.block_rows = max(call.block_rows, 3 * self.kernels.ahead_rows)
        run.barriers = NULL
        run.call = call
        run.shares = shares
        run.count = count
        run.plan = <void *>self
        run.team = team if team > 1 and enter_team() else 1
        run.sizes = self.sizes_of(call.block_rows, largest)
        try:
            workspace = aligned_empty(<Py_ssize_t>count * run.team * run.sizes.all)
            run.memory = <float *>cnp.PyArray_DATA(workspace)
            meeting = np.zeros((count * (1 + self.directions) + 3) * sizeof(Barrier) + sizeof(Claims), dtype=np.int8)
            run.barriers = <Barrier *>round_up(<Py_ssize_t>cnp.PyArray_DATA(meeting), 64)
            for share in range(count * (1 + self.directions)):
                run.barriers[share].members = slices if share % (1 + self.directions) else team
            run.barriers[count * (1 + self.directions) + 1].members = count * run.team
            run.claims = <Claims *>(run.barriers + count * (1 + self.directions) + 2)
            with nogil:
                if count * run.team == 1:
                    self.run_thread(&run, 0, 1)
                else:
                    in_parallel(count * run.team, thread_of_run, &run)
        finally:
            if run.team > 1:
                stalled = False
                for share in range(count * (1 + self.directions)):
                    stalled = stalled or (run.barriers != NULL and run.barriers[share].stalled)
                leave_team(stalled)
        return 0

    cdef Sizes sizes_of(self, Py_ssize_t block_rows, Py_ssize_t rows) noexcept nogil:
        """A workspace for shares of ``rows`` rows; in floats, and ending on a boundary of 64 bytes."""
        cdef Sizes sizes
        sizes.xp = block_rows * 3 * self.width
        sizes.h = 2 * rows * self.width
        sizes.all = sizes.xp + sizes.h + (0 if self.reset_after else 2 * SCRATCH_ROWS * self.width)
        sizes.all = round_up(sizes.all, 16)
        sizes.scratch = sizes.all - sizes.xp - sizes.h
        sizes.x_rows = block_rows
        sizes.all += (block_rows + rows) * <Py_ssize_t>(sizeof(void *) // sizeof(float))
        sizes.all = round_up(sizes.all, 16)
        return sizes

    cdef void run_thread(self, const Run *run, int thread, int threads) noexcept nogil:
        """What thread ``thread`` of ``threads`` does of a run."""
        cdef Call call = run.call[0]
        cdef Workspace space = lay_out(run.memory + thread * run.sizes.all, run.sizes)
        cdef Member member
        cdef Barrier *barriers
        cdef int share = thread // run.team, leader
        member.first_direction = member.slice = 0
        member.last_direction = self.directions
        member.slices = 1
        member.step_done = member.layer_done = run.barriers + run.count * (1 + self.directions)    # of no members
        if threads > 1 and threads == run.count * run.team:
            if come_together(run.barriers + run.count * (1 + self.directions) + 1, run.claims) and run.team > 1:
                run.barriers[0].stalled = True
                if thread > 0:
                    return
                threads = 1
        if run.team == 1 or threads < run.count * run.team:     # fewer than asked for: no team would be whole
            share = thread
            while share < run.count:
                call.first = run.shares[share]
                while call.first < run.shares[share + 1]:
                    call.last = min(call.first + run.group, run.shares[share + 1])
                    self.run_share(call, space, member)
                    call.first = call.last
                share += threads
            return
        barriers = run.barriers + share * (1 + self.directions)
        member.slices = run.team // self.directions
        member.first_direction = thread % run.team // member.slices
        member.last_direction = member.first_direction + 1
        member.slice = thread % member.slices
        member.layer_done = barriers
        member.step_done = barriers + 1 + member.first_direction
        leader = thread - member.slice
        space.h = lay_out(run.memory + leader * run.sizes.all, run.sizes).h
        call.first, call.last = run.shares[share], run.shares[share + 1]
        self.run_share(call, space, member)

    cdef void run_share(self, Call call, Workspace space, Member member) noexcept nogil:
        """Every layer and direction for the rows of a share, as far as they are this member's."""
        cdef unsigned int mode
        cdef int index, direction
        cdef const float *source = call.x
        cdef Py_ssize_t output = <Py_ssize_t>self.directions * self.hidden_size
        cdef float *target
        if call.first == call.last:
            return
        mode = self.kernels.flush_subnormals()
        for index in range(self.num_layers):
            target = call.y
            if index < self.num_layers - 1:
                target = call.between + (index % 2) * call.batch * call.steps * output
            for direction in range(member.first_direction, member.last_direction):
                self.run_direction(&call, space, member, index, direction, source, target)
            meet(member.layer_done)
            source = target
        if call.y != NULL and member.slice == 0 and member.first_direction == 0:
            clear_padding(&call, call.y, output)
        self.kernels.restore_floating_mode(mode)

    cdef void run_direction(self, const Call *call, Workspace space, Member member, int index, int direction,
                            const float *source, float *target) noexcept nogil:
        """All steps of one direction of one layer, a block of steps at a time: project the block, then step through."""
        cdef int state = index * self.directions + direction
        cdef Layer layer = slice_of(&self.layers[state], self.kernels.vector_length, member.slice, member.slices)
        cdef Py_ssize_t rows = call.last - call.first, width = self.width, output = self.directions * layer.hidden
        cdef Py_ssize_t projected_width = 3 * <Py_ssize_t>layer.blocks * self.kernels.vector_length
        cdef Py_ssize_t unit = <Py_ssize_t>layer.first * self.kernels.vector_length
        cdef Py_ssize_t units = min(layer.hidden - unit, projected_width // 3)
        cdef const Py_ssize_t *lengths = call.lengths + call.first
        cdef const Py_ssize_t *order = call.rows + call.first
        cdef Py_ssize_t running = rows, projected, begin = 0, end, t, i, n
        cdef Py_ssize_t at
        cdef float *h = space.h
        cdef float *h_next = space.h + rows * width
        cdef float *swap
        cdef float *xp
        cdef float *finals = call.h + <Py_ssize_t>state * call.batch * layer.hidden + unit
        for i in range(rows):
            memset(h + i * width + unit, 0, projected_width // 3 * sizeof(float))
            if call.h0 != NULL:
                memcpy(h + i * width + unit, call.h0 + (<Py_ssize_t>state * call.batch + order[i]) * layer.hidden + unit,
                       units * sizeof(float))
        meet(member.step_done)
        if rows == 1 and self.reset_after and self.kernels.ahead_rows and lengths[0] > self.kernels.ahead_rows:
            self.run_one(call, space, member, &layer, direction, source, target)
            memcpy(finals + order[0] * layer.hidden, h + (lengths[0] & 1) * width + unit, units * sizeof(float))
            return
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
                    space.x_rows[projected + i] = source + at * layer.inputs
                projected += n
                end += 1
            self.kernels.project(&layer, projected, space.x_rows, space.xp)
            xp = space.xp
            for t in range(begin, end):
                while lengths[running - 1] <= t:
                    running -= 1
                if target != NULL:
                    for i in range(running):
                        at = order[i] * call.steps + (lengths[i] - 1 - t if direction else t)
                        space.y_rows[i] = target + at * output + direction * layer.hidden
                self.kernels.step(&layer, running, NULL, h, h_next, xp, space.y_rows if target != NULL else NULL,
                                  space.scratch, t & 1)
                for i in range(running - 1, -1, -1):
                    if lengths[i] > t + 1:
                        break
                    memcpy(finals + order[i] * layer.hidden, h_next + i * width + unit, units * sizeof(float))
                meet(member.step_done)
                xp = xp + running * projected_width
                swap = h
                h = h_next
                h_next = swap
            begin = end

    cdef void run_one(self, const Call *call, Workspace space, Member member, const Layer *layer, int direction,
                      const float *source, float *target) noexcept nogil:
        """`run_direction` for a single row: while it steps through a few steps, the next few are projected."""
        cdef Py_ssize_t row = call.rows[call.first], length = call.lengths[call.first]
        cdef Py_ssize_t output = self.directions * <Py_ssize_t>layer.hidden, begin, t, i, at
        cdef Py_ssize_t projected_width = 3 * <Py_ssize_t>layer.blocks * self.kernels.vector_length
        cdef Py_ssize_t group = self.kernels.ahead_rows
        cdef float *h = space.h
        cdef float *h_next = space.h + self.width
        cdef float *swap
        cdef float *y = NULL
        cdef float *xp = space.xp
        cdef Ahead ahead
        ahead.xp = space.xp + group * projected_width
        ahead.sums = space.xp + 2 * group * 3 * self.width
        ahead.x = space.x_rows
        begin = -group
        while begin < length:
            ahead.block = 0
            ahead.k = 0
            for i in range(group):      # beyond the end the last step again, and nobody reads it
                t = min(begin + group + i, length - 1)
                at = row * call.steps + (length - 1 - t if direction else t)
                space.x_rows[i] = source + at * layer.inputs
            if begin + group >= length:
                ahead.block = layer.blocks
            else:
                self.kernels.begin_ahead(layer, &ahead)
            for t in range(max(begin, 0), min(begin + group, length)):
                at = row * call.steps + (length - 1 - t if direction else t)
                if target != NULL:
                    y = target + at * output + direction * layer.hidden
                self.kernels.step_ahead(layer, h, h_next, xp + (t - begin) * projected_width, y, t & 1, &ahead)
                meet(member.step_done)
                swap = h
                h = h_next
                h_next = swap
            self.kernels.finish_ahead(layer, &ahead)
            swap = xp
            xp = ahead.xp
            ahead.xp = swap
            begin += group


cdef bint forked = False        # the threads of OpenMP are not in a forked child
cdef double alone_until = 0     # by the clock of `seconds_now`
cdef double STALLED = 50e-3     # seconds


cdef bint enter_team() noexcept nogil:
    """Whether the calling thread may have a team now; whoever may not computes alone.

    There is one team at a time in a process, as two would wait for each other's processors; and none soon after one in
    which a member had no processor or lost it to another process, as it will again.
    """
    if forked or seconds_now() < alone_until:
        return False
    return take_team()


cdef void leave_team(bint stalled) noexcept nogil:
    global alone_until
    if stalled:
        alone_until = seconds_now() + STALLED
    give_team()


def _mark_forked():
    global forked
    forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_mark_forked)


cdef void thread_of_run(void *run, int thread, int threads) noexcept nogil:
    (<Plan>(<Run *>run).plan).run_thread(<Run *>run, thread, threads)


cdef Layer slice_of(const Layer *layer, int vector_length, int slice, int slices) noexcept nogil:
    """A part of a layer's blocks, in pairs as far as they go, since the kernels take them by pairs."""
    cdef Layer part = layer[0]
    cdef Py_ssize_t pairs = (layer.blocks + 1) // 2, first = 2 * (pairs * slice // slices)
    cdef Py_ssize_t last = min(2 * (pairs * (slice + 1) // slices), <Py_ssize_t>layer.blocks)
    if slices == 1:
        return part
    part.first = <int>first
    part.blocks = <int>(last - first)
    part.w_ih = layer.w_ih + first * layer.inputs * 3 * vector_length
    part.b_ih = layer.b_ih + first * 3 * vector_length
    part.w_hh = layer.w_hh + first * layer.hidden * 3 * vector_length
    part.b_hh = layer.b_hh + first * 3 * vector_length
    return part


cdef Workspace lay_out(float *memory, Sizes sizes) noexcept nogil:
    cdef Workspace space
    space.xp = memory
    space.h = space.xp + sizes.xp
    space.scratch = space.h + sizes.h
    space.x_rows = <const float **>(space.scratch + sizes.scratch)
    space.y_rows = <float **>(space.x_rows + sizes.x_rows)
    return space


cdef void clear_padding(const Call *call, float *y, Py_ssize_t output) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(call.first, call.last):
        if call.lengths[i] < call.steps:
            memset(y + (call.rows[i] * call.steps + call.lengths[i]) * output, 0,
                   (call.steps - call.lengths[i]) * output * sizeof(float))


cpdef int check_rows(rows, lengths, shares, Py_ssize_t batch, Py_ssize_t steps) except -1:
    """Every row of the batch once, lengths falling and within 1..steps, shares rising from 0 to batch."""
    cdef const Py_ssize_t *row = <Py_ssize_t *>address(rows, "rows", 1, cnp.NPY_INTP)
    cdef const Py_ssize_t *length = <Py_ssize_t *>address(lengths, "lengths", 1, cnp.NPY_INTP)
    cdef const Py_ssize_t *share = <Py_ssize_t *>address(shares, "shares", 1, cnp.NPY_INTP)
    cdef Py_ssize_t i, cuts = cnp.PyArray_DIM(shares, 0)
    cdef bint fits = cnp.PyArray_DIM(rows, 0) == batch and cnp.PyArray_DIM(lengths, 0) == batch
    cdef bytearray marks
    cdef char *seen
    if fits and batch >= 1 and 2 <= cuts <= batch + 1:
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
