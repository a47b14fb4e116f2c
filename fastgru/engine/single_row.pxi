# The loop that runs one row of a sequence through a packed layer. Part of plan.pyx.

cdef enum:
    TURNS_OF_A_LOOK = 16        # of a few steps each, 15 ms at most; a look at the clock at every turn took 2 % of 32 units'

cdef void run_one(const Stack *stack, const Call *call, Workspace space, Member member, const Layer *layer,
                  int direction, const float *source, float *target) noexcept nogil:
    """`run_direction` for a single row: while it steps through a few steps, the next few are projected.

    The first ones have to be projected before. Two thirds of what comes later are enough: stepping through them takes
    as long as projecting the next (2 % of 100 steps with 128 units).
    """
    cdef Py_ssize_t row = call.rows[call.first], length = call.lengths[call.first]
    cdef Py_ssize_t output = stack.directions * <Py_ssize_t>layer.hidden, begin = 0, end, t, i, at, turn = 0
    cdef Py_ssize_t projected_width = 3 * <Py_ssize_t>layer.blocks * stack.kernels.vector_length
    cdef Py_ssize_t group = lookahead_steps(stack.kernels, layer)
    cdef float *h = space.h
    cdef float *h_next = space.h + stack.width
    cdef float *swap
    cdef float *y = NULL
    cdef float *xp = space.xp
    cdef const KindKernels *kernels = &stack.kernels.kinds[layer.kind]
    cdef Lookahead ahead
    ahead.xp = space.xp + group * projected_width
    ahead.sums = space.xp + 2 * group * 3 * stack.width
    ahead.scratch = space.scratch
    ahead.x = space.x_rows
    end = max(2 * group // 3, 1)
    for i in range(end):
        at = row * call.steps + (length - 1 - i if direction else i)
        space.x_rows[i] = source + at * layer.inputs
    project_rows(stack.kernels, layer, end, space.x_rows, xp, space.scratch)
    while begin < length:
        if turn % TURNS_OF_A_LOOK == 0 and is_over(call, &member):
            return
        turn += 1
        ahead.block = layer.blocks
        if end < length:
            for i in range(group):      # beyond the end the last step again, and nobody reads it
                t = min(end + i, length - 1)
                at = row * call.steps + (length - 1 - t if direction else t)
                space.x_rows[i] = source + at * layer.inputs
            kernels.begin_lookahead(layer, &ahead, NULL)
        for t in range(begin, min(end, length)):
            at = row * call.steps + (length - 1 - t if direction else t)
            if target != NULL:
                y = target + at * output + direction * layer.hidden
            kernels.step_lookahead(layer, h, h_next, xp + (t - begin) * projected_width, y, t & 1, &ahead, NULL)
            meet(member.step_done)
            swap = h
            h = h_next
            h_next = swap
        kernels.finish_lookahead(layer, &ahead, NULL)
        swap = xp
        xp = ahead.xp
        ahead.xp = swap
        begin = end
        end += group
