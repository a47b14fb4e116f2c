# Aligned arrays, for the compiled modules of this folder.

cimport numpy as cnp

cdef cnp.ndarray aligned_array(int ndim, cnp.npy_intp *shape)
cpdef cnp.ndarray aligned_empty(Py_ssize_t size)
