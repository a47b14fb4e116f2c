# The kernels compiled for amx. No processor with AMX has run them yet: they are tested in emulation; see amx.h.
include "kernels.pxi"
table.name = b"amx"
