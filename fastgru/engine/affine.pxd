# A packed dense layer, for the compiled modules of this folder.

from fastgru.engine.kernels cimport Layer
from fastgru.engine.plan cimport KernelTable

cdef class Affine:
    cdef KernelTable owner
    cdef Layer layer
    cdef list memory            # the arrays that own the packed weights
    cdef readonly Py_ssize_t inputs, outputs
