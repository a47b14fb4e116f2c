# The kernels compiled for avx512.
include "kernels.pxi"
table.name = b"avx512"
