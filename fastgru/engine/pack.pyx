"""Weights into the order the kernels read them: ``[block of VL units][k][gate][VL]``, 64-byte aligned.

This is the only file that knows the order. Units are padded with zeros to whole blocks, unless the three gates of those
beyond the last whole block fit one or two vectors: then these follow the block's own three, one gate after the other
(`last_vectors`). So 50 units take 10 of 12 vectors of 16. Inputs are not padded, but

* two bfloat16 of successive inputs share 32 bits, the first in the lower half, so the last may have a zero above it;
* four int8 of successive inputs share 32 bits, the first in the lowest byte; and a block begins with two more rows
  (gate, VL): what its sums start from, and the scale of each unit's weights;
* both are padded with zeros to whole tiles where kernels multiply in tile registers.
"""

import numpy as np

cimport numpy as cnp
from cpython.ref cimport Py_INCREF

from fastgru.errors import ShapeError

cnp.import_array()

# Bytes. Packed weights off this boundary cost a batch-1 step 40 % (51 against 84 GFLOP/s).
cdef enum:
    ALIGNMENT = 64


cdef cnp.ndarray aligned_array(int ndim, cnp.npy_intp *shape):
    """An uninitialised float32 array that starts on a 64-byte boundary; it owns its memory through its base."""
    cdef cnp.npy_intp padded = ALIGNMENT // 4
    cdef double numbers = 1
    cdef cnp.ndarray memory, array
    cdef char *data
    cdef int axis
    for axis in range(ndim):
        numbers *= <double>shape[axis]
    if not 0 <= numbers <= 1e17:
        raise ShapeError(f"memory: got {numbers:.0f} numbers, wanted at least none and at most what fits a memory")
    padded += <cnp.npy_intp>numbers
    memory = cnp.PyArray_EMPTY(1, &padded, cnp.NPY_FLOAT, 0)
    data = cnp.PyArray_BYTES(memory)
    data += (ALIGNMENT - <size_t>data % ALIGNMENT) % ALIGNMENT
    array = cnp.PyArray_SimpleNewFromData(ndim, shape, cnp.NPY_FLOAT, data)
    Py_INCREF(memory)                   # a reference for the array to own
    cnp.PyArray_SetBaseObject(array, memory)
    return array


cpdef cnp.ndarray aligned_empty(Py_ssize_t size):
    """An uninitialised float32 array of ``size`` numbers that starts on a 64-byte boundary."""
    cdef cnp.npy_intp shape = size
    return aligned_array(1, &shape)


ctypedef fused Element:
    float
    unsigned short


def last_vectors(Py_ssize_t units, int vector_length):
    """The vectors of the last tile of a GRU's three gates if that has more than one block of them; otherwise 0."""
    cdef Py_ssize_t whole = units // vector_length, beyond = units % vector_length
    cdef Py_ssize_t vectors = (3 * beyond + vector_length - 1) // vector_length
    return 3 + vectors if whole and 0 < vectors < 3 else 0


