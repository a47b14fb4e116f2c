# One step of a stack of layers, by one thread or by a team. Part of state.pyx, for it and for programs.

cdef enum:
    # Multiply-adds of a step that each member of a team must have. With 256 inputs and units two members have 196,608
    # each; a step took 9.7 us instead of 17.4 (Zen 4).
    WORK_PER_MEMBER = 150000

cdef double AWAKE = 200e-6      # seconds after a step in which the next one finds the team's threads awake


cdef void member_of_step(void *given, int member, int members) noexcept nogil:
    """What one of the threads that came does; where these are fewer than the team's, one does all."""
    cdef Step *step = <Step *>given
    if members < step.team.members or come_together(&step.team.begun, &step.team.claims):
        set_flag(&step.team.begun.stalled)
        if member == 0:
            step_slice(step, 0, 1, False)
    else:
        step_slice(step, member, members, False)


cdef int team_of_steps(const Stack *stack, Py_ssize_t batch, int threads) noexcept nogil:
    """How many threads at most take the steps of a stack together."""
    cdef Py_ssize_t work = work_of_step(stack, batch)
    if not stack.reset_after:           # every unit's candidate would wait for the reset gates of all
        return 1
    return <int>max(min(<Py_ssize_t>threads, work // WORK_PER_MEMBER // stack.num_layers,
                        (tiles_of(&stack.layers[0]) + 1) // 2), 1)


cdef Py_ssize_t work_of_step(const Stack *stack, Py_ssize_t batch) noexcept nogil:
    """The multiply-adds of a step."""
    cdef Py_ssize_t work = 0, index
    for index in range(stack.num_layers):
        work += batch * 3 * stack.hidden_size * (stack.layers[index].inputs + stack.hidden_size)
    return work


cdef Py_ssize_t scratch_of_step(const Stack *stack, Py_ssize_t batch) noexcept nogil:
    """Floats of a member's scratch."""
    cdef Py_ssize_t size = 0, index
    for index in range(stack.num_layers):
        size = max(size, scratch_of(&stack.layers[index], batch))
    return (size + 15) // 16 * 16


cdef Py_ssize_t memory_of_step(const Stack *stack, Py_ssize_t batch, int members) noexcept nogil:
    """Bytes that `Step.memory` has; on a boundary of 64."""
    cdef Py_ssize_t floats = batch * 3 * stack.width * stack.words + members * scratch_of_step(stack, batch)
    return (floats * <Py_ssize_t>sizeof(float) + 2 * batch * members * <Py_ssize_t>sizeof(void *) + 63) // 64 * 64


cdef void take_step(Step *step) noexcept nogil:
    """One step of every layer, by one thread or by the team, from `h` into `h_next`."""
    cdef Team *team = step.team
    cdef double now
    cdef bint together = False
    cdef bint overlapping = step.y != NULL and (
        step.x < step.y + step.batch * step.stack.hidden_size * step.stack.words
        and step.y < step.x + step.batch * step.stack.input_size * step.stack.words)
    if team.members > 1 and not overlapping:
        now = seconds_now()
        together = now - team.last_step < AWAKE and enter_team()
    if together:
        memset(&team.claims, 0, sizeof(Claims))
        team.begun.members = team.layer_done.members = team.members
        team.begun.stalled = team.layer_done.stalled = False
        in_parallel(team.members, member_of_step, step)
        leave_team(team.begun.stalled or team.layer_done.stalled)
    else:
        step_slice(step, 0, 1, overlapping)
    if team.members > 1:
        team.last_step = seconds_now()


cdef void step_slice(const Step *step, int member, int members, bint overlapping) noexcept nogil:
    """A slice of the units of every layer; each layer's input is the state the layer below has just made.

    Where x and y overlap, all of x is read before anything is written. Sizes are in floats.
    """
    cdef Layer layer
    cdef const Layer *it
    cdef const Stack *stack = step.stack
    cdef Py_ssize_t i, index, batch = step.batch, words = stack.words, width = stack.width * words, size = batch * width
    cdef float *xp = <float *>step.memory
    cdef float *scratch = xp + 3 * size
    cdef Py_ssize_t scratch_size = scratch_of_step(stack, batch)
    cdef const float **x_rows = <const float **>(scratch + step.team.members * scratch_size) + 2 * member * batch
    cdef float **y_rows = <float **>(x_rows + batch)
    cdef float **last_rows = NULL
    cdef unsigned int mode = stack.kernels.begin_work(stack.tiled)
    scratch += member * scratch_size
    if step.y != NULL:
        last_rows = y_rows
        for i in range(batch):
            y_rows[i] = step.y + i * stack.hidden_size * words
    for index in range(stack.num_layers):
        it = &stack.layers[index]
        if members > 1 or step.watch != NULL:
            layer = slice_of(it, stack.kernels.vector_length, member, members)
            layer.watch = step.watch
            it = &layer
        for i in range(batch):
            if index == 0:
                x_rows[i] = step.x + i * stack.input_size * words
            else:
                x_rows[i] = step.h_next + (index - 1) * size + i * width
        xp = <float *>step.memory + batch * 3 * it.first * stack.kernels.vector_length * words
        if overlapping:
            project_rows(stack.kernels, it, batch, x_rows, xp, scratch)
        step_rows(
            stack.kernels, it, batch, NULL if overlapping else x_rows, step.h + index * size, step.h_next + index * size,
            xp, NULL, last_rows if index == stack.num_layers - 1 else NULL, scratch, step.backward)
        if members > 1:
            meet(&step.team.layer_done)
    stack.kernels.end_work(stack.tiled, mode)
