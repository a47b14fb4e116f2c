# Instructions that take rows of features by their addresses: products, convolutions, embeddings, GRUs. Part of program.pyx.


cdef inline void finish_rows(const Instruction *it, Py_ssize_t n, const float *wide, float *const *y) noexcept nogil:
    """Products of n rows to where they go, through the activation."""
    cdef Py_ssize_t i, width = it.layer.blocks * 3 * it.kernels.vector_length
    cdef bint together = True
    for i in range(n):
        memcpy(y[i], wide + i * width, it.length * sizeof(float))
        together = together and y[i] == y[0] + i * it.length
    if it.code and together:
        it.kernels.activate(it.code, n * it.length, y[0], y[0])
    elif it.code:
        for i in range(n):
            it.kernels.activate(it.code, it.length, y[i], y[i])


cdef int run_linear(const Instruction *it, Frame *frame) noexcept nogil:
    """out[row] = activation(x[row] W + b)"""
    cdef char *p[MAX_OPERANDS]
    cdef Py_ssize_t index[MAX_RANK]
    cdef const float *x[ROWS]
    cdef float *y[ROWS]
    cdef float *wide = <float *>frame.scratch
    cdef float *converted = wide + ROWS * it.layer.blocks * 3 * it.kernels.vector_length
    cdef Py_ssize_t n, turns = 0
    cdef bint more = True
    cdef unsigned int mode = it.kernels.begin_work(it.layer.tiled)
    memset(index, 0, sizeof(index))
    p[0], p[1] = address(it, frame, 0), address(it, frame, 1)
    while more:
        n = 0
        while more and n < ROWS:
            y[n], x[n] = <float *>p[0], <const float *>p[1]
            n += 1
            more = advance(it, it.rank, index, p)
        project_rows(it.kernels, it.layer, n, x, wide, converted)
        finish_rows(it, n, wide, y)
        turns += 1
        more = more and not (turns % BETWEEN_LOOKS == 0 and look(frame.watch))
    it.kernels.end_work(it.layer.tiled, mode)
    return 0


cdef inline const float *window_of(const Instruction *it, const char *x, Py_ssize_t window, float *room) noexcept nogil:
    """The places of a window one after the other: as they lie in the sequence if they do, otherwise in ``room``."""
    cdef Py_ssize_t size = it.numbers[0], dilation = it.numbers[2], places = it.numbers[4], inputs = it.numbers[6]
    cdef Py_ssize_t begin = window * it.numbers[1] - it.numbers[3], along = it.operands[1].along, k, place
    cdef bint inside = begin >= 0 and begin + (size - 1) * dilation < places
    if inside and (size == 1 or (dilation == 1 and along == inputs * <Py_ssize_t>sizeof(float))):
        return <const float *>(x + begin * along)
    for k in range(size):
        place = begin + k * dilation
        if 0 <= place < places:
            memcpy(room + k * inputs, x + place * along, inputs * sizeof(float))
        else:
            memset(room + k * inputs, 0, inputs * sizeof(float))
    return room


cdef int run_convolution(const Instruction *it, Frame *frame) noexcept nogil:
    """out[w] = activation(sum over k of x[w stride - before + k dilation] W_k + b), ROWS windows at a time"""
    cdef char *p[MAX_OPERANDS]
    cdef Py_ssize_t index[MAX_RANK]
    cdef const float *x[ROWS]
    cdef float *y[ROWS]
    cdef float *wide = <float *>frame.scratch
    cdef Py_ssize_t n = 0, window, taken = it.numbers[0] * it.numbers[6]
    cdef float *room = wide + it.numbers[7]         # for windows that do not lie as they are in the sequence
    cdef float *converted = room + (ROWS * taken + 15) // 16 * 16
    cdef bint more = True
    cdef unsigned int mode = it.kernels.begin_work(it.layer.tiled)
    memset(index, 0, sizeof(index))
    p[0], p[1] = address(it, frame, 0), address(it, frame, 1)
    while more:
        for window in range(it.numbers[5]):
            x[n] = window_of(it, p[1], window, room + n * taken)
            y[n] = <float *>(p[0] + window * it.operands[0].along)
            n += 1
            if n == ROWS:
                project_rows(it.kernels, it.layer, n, x, wide, converted)
                finish_rows(it, n, wide, y)
                n = 0
        more = advance(it, it.rank, index, p) and not look(frame.watch)
    if n:
        project_rows(it.kernels, it.layer, n, x, wide, converted)
        finish_rows(it, n, wide, y)
    it.kernels.end_work(it.layer.tiled, mode)
    return 0