def pack_matrix(const Element[:, ::1] rows not None, int gates, int vector_length, int last=0):
    """Pack ``rows``, (gates * units, inputs), to (blocks, inputs, gates, vector_length), flat, as float32.

    Unit u of gate g is row ``g * units + u``; it becomes lane ``u % vector_length`` of block ``u // vector_length``.
    With ``last`` from ``last_vectors`` the last two blocks are (inputs, last, vector_length).
    """
    if gates < 1 or vector_length < 1 or rows.shape[0] % gates:
        raise ShapeError(f"packing: got {rows.shape[0]} rows for {gates} gates and vectors of {vector_length}")
    cdef Py_ssize_t units = rows.shape[0] // gates, inputs = rows.shape[1]
    cdef Py_ssize_t blocks = (units + vector_length - 1) // vector_length - (2 if last else 0)
    cdef Py_ssize_t plain = blocks * inputs * gates * vector_length, size = plain + inputs * last * vector_length
    packed = aligned_empty((size * <Py_ssize_t>sizeof(Element) + 3) // 4)
    elements = packed if Element is float else packed.view(np.uint16)[:size]
    cdef Element[:, :, :, ::1] to = elements[:plain].reshape(blocks, inputs, gates, vector_length)
    cdef Element[:, ::1] end = elements[plain:].reshape(inputs if last else 0, last * vector_length)
    cdef Py_ssize_t block, k, g, lane, unit, beyond = units % vector_length
    with nogil:
        for lane in range(last * vector_length):
            g, unit = lane // vector_length, blocks * vector_length + lane % vector_length
            if g >= 3:
                g = (lane - 3 * vector_length) // beyond
                unit = units - beyond + (lane - 3 * vector_length) % beyond
            for k in range(inputs):
                end[k, lane] = rows[g * units + unit, k] if g < 3 else 0
        for block in range(blocks):
            for g in range(gates):
                for lane in range(vector_length):
                    unit = block * vector_length + lane
                    if unit < units:
                        for k in range(inputs):
                            to[block, k, g, lane] = rows[g * units + unit, k]
                    else:
                        for k in range(inputs):
                            to[block, k, g, lane] = 0
    return packed


def pack_weights(weights, scales, int gates, int vector_length, int input_zero, int tile_words=1, int last=0):
    """Pack what ``reduced.reduce`` made of a matrix.

    Parameters
    ----------
    weights : (gates * units, inputs) float32, float16, uint16 (the bits of bfloat16) or int8
    scales : (gates * units,) float32, of int8; otherwise None
    input_zero : int
        What kernels add to 8-bit inputs; the sums of int8 start from what that adds to them.
    tile_words : int
        To a multiple of which bfloat16 and int8 are padded, in 32 bits.
    last : int
        See ``pack_matrix``.
    """
    if weights.dtype == np.float16:
        rows = np.ascontiguousarray(weights).view(np.uint16)
    elif weights.dtype == np.uint16:
        rows = joined(weights, 2, tile_words)
    elif weights.dtype == np.int8:
        rows = joined(weights, 4, tile_words, 2)
        if input_zero:                  # with 32 bits sums of any length give the same bits as with more
            rows.view(np.int32)[:, 0] = -input_zero * weights.sum(axis=1, dtype=np.int32)
        rows[:, 1] = scales
    else:
        rows = weights
    return pack_matrix(rows, gates, vector_length, last)


cdef extern from *:
    """
    #include <stdlib.h>
    #if defined(__GLIBC__)
    #include <malloc.h>
    #define FASTGRU_RELEASE() malloc_trim(0)
    #else
    #define FASTGRU_RELEASE() ((void)0)
    #endif
    """
    void release "FASTGRU_RELEASE" () nogil


def release_freed():
    """Give memory that was freed back to the system where the C library keeps it, as glibc does: up to 32 MB a piece."""
    with nogil:
        release()


def unpack_matrix(const Element[::1] packed not None, Element[:, ::1] rows not None, int gates, int vector_length,
                  int last=0):
    """Fill ``rows``, (gates * units, inputs), with what ``pack_matrix`` was given; ``packed`` are its numbers, flat."""
    if gates < 1 or vector_length < 1 or rows.shape[0] % gates:
        raise ShapeError(f"packing: got {rows.shape[0]} rows for {gates} gates and vectors of {vector_length}")
    cdef Py_ssize_t units = rows.shape[0] // gates, inputs = rows.shape[1]
    cdef Py_ssize_t plain = (units + vector_length - 1) // vector_length - (2 if last else 0)
    cdef Py_ssize_t k, g, row, unit, lane, apart, first, beyond = units % vector_length
    if packed.shape[0] != (plain * gates + last) * inputs * vector_length:
        raise ShapeError(f"packing: got {packed.shape[0]} numbers for {rows.shape[0]} rows of {inputs}")
    with nogil:
        for row in range(gates * units):
            g, unit, apart = row // units, row % units, gates * vector_length
            first = min(unit // vector_length, plain) * inputs * apart
            lane = g * vector_length + unit % vector_length
            if unit >= plain * vector_length:
                apart = last * vector_length
            if last and unit >= units - beyond:
                lane = 3 * vector_length + g * beyond + unit % vector_length
            for k in range(inputs):
                rows[row, k] = packed[first + k * apart + lane]


def unpack_weights(packed, str kind, int rows, int inputs, int gates, int vector_length, int tile_words=1,
                   int last=0):
    """What ``pack_weights`` was given for a matrix (rows, inputs): weights of a kind, and their scales or None.

    ``packed`` are the whole numbers, halves or floats as they lie in memory, in one array of float32.
    """
    if kind in ("float32", "float16"):
        weights = np.empty((rows, inputs), np.float32 if kind == "float32" else np.uint16)
        blocks = (rows // gates + vector_length - 1) // vector_length
        size = ((blocks - 2) * gates + last if last else blocks * gates) * vector_length * inputs
        unpack_matrix(packed.reshape(-1).view(weights.dtype)[:size], weights, gates, vector_length, last)
        return weights if kind == "float32" else weights.view(np.float16), None
    count, first = (4, 2) if kind == "int8" else (2, 0)
    words = np.empty((rows, first + -(-inputs // (count * tile_words)) * tile_words), np.float32)
    unpack_matrix(packed.reshape(-1), words, gates, vector_length, last)
    weights = np.ascontiguousarray(words[:, first:]).view(np.uint16 if count == 2 else np.int8)
    return np.ascontiguousarray(weights[:, :inputs]), np.ascontiguousarray(words[:, 1]) if first else None


def joined(weights, int count, int words, int before=0):
    """Every ``count`` numbers of a row in the 32 bits of a float32, the first lowest; zeros up to whole ``words``.

    They begin after ``before`` words of zeros.
    """
    rows, inputs = weights.shape
    size = (before + -(-inputs // (count * words)) * words) * count
    padded = np.zeros((rows, size), dtype=weights.dtype.newbyteorder("<"))
    padded[:, before * count : before * count + inputs] = weights
    return padded.view(np.float32)


def pack_vector(vector, int gates, int vector_length, int last=0):
    """Pack ``vector``, (gates * units,), to (blocks, gates, vector_length), flat; ``last`` as in ``pack_matrix``."""
    rows = np.ascontiguousarray(vector, dtype=np.float32).reshape(-1, 1)
    return pack_matrix(rows, gates, vector_length, last)


def as_given(rows):
    """What ``pack_columns`` makes of rows of float32."""
    return rows


def pack_columns(matrix, int vector_length, convert=as_given):
    """Pack ``matrix``, (outputs, words), so that a projection writes its outputs in plain order; flat, as float32.

    The projection kernel writes (blocks, 3, VL) for every row of its input. Taking output c as lane ``c % VL`` of
    gate ``c // VL % 3`` of block ``c // (3 VL)`` makes that the outputs in order. The last block has as many gates as
    are needed, and zeros to a whole vector. ``convert`` makes of some rows the words that are packed of them.
    """
    outputs, inputs = len(matrix), convert(matrix[:1]).shape[1]
    if vector_length < 1:
        raise ShapeError(f"packing: got vectors of {vector_length}")
    vectors = (outputs + vector_length - 1) // vector_length
    packed, first = aligned_empty(vectors * vector_length * inputs), 0
    while first < vectors:
        gates = min(3, vectors - first)
        rows = convert(matrix[first * vector_length : (first + gates) * vector_length])
        if len(rows) < gates * vector_length:
            rows = np.concatenate([rows, np.zeros((gates * vector_length - len(rows), inputs), np.float32)])
        block = pack_matrix(np.ascontiguousarray(rows, np.float32), gates, vector_length)
        packed[first * vector_length * inputs :][: block.size] = block
        first += gates
    return packed


def unpack_columns(packed, int outputs, int inputs, int vector_length):
    """What ``pack_columns`` was given: (outputs, inputs)."""
    vectors = (outputs + vector_length - 1) // vector_length
    rows, first = np.empty((vectors * vector_length, inputs), np.float32), 0
    while first < vectors:
        gates = min(3, vectors - first)
        part = packed[first * vector_length * inputs : (first + gates) * vector_length * inputs]
        unpack_matrix(part, rows[first * vector_length : (first + gates) * vector_length], gates, vector_length)
        first += gates
    return rows[:outputs]
