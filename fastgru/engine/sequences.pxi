# The loops that run whole sequences through a packed stack. Part of plan.pyx.
#
# * Rows are split over threads, and each share of them goes through all layers, directions and steps with no barrier.
# * Where there are more threads than rows a team computes a share: its members take a direction each, and then slices
#   of the units, so that each keeps its weights in a cache of its own. They meet after every step.
# * Rows of unequal length are sorted, longest first, so that the rows still running are always the first ones and no
#   work is done on padding. A reverse direction starts at each row's own last step.
# * The input projection is computed for a block of steps at a time, small enough to stay in the L2 cache.

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define FASTGRU_FETCH(p) __builtin_prefetch(p)
    #else
    #define FASTGRU_FETCH(p) ((void)(p))
    #endif
    """
    void fetch "FASTGRU_FETCH" (const float *p) nogil

cdef enum:
    PROJECTION_BYTES = 524288   # of projected inputs at a time
    ROWS_BYTES = 524288         # of states, projections, inputs and outputs of a step, for the rows that step together:
                                # 1 to 2 % faster than 262144, and than all of 256 rows of 256 units (Zen 4, 1 MB of L2)


cdef struct Member:             # what one thread of the team that computes a share does of it
    int first_direction         # its directions: all of them where it is alone, or one
    int last_direction
    int slice                   # which of `slices` parts of the units of these directions
    int slices
    Barrier *step_done          # where the members of one direction meet after every step
    Barrier *layer_done         # where all meet after a layer
    bint looks                  # whether it lets handlers of signals run

cdef struct Sizes:              # of a workspace, in floats but for x_rows
    Py_ssize_t xp
    Py_ssize_t h
    Py_ssize_t scratch
    Py_ssize_t x_rows           # pointers
    Py_ssize_t all

cdef struct Workspace:          # of one thread
    float *xp                   # (block_rows, blocks, 3, VL)
    float *h                    # (2, rows, width), which all slices of a direction share
    float *scratch              # of a step; see `scratch_of`
    const float **x_rows        # (block_rows,)
    float **y_rows              # (rows,)

cdef struct Meetings:           # the places where threads of a run wait for each other
    Barrier *teams              # (count, 1 + directions): a team after a layer, and its members of each direction
    Barrier *nobody             # of no members: whoever comes goes on
    Barrier *everyone           # all threads, before anything
    Claims *claims

cdef struct Run:                # one call of `compute`, as every thread sees it
    const Stack *stack
    const Call *call
    const Py_ssize_t *shares    # (count + 1,)
    int count
    int team                    # threads a share
    int slices                  # of the units, each of which a thread of a team has
    Py_ssize_t size_of_meetings # bytes
    Py_ssize_t group            # rows of a share that are computed together
    Sizes sizes
    float *memory               # (count * team,) workspaces
    Meetings meetings


cdef Py_ssize_t lay_out_run(const Stack *stack, Call *call, Py_ssize_t largest, int count, int team,
                            Run *run) noexcept nogil:
    """The bytes that a run of ``count`` shares of at most ``largest`` rows takes, and how it goes; any memory will do."""
    cdef int slices = team // stack.directions
    cdef Py_ssize_t groups, bytes = stack.words * <Py_ssize_t>sizeof(float)
    if not stack.reset_after:
        slices = min(slices, 1)                 # every unit's candidate needs the reset gates of all
    slices = min(slices, (tiles_of(&stack.layers[0]) + 1) // 2)
    run.slices = slices
    run.team = max(slices * stack.directions, 1)
    run.group = largest
    if run.team == 1:
        run.group = min(largest, max(ROWS_BYTES // (7 * stack.width * bytes) // 8 * 8, 16))
        groups = (largest + run.group - 1) // run.group     # of as many rows each, so that none has few
        largest = run.group = min(run.group, round_up((largest + groups - 1) // groups, 8))
    call.block_rows = PROJECTION_BYTES // (3 * stack.width * bytes)
    call.block_rows = min(max(call.block_rows, largest, 8), largest * call.steps)
    call.block_rows = max(call.block_rows, 3 * stack.kernels.lookahead_rows)
    run.stack = stack
    run.call = call
    run.count = count
    run.sizes = sizes_of(stack, call.block_rows, largest)
    run.size_of_meetings = (count * (1 + stack.directions) + 2) * sizeof(Barrier) + round_up(sizeof(Claims), 64)
    return run.size_of_meetings + count * run.team * run.sizes.all * <Py_ssize_t>sizeof(float) + 64


cdef Py_ssize_t workspace_of(const Stack *stack, Call *call, Py_ssize_t largest, int count, int team) noexcept nogil:
    """The bytes that ``compute_in`` takes for any ``count`` shares, none of more than ``largest`` rows."""
    cdef Run run
    return lay_out_run(stack, call, largest, count, team, &run)


cdef int compute_in(const Stack *stack, Call *call, const Py_ssize_t *shares, int count, int team, char *memory,
                    int *wanted) noexcept nogil:
    """Lay out a workspace for every thread, then let each do its part; gives how many came of those wanted."""
    cdef Py_ssize_t largest = 0
    cdef int share, came
    cdef bint stalled = False
    cdef Run run
    for share in range(count):
        largest = max(largest, shares[share + 1] - shares[share])
    lay_out_run(stack, call, largest, count, team, &run)
    run.shares = shares
    if run.team > 1 and not enter_team():
        run.team = 1
    wanted[0] = count * run.team
    memset(memory, 0, run.size_of_meetings + 64)
    run.meetings = arranged(memory + (64 - <size_t>memory % 64), wanted[0], count, stack.directions, run.slices)
    run.memory = <float *>(<char *>run.meetings.teams + run.size_of_meetings)
    if call.watch != NULL:
        call.watch.barriers, call.watch.barrier_count = run.meetings.teams, count * (1 + stack.directions)
    came = in_parallel(wanted[0], thread_of_run, &run)
    if call.watch != NULL:
        call.watch.barrier_count = 0
    if run.team > 1:
        for share in range(count * (1 + stack.directions)):
            stalled = stalled or run.meetings.teams[share].stalled
        leave_team(stalled)
    return came


cdef int compute(const Stack *stack, Call *call, const Py_ssize_t *shares, int count, int team) except -1:
    """``compute_in`` memory of its own."""
    cdef Py_ssize_t largest = 0
    cdef int share, came, wanted = 0
    cdef char *memory
    cdef Watch watch
    for share in range(count):
        largest = max(largest, shares[share + 1] - shares[share])
    memory = <char *>malloc(workspace_of(stack, call, largest, count, team))
    if memory == NULL:
        raise MemoryError(f"a workspace for {largest} rows of {stack.width} units and {count * team} threads")
    memset(&watch, 0, sizeof(watch))
    call.watch = &watch
    with nogil:
        came = compute_in(stack, call, shares, count, team, memory, &wanted)
    free(memory)
    settle(&watch)
    return check_came(came, wanted)


cdef Meetings arranged(void *zeros, int threads, int count, int directions, int slices) noexcept nogil:
    cdef Meetings meetings
    cdef Barrier *barriers = <Barrier *>zeros
    cdef int share, direction
    meetings.teams = barriers
    for share in range(count):
        barriers[0].members = slices * directions
        for direction in range(directions):
            barriers[1 + direction].members = slices
        barriers += 1 + directions
    meetings.nobody = barriers
    meetings.everyone = barriers + 1
    meetings.everyone.members = threads
    meetings.claims = <Claims *>(barriers + 2)
    return meetings


cdef Sizes sizes_of(const Stack *stack, Py_ssize_t block_rows, Py_ssize_t rows) noexcept nogil:
    """A workspace for shares of ``rows`` rows; in floats, and ending on a boundary of 64 bytes."""
    cdef Sizes sizes
    cdef int index
    sizes.xp = block_rows * 3 * stack.width * stack.words
    sizes.h = 2 * rows * stack.width * stack.words
    sizes.scratch = 0
    for index in range(stack.num_layers * stack.directions):
        sizes.scratch = max(sizes.scratch, scratch_of(&stack.layers[index], rows))
    sizes.scratch = round_up(sizes.scratch, 16)
    sizes.x_rows = block_rows
    sizes.all = sizes.xp + sizes.h + sizes.scratch
    sizes.all += (block_rows + rows) * <Py_ssize_t>(sizeof(void *) // sizeof(float))
    sizes.all = round_up(sizes.all, 16)
    return sizes


cdef Workspace lay_out(float *memory, Sizes sizes) noexcept nogil:
    cdef Workspace space
    space.xp = memory
    space.h = space.xp + sizes.xp
    space.scratch = space.h + sizes.h
    space.x_rows = <const float **>(space.scratch + sizes.scratch)
    space.y_rows = <float **>(space.x_rows + sizes.x_rows)
    return space


cdef void thread_of_run(void *what, int thread, int threads) noexcept nogil:
    """What thread ``thread`` of ``threads`` does of a run."""
    cdef const Run *run = <const Run *>what
    cdef Call call = run.call[0]
    cdef Workspace space = lay_out(run.memory + thread * run.sizes.all, run.sizes)
    cdef Member member
    cdef Barrier *team
    cdef int share = thread // run.team, leader, directions = run.stack.directions
    member.first_direction = member.slice = 0
    member.last_direction = directions
    member.slices = 1
    member.looks = thread == 0
    member.step_done = member.layer_done = run.meetings.nobody
    if threads > 1 and threads == run.count * run.team:
        if come_together(run.meetings.everyone, run.meetings.claims) and run.team > 1:
            set_flag(&run.meetings.teams[0].stalled)
            if thread > 0:
                return
            threads = 1
    if run.team == 1 or threads < run.count * run.team:     # fewer than asked for: no team would be whole
        share = thread
        while share < run.count:
            call.first = run.shares[share]
            while call.first < run.shares[share + 1]:
                if is_over(&call, &member):
                    return
                call.last = min(call.first + run.group, run.shares[share + 1])
                run_share(run.stack, call, space, member)
                call.first = call.last
            share += threads
        return
    team = run.meetings.teams + share * (1 + directions)
    member.slices = run.team // directions
    member.first_direction = thread % run.team // member.slices
    member.last_direction = member.first_direction + 1
    member.slice = thread % member.slices
    member.layer_done = team
    member.step_done = team + 1 + member.first_direction
    leader = thread - member.slice
    space.h = lay_out(run.memory + leader * run.sizes.all, run.sizes).h
    call.first, call.last = run.shares[share], run.shares[share + 1]
    run_share(run.stack, call, space, member)


cdef inline bint is_over(const Call *call, const Member *member) noexcept nogil:
    """Whether a handler of a signal has ended the call."""
    if call.watch == NULL:
        return False
    return look(call.watch) if member.looks else is_set(&call.watch.over)


cdef void run_share(const Stack *stack, Call call, Workspace space, Member member) noexcept nogil:
    """Every layer and direction for the rows of a share, as far as they are this member's."""
    cdef unsigned int mode
    cdef int index, direction
    cdef const float *source = call.x
    cdef Py_ssize_t output = <Py_ssize_t>stack.directions * stack.hidden_size * stack.words
    cdef float *target
    if call.first == call.last:
        return
    mode = stack.kernels.begin_work(stack.tiled)
    for index in range(stack.num_layers):
        target = call.y
        if index < stack.num_layers - 1:
            target = call.between + (index % 2) * call.batch * call.steps * output
        for direction in range(member.first_direction, member.last_direction):
            run_direction(stack, &call, space, member, index, direction, source, target)
        meet(member.layer_done)
        source = target
    if call.y != NULL and member.slice == 0 and member.first_direction == 0:
        clear_padding(&call, call.y, output)
    stack.kernels.end_work(stack.tiled, mode)