cdef int run_embedding(const Instruction *it, Frame *frame) noexcept nogil:
    """out[i] = table[index[i]]; integers are looked at before the first is used, and again as they are: the caller's
    array may change meanwhile"""
    cdef char *p[MAX_OPERANDS]
    cdef Py_ssize_t index[MAX_RANK]
    cdef const char *table = address(it, frame, 2)
    cdef Py_ssize_t row = it.numbers[1] * <Py_ssize_t>sizeof(float)
    cdef long long least = 0, most = 0, number
    memset(index, 0, sizeof(index))
    p[0], p[1] = address(it, frame, 0), address(it, frame, 1)
    while True:
        number = (<const long long *>p[1])[0]
        least, most = min(least, number), max(most, number)
        if not advance(it, it.rank, index, p):
            break
    if least < 0 or most >= it.numbers[0]:
        frame.wrong = least if least < 0 else most
        return 1
    p[0], p[1] = address(it, frame, 0), address(it, frame, 1)
    while True:
        number = (<const volatile long long *>p[1])[0]
        if number < 0 or number >= it.numbers[0]:
            frame.wrong = number
            return 1
        memcpy(p[0], table + number * row, row)
        if not advance(it, it.rank, index, p):
            return 0


cdef int run_number(const Instruction *it, Frame *frame) noexcept nogil:
    """out = x, each of them looked at as it is written: the caller's array may change meanwhile"""
    cdef char *p[MAX_OPERANDS]
    cdef Py_ssize_t index[MAX_RANK]
    cdef long long number
    memset(index, 0, sizeof(index))
    p[0], p[1] = address(it, frame, 0), address(it, frame, 1)
    while True:
        number = (<const volatile long long *>p[1])[0]
        if number < 0 or number >= it.numbers[0]:
            frame.wrong = number
            return 1
        (<long long *>p[0])[0] = number
        if not advance(it, it.rank, index, p):
            return 0


cdef int run_gru(const Instruction *it, Frame *frame) noexcept nogil:
    """What ``Plan.run`` does, in memory of the arena."""
    cdef Call call
    cdef unsigned int mode
    cdef int came, wanted = 0
    memset(&call, 0, sizeof(call))
    call.batch, call.steps, call.watch = it.numbers[0], it.numbers[1], frame.watch
    call.h = <float *>address(it, frame, 0)
    if it.projected != NULL:
        call.numbers, call.projected = <const long long *>address(it, frame, 1), it.projected.rows
        mode = it.stack.kernels.begin_work(it.stack.tiled)
        make_rows(it.projected, call.numbers, call.batch * call.steps, frame.scratch)
        it.stack.kernels.end_work(it.stack.tiled, mode)
    else:
        call.x = <const float *>address(it, frame, 1)
    call.rows = <const Py_ssize_t *>address(it, frame, 2)
    call.lengths = <const Py_ssize_t *>address(it, frame, 3)
    if it.numbers[7]:
        call.y = <float *>address(it, frame, 5)
    if it.numbers[8]:
        call.between = <float *>address(it, frame, 6)
    if it.numbers[9]:
        call.h0 = <const float *>address(it, frame, 7)
    came = compute_in(it.stack, &call, <const Py_ssize_t *>address(it, frame, 4), <int>it.length, it.code,
                      frame.scratch, &wanted)
    if came < wanted:
        frame.missing, frame.wanted = wanted - came, wanted
    return 0


cdef int run_step(const Instruction *it, Frame *frame) noexcept nogil:
    """What ``run_gru`` does for one step in one direction, as a stream takes it."""
    cdef Step step
    cdef const Stack *stack = it.stack
    cdef Py_ssize_t row, rows = stack.num_layers * it.numbers[0], hidden = stack.hidden_size, width = stack.width
    cdef const float *h = <const float *>address(it, frame, 2)
    cdef float *h_next = <float *>address(it, frame, 0)
    cdef float *own = <float *>(frame.scratch + (ALIGNMENT - <size_t>frame.scratch % ALIGNMENT))
    step.stack, step.batch, step.team, step.backward = stack, it.numbers[0], it.team, False
    step.x, step.y, step.watch = <const float *>address(it, frame, 1), NULL, NULL
    step.h, step.h_next = own, own + rows * width
    step.memory = <char *>(own + (2 * rows * width + 15) // 16 * 16)
    if it.numbers[1] and width == hidden and (<size_t>h | <size_t>h_next) % ALIGNMENT == 0:
        step.h, step.h_next = h, h_next
        take_step(&step)
        return 0
    for row in range(rows):
        if it.numbers[1]:
            memcpy(own + row * width, h + row * hidden, hidden * sizeof(float))
            memset(own + row * width + hidden, 0, (width - hidden) * sizeof(float))
        else:
            memset(own + row * width, 0, width * sizeof(float))
    take_step(&step)
    for row in range(rows):
        memcpy(h_next + row * hidden, step.h_next + row * width, hidden * sizeof(float))
    return 0


cdef int check_plan(Plan plan) except -1:
    if not plan.is_instruction:
        raise ShapeError(f"program: a GRU of the kernels {plan.kernel_level}, which are no vectors'")
    return 0
