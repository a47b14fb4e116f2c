# The kernels compiled for neon_dotprod.
include "kernels.pxi"
table.name = b"neon_dotprod"
