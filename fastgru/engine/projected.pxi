# Rows of a table as the first layer of a GRU projects them. Part of program.pyx.

cdef extern from *:
    """
    #if defined(__GNUC__)   /* Python's threads come here whether the engine has its own or not */
    #include <unistd.h>
    #define FASTGRU_IS_MADE(flag) __atomic_load_n(flag, __ATOMIC_ACQUIRE)
    #define FASTGRU_SET_MADE(flag) __atomic_store_n(flag, 1, __ATOMIC_RELEASE)

    /* Only while rows are copied. Who has it is a process, since a forked child has not the thread that had it. */
    static inline void fastgru_take_rows(int *owner)
    {
        const int own = (int)getpid();
        int found = 0;
        while (!__atomic_compare_exchange_n(owner, &found, own, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
            if (found != own) continue; /* what the parent's thread left is taken over */
            found = 0;
    #if FASTGRU_THREADS
            sched_yield();
    #endif
        }
    }
    static inline void fastgru_give_rows(int *owner) { __atomic_store_n(owner, 0, __ATOMIC_RELEASE); }
    #else
    #include <intrin.h>
    #define FASTGRU_IS_MADE(flag) (*(const volatile unsigned char *)(flag))
    #define FASTGRU_SET_MADE(flag) (*(volatile unsigned char *)(flag) = 1)
    static void fastgru_take_rows(int *owner)
    {
        while (_InterlockedCompareExchange((volatile long *)owner, 1, 0) != 0) continue;
    }
    static void fastgru_give_rows(int *owner) { _InterlockedExchange((volatile long *)owner, 0); }
    #endif
    """
    bint is_made "FASTGRU_IS_MADE" (const unsigned char *flag) nogil
    void set_made "FASTGRU_SET_MADE" (unsigned char *flag) nogil
    void take_rows "fastgru_take_rows" (int *owner) nogil
    void give_rows "fastgru_give_rows" (int *owner) nogil


cdef struct Projected:
    const Stack *stack
    const float *table          # (numbers, inputs)
    float *rows                 # (numbers, directions, 3 * width)
    unsigned char *made         # (numbers,): whether the rows of a number are there, and stay as they are
    int *owner                  # the process of the thread that writes rows, or 0
    Py_ssize_t row              # directions * 3 * width


cdef class ProjectedRows:
    """``table[number] W_ih + b_ih`` for every direction of a stack's first layer, made when a number is first met.

    An Embedding before a GRU multiplies the same few rows again and again. Memory that no number has come to is not
    touched, and takes none of the machine's. Two calls that meet a number at the same time both make its rows; one at a
    time copies them, and none once they are there.

    Parameters
    ----------
    plan : Plan
    table : (numbers, inputs) float32, C-contiguous
    """

    cdef Projected projected
    cdef public int owner       # of `projected`
    cdef char *memory
    cdef Plan plan
    cdef readonly cnp.ndarray table

    def __cinit__(self, Plan plan not None, cnp.ndarray table not None):
        cdef Py_ssize_t numbers, row = plan.stack.directions * 3 * plan.stack.width
        if table.ndim != 2 or table.shape[1] != plan.stack.input_size or table.dtype is not _DTYPES["f"] or (
                not cnp.PyArray_ISCARRAY_RO(table)):
            raise ShapeError(f"a table of {table.dtype} {np.shape(table)} for a GRU of {plan.stack.input_size} inputs")
        self.plan, self.table, numbers = plan, table, table.shape[0]
        if numbers < 1 or numbers >= (1 << 46) // row:
            raise MemoryError(f"{numbers} projected rows")
        self.memory = <char *>malloc(numbers * row * sizeof(float) + ALIGNMENT)
        self.projected.made = <unsigned char *>calloc(numbers, 1)
        if self.memory == NULL or self.projected.made == NULL:
            raise MemoryError(f"{numbers} projected rows")
        self.projected.rows = <float *>(self.memory + (ALIGNMENT - <size_t>self.memory % ALIGNMENT))
        self.projected.table = <const float *>cnp.PyArray_DATA(table)
        self.projected.stack, self.projected.row, self.projected.owner = &plan.stack, row, &self.owner

    def __dealloc__(self):
        free(self.memory)
        free(self.projected.made)

    @property
    def nbytes(self):
        """Of the rows that were made so far."""
        cdef Py_ssize_t number, count = 0
        for number in range(self.table.shape[0]):
            count += is_made(self.projected.made + number)
        return count * self.projected.row * sizeof(float)


cdef Py_ssize_t memory_of_projection(const Stack *stack) noexcept nogil:
    """Bytes that ``make_rows`` takes."""
    cdef Py_ssize_t size = ROWS * 3 * stack.width, direction, scratch = 0
    for direction in range(stack.directions):
        scratch = max(scratch, scratch_of(&stack.layers[direction], ROWS))
    return (size + scratch) * <Py_ssize_t>sizeof(float) + ALIGNMENT


cdef void make_rows(const Projected *it, const long long *numbers, Py_ssize_t count, char *memory) noexcept nogil:
    """The rows of all of these numbers that are not there yet."""
    cdef const float *x[ROWS]
    cdef long long missing[ROWS]
    cdef float *xp = <float *>(memory + (ALIGNMENT - <size_t>memory % ALIGNMENT))
    cdef Py_ssize_t width = 3 * it.stack.width, inputs = it.stack.input_size, n = 0, i, k
    cdef int direction
    for i in range(count):
        if not is_made(it.made + numbers[i]) and (n == 0 or missing[n - 1] != numbers[i]):
            missing[n] = numbers[i]
            x[n] = it.table + numbers[i] * inputs
            n += 1
        if n < ROWS and (n == 0 or i < count - 1):
            continue
        for direction in range(it.stack.directions):
            project_rows(it.stack.kernels, &it.stack.layers[direction], n, x, xp, xp + ROWS * width)
            take_rows(it.owner)
            for k in range(n):
                if not is_made(it.made + missing[k]):
                    memcpy(it.rows + missing[k] * it.row + direction * width, xp + k * width, width * sizeof(float))
                    if direction == it.stack.directions - 1:
                        set_made(it.made + missing[k])
            give_rows(it.owner)
        n = 0
