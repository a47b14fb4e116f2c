# The kernels compiled for neon.
include "kernels.pxi"
table.name = b"neon"
