# The kernels compiled for avx2_vnni.
include "kernels.pxi"
table.name = b"avx2_vnni"
