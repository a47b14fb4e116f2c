# The kernels compiled for baseline.
include "kernels.pxi"
table.name = b"baseline"
