# The kernels compiled for avx512_bf16.
include "kernels.pxi"
table.name = b"avx512_bf16"