cdef void run_direction(const Stack *stack, const Call *call, Workspace space, Member member, int index, int direction,
                        const float *source, float *target) noexcept nogil:
    """All steps of one direction of one layer, a block of steps at a time: project the block, then step through.

    Sizes are in floats, of which a number takes `stack.words`.
    """
    cdef int state = index * stack.directions + direction
    cdef Layer layer = slice_of(&stack.layers[state], stack.kernels.vector_length, member.slice, member.slices)
    cdef Py_ssize_t rows = call.last - call.first, words = stack.words, width = words * stack.width
    cdef Py_ssize_t inputs = words * layer.inputs, hidden = words * layer.hidden, output = stack.directions * hidden
    cdef Py_ssize_t block = words * stack.kernels.vector_length, projected_width = 3 * layer.blocks * block
    cdef Py_ssize_t unit = layer.first * block, units = min(hidden - unit, layer.blocks * block)
    cdef const Py_ssize_t *lengths = call.lengths + call.first
    cdef const Py_ssize_t *order = call.rows + call.first
    cdef Py_ssize_t running = rows, projected, begin = 0, end, t, i, n
    cdef Py_ssize_t at
    cdef bint is_projected = call.numbers != NULL and index == 0 # already
    cdef Py_ssize_t table_row = 3 * stack.directions * width, table_place = 3 * (direction * width + unit)
    cdef float *h = space.h
    cdef float *h_next = space.h + rows * width
    cdef float *swap
    cdef float *xp
    cdef const float **xp_rows
    cdef float *finals = call.h + <Py_ssize_t>state * call.batch * hidden + unit
    layer.watch = call.watch
    for i in range(rows):
        memset(h + i * width + unit, 0, layer.blocks * block * sizeof(float))
        if call.h0 != NULL:
            memcpy(h + i * width + unit, call.h0 + (<Py_ssize_t>state * call.batch + order[i]) * hidden + unit,
                   units * sizeof(float))
    meet(member.step_done)
    if rows == 1 and not is_projected and 0 < lookahead_steps(stack.kernels, &layer) < lengths[0]:
        run_one(stack, call, space, member, &layer, direction, source, target)
        memcpy(finals + order[0] * hidden, h + (lengths[0] & 1) * width + unit, units * sizeof(float))
        return
    while begin < lengths[0]:
        if is_over(call, &member):
            return
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
                if is_projected:
                    space.x_rows[projected + i] = call.projected + call.numbers[at] * table_row + table_place
                else:
                    space.x_rows[projected + i] = source + at * inputs
            projected += n
            end += 1
        if not is_projected:
            project_rows(stack.kernels, &layer, projected, space.x_rows, space.xp, space.scratch)
        xp = space.xp
        xp_rows = space.x_rows
        for t in range(begin, end):
            while lengths[running - 1] <= t:
                running -= 1
            if is_projected and t + 1 < end:
                for i in range(min(running, space.x_rows + projected - xp_rows - running)):
                    prefetch_row(xp_rows[running + i], projected_width)
            if target != NULL:
                for i in range(running):
                    at = order[i] * call.steps + (lengths[i] - 1 - t if direction else t)
                    space.y_rows[i] = target + at * output + direction * hidden
            step_rows(stack.kernels, &layer, running, NULL, h, h_next, xp, xp_rows if is_projected else NULL,
                      space.y_rows if target != NULL else NULL, space.scratch, t & 1)
            for i in range(running - 1, -1, -1):
                if lengths[i] > t + 1:
                    break
                memcpy(finals + order[i] * hidden, h_next + i * width + unit, units * sizeof(float))
            meet(member.step_done)
            xp = xp + running * projected_width
            xp_rows += running
            swap = h
            h = h_next
            h_next = swap
        begin = end


