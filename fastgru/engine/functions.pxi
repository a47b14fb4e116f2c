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


def along(str function, x):
    """Softmax, or one of its kind, over the last axis of a float32 array in C order: the numbers of a program."""
    cdef Py_ssize_t n = x.shape[x.ndim - 1], row, rows = x.size // n if n else 0
    cdef int code = ALONG.index(function)
    cdef char *given = floats_of(x, x.shape)
    made = np.empty(x.shape, np.float32)
    powers = np.empty(n)
    cdef char *out = floats_of(made, x.shape)
    cdef double *scratch = <double *>cnp.PyArray_DATA(powers)
    with nogil:
        for row in range(rows):
            softmax_row(code, n, out + row * n * 4, 4, given + row * n * 4, 4, scratch)
    return made


cdef char *floats_of(object array, tuple shape) except NULL:
    if (not cnp.PyArray_Check(array) or array.dtype is not _DTYPES["f"] or not cnp.PyArray_ISCARRAY_RO(array)
            or array.shape != shape):
        raise ShapeError(f"program: wanted float32 numbers of shape {shape} in C order")
    return <char *>cnp.PyArray_DATA(array)
