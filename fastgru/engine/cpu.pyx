"""Which instruction sets this processor runs, best first, and how the engine was built. ``dispatch`` chooses."""

include "built.pxi"  # setup.py writes it: NO_VECTORS, why there are none; LEFT_OUT, why levels are missing

cdef extern from "cpu.h":
    const char *COMPILER
    bint runs_avx2()
    bint runs_avx2_vnni()
    bint runs_avx512()
    bint runs_avx512_vnni()
    bint runs_avx512_bf16()
    bint runs_neon()
    bint runs_neon_dotprod()
    bint runs_amx()


def runnable():
    """The names of the kernel levels that this processor runs, best first; ``baseline`` is always the last."""
    levels = []
    if runs_amx():
        levels.append("amx")
    if runs_avx512_bf16():
        levels.append("avx512_bf16")
    if runs_avx512_vnni():
        levels.append("avx512_vnni")
    if runs_avx512():
        levels.append("avx512")
    if runs_avx2_vnni():
        levels.append("avx2_vnni")
    if runs_avx2():
        levels.append("avx2")
    if runs_neon_dotprod():
        levels.append("neon_dotprod")
    if runs_neon():
        levels.append("neon")
    return (*levels, "baseline")


COMPILED_BY = COMPILER.decode(errors="replace")
