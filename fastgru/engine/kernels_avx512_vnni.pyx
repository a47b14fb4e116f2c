# The kernels compiled for avx512_vnni.
include "kernels.pxi"
table.name = b"avx512_vnni"
