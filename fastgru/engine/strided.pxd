# A part of a buffer, for the compiled modules of this folder.

cdef class Strided:
    cdef readonly object buffer, offset     # whole numbers of any size
    cdef readonly str kind
    cdef readonly tuple shape, strides