cdef Layer slice_of(const Layer *layer, int vector_length, int slice, int slices) noexcept nogil:
    """A part of a layer's tiles, in pairs as far as they go, since the kernels take them by pairs."""
    cdef Layer part = layer[0]
    cdef Py_ssize_t tiles = tiles_of(layer)
    cdef Py_ssize_t pairs = (tiles + 1) // 2, first = 2 * (pairs * slice // slices)
    cdef Py_ssize_t end = min(2 * (pairs * (slice + 1) // slices), tiles)
    if slices == 1:
        return part
    if end < tiles:
        part.last = 0
    else:
        end = layer.blocks
    part.first = <int>first
    part.blocks = <int>(end - first)
    part.w_ih = layer.w_ih + first * layer.ih_block
    part.b_ih = layer.b_ih + first * 3 * vector_length
    part.w_hh = layer.w_hh + first * layer.hh_block
    part.b_hh = layer.b_hh + first * 3 * vector_length
    return part


cdef inline void prefetch_row(const float *row, Py_ssize_t floats) noexcept nogil:
    cdef Py_ssize_t at
    for at in range(0, floats, 16):
        fetch(row + at)


cdef void clear_padding(const Call *call, float *y, Py_ssize_t output) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(call.first, call.last):
        if call.lengths[i] < call.steps:
            memset(y + (call.rows[i] * call.steps + call.lengths[i]) * output, 0,
                   (call.steps - call.lengths[i]) * output * sizeof(float))
