# Functions by their names: the loops of loops.h for a program, and what a program would compute, called alone.

cdef dict INNER = {(LOOPS[i].name.decode(), LOOPS[i].kinds.decode()): i for i in range(LOOP_COUNT)}


def has_loop(str name, str kinds):
    """Whether there is an elementwise function of a name for a result and operands of these kinds."""
    return (name, kinds) in INNER


def elementwise(str function, list arrays not None, double first=0, double second=0):
    """``function(*arrays)``, element by element, of float32 arrays of one shape in C order: the numbers of a program."""
    cdef char *p[MAX_OPERANDS]
    cdef Py_ssize_t strides[MAX_OPERANDS]
    cdef double options[2]
    cdef Py_ssize_t n
    cdef int place
    cdef Inner inner
    kinds = "f" * (len(arrays) + 1)
    if (function, kinds) not in INNER:
        raise ShapeError(f"program: there is no {function} of {kinds}")
    inner = LOOPS[<int>INNER[function, kinds]].inner
    options[0], options[1] = first, second
    made = np.empty(arrays[0].shape, np.float32)
    for place, array in enumerate([made, *arrays]):
        p[place], strides[place] = floats_of(array, made.shape), sizeof(float)
    n = made.size
    with nogil:
        inner(n, p, strides, options)
    return made


def along(KernelTable kernels not None, str function, x):
    """Softmax, or one of its kind, over the last axis of a float32 array in C order: the numbers of a program."""
    cdef Py_ssize_t n = places_of_rows(x), row, rows = x.size // n if n else 0
    cdef int code = ALONG.index(function)
    cdef const Kernels *table = kernels.table
    made, room = np.empty(x.shape, np.float32), np.empty(room_of_row(n))
    cdef float *given = <float *>floats_of(x, x.shape)
    cdef float *out = <float *>floats_of(made, x.shape)
    cdef double *scratch = <double *>cnp.PyArray_DATA(room)
    with nogil:
        for row in range(rows):
            table.softmax(code, n, given + row * n, out + row * n, scratch)
    return made


def normalize(KernelTable kernels not None, x, gamma, beta, double epsilon, bint rms):
    """A normalisation over the last axis of a float32 array in C order: the numbers of a program.

    ``gamma`` and ``beta`` are None, or float64: (n,), or as x.
    """
    cdef Py_ssize_t n = places_of_rows(x), row, rows = x.size // n if n else 0
    cdef const Kernels *table = kernels.table
    made, room = np.empty(x.shape, np.float32), np.empty(room_of_row(n))
    cdef float *given = <float *>floats_of(x, x.shape)
    cdef float *out = <float *>floats_of(made, x.shape)
    cdef double *scratch = <double *>cnp.PyArray_DATA(room)
    cdef const double *scales = weights_of_rows(gamma, x.shape)
    cdef const double *shifts = weights_of_rows(beta, x.shape)
    cdef Py_ssize_t scales_apart = n if scales != NULL and gamma.ndim > 1 else 0
    cdef Py_ssize_t shifts_apart = n if shifts != NULL and beta.ndim > 1 else 0
    with nogil:
        for row in range(rows):
            table.normalize(rms, epsilon, n, given + row * n, scales, shifts, out + row * n, scratch)
            if scales != NULL:
                scales += scales_apart
            if shifts != NULL:
                shifts += shifts_apart
    return made


cdef Py_ssize_t places_of_rows(object array) except -1:
    if not cnp.PyArray_Check(array) or array.ndim < 1:
        raise ShapeError("program: wanted an array of one axis or more")
    return array.shape[array.ndim - 1]


cdef const double *weights_of_rows(object array, tuple shape) except? NULL:
    cdef tuple row = shape[len(shape) - 1:]
    if array is None:
        return NULL
    if (not cnp.PyArray_Check(array) or cnp.PyArray_TYPE(array) != cnp.NPY_DOUBLE or not cnp.PyArray_ISCARRAY_RO(array)
            or array.shape not in (shape, row)):
        raise ShapeError(f"program: wanted float64 numbers of shape {shape} or {row} in C order")
    return <const double *>cnp.PyArray_DATA(array)


cdef char *floats_of(object array, tuple shape) except NULL:
    if (not cnp.PyArray_Check(array) or cnp.PyArray_TYPE(array) != cnp.NPY_FLOAT or not cnp.PyArray_ISCARRAY_RO(array)
            or array.shape != shape):
        raise ShapeError(f"program: wanted float32 numbers of shape {shape} in C order")
    return <char *>cnp.PyArray_DATA(array)
