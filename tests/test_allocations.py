"""Promise: steps and runs whose results have a place allocate no memory, as the C library counts it."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest
from networks import run_python

COMPILER = shutil.which("cc") or shutil.which("gcc")
COUNTER = """
#include <stddef.h>
long allocations;
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *malloc(size_t size) { __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED); return __libc_malloc(size); }
void *calloc(size_t count, size_t size)
{
    __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
    return __libc_calloc(count, size);
}
void *realloc(void *memory, size_t size)
{
    __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
    return __libc_realloc(memory, size);
}
"""
# What steps allocate they allocate in each of the three rounds. In one of them Python itself may need more room for the
# numbers of this loop: its table of arenas doubles then (one realloc of 1,536 bytes; seen in 2 of 640 processes).
CODE = """
import ctypes, sys
import numpy as np
sys.path.insert(0, {tests!r})
import fastgru
from networks import network
from test_interrupt import whole_model

allocations = ctypes.c_long.in_dll(ctypes.CDLL(None), "allocations")
assert allocations.value > 1000

def check(what, step):
    for _ in range(20):
        step()
    counted = []
    for _ in range(3):
        before = allocations.value
        for _ in range(200):
            step()
        counted.append(allocations.value - before)
    print(what, min(counted))

def floats(*shape):
    return np.ones(shape, np.float32)

model, gru = whole_model(n_threads=1), fastgru.GRU(network(64, 96), n_threads=1)
for batch in (1, 16):
    stream = model.stream(batch)
    x, xs, y, ys = floats(batch, 64), floats(batch, 5, 64), floats(batch, 96), floats(batch, 5, 96)
    check("step", lambda: stream.step(x, out=y))
    check("run", lambda: stream.run(xs, out=ys))
    one = gru.stream(batch)
    check("gru", lambda: one.step(x, out=y))
    pool = model.pool(100)
    ids = pool.join(batch)
    check("pool", lambda: pool.step(ids, x, out=y))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="counts what glibc allocates")
@pytest.mark.skipif(COMPILER is None, reason="the counter has to be compiled")
def test_steps_and_runs_with_a_place_for_results_allocate_nothing(tmp_path: Path) -> None:
    source, library = tmp_path / "counter.c", tmp_path / "counter.so"
    source.write_text(COUNTER)
    subprocess.run([str(COMPILER), "-O1", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    result = run_python(CODE.format(tests=str(Path(__file__).parent)), LD_PRELOAD=str(library))
    lines = result.stdout.split("\n")
    assert len(lines) == 9, result.stderr
    assert all(line.endswith(" 0") for line in lines[:8]), result.stdout
