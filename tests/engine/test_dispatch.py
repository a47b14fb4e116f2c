"""Promise: the kernels are the best this processor runs or those asked for, never others in silence; imports are light.

Every test starts a fresh interpreter, because a process chooses once.
"""

from __future__ import annotations

import numpy as np
import pytest
from networks import LEVELS, run_python

from fastgru.engine import cpu, dispatch

RUN = """
import numpy as np, fastgru
from fastgru.engine import dispatch
gru = fastgru.from_torch({"weight_ih_l0": np.full((6, 3), .1, "f4"), "weight_hh_l0": np.full((6, 2), .2, "f4")})
print(dispatch.chosen(), gru._plan.kernel_level, gru.stream().step(np.ones(3)).tolist())
"""


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_can_be_forced(level):
    result = run_python(RUN, FASTGRU_ISA=level)
    assert result.returncode == 0, result.stderr
    chosen, used, *numbers = result.stdout.split()
    assert chosen == level and used in (level, "blas")
    z = 1 / (1 + np.exp(-0.3))
    assert float(numbers[0].strip("[,")) == pytest.approx((1 - z) * np.tanh(0.3), abs=1e-6)


def test_without_a_wish_the_best_level_is_taken():
    for value in ({}, {"FASTGRU_ISA": ""}):
        tried = [level for level in LEVELS if level not in dispatch.UNTRIED]
        assert run_python(RUN, **value).stdout.split()[0] == tried[0]


def test_the_levels_are_known_and_end_with_the_baseline():
    assert set(LEVELS) <= set(dispatch.LEVELS)
    assert cpu.runnable()[-1] == LEVELS[-1] == "baseline"


@pytest.mark.parametrize("level", ["avx", "AVX2", "sse9", "avx2 ", "../avx2", "os"])
def test_an_unknown_level_is_an_import_error(level):
    result = run_python(RUN, FASTGRU_ISA=level)
    assert result.returncode == 1
    assert f"ImportError: FASTGRU_ISA={level!r} is not a kernel level" in result.stderr
    assert all(known in result.stderr for known in dispatch.LEVELS)


def test_a_level_of_another_processor_is_an_import_error():
    foreign = next(level for level in ("neon", "avx2") if level not in cpu.runnable())
    result = run_python(RUN, FASTGRU_ISA=foreign)
    assert result.returncode == 1
    assert f"ImportError: FASTGRU_ISA={foreign!r}: this processor does not run it" in result.stderr
    assert ", ".join(LEVELS) in result.stderr


def test_a_level_that_was_not_built_is_an_import_error():
    hide = """
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name.endswith("kernels_baseline") else find(name, *rest)
"""
    result = run_python(hide + RUN, FASTGRU_ISA="baseline")
    assert result.returncode == 1
    assert "ImportError: FASTGRU_ISA='baseline': it was not built" in result.stderr


def test_importing_loads_nothing_heavy():
    code = """
import sys, fastgru
heavy = "scipy h5py safetensors torch keras tensorflow onnx threadpoolctl rich matplotlib".split()
print([name for name in heavy if name in sys.modules])
"""
    result = run_python(code)
    assert result.stdout.strip() == "[]", result.stderr


def test_a_packed_network_runs_without_scipy():
    code = RUN + "import sys; print('scipy' in sys.modules, 'threadpoolctl' in sys.modules)"
    result = run_python(code, FASTGRU_ISA=LEVELS[0])
    wanted = "False False" if LEVELS[0] != "baseline" else "True True"
    assert result.stdout.strip().endswith(wanted), result.stderr


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "two", " 2", "1e1", "1025", "0x2", "9" * 5000])
def test_a_bad_number_of_threads_is_refused_with_the_words(value):
    code = RUN + "gru(np.zeros((4, 5, 3)))"
    result = run_python(code, FASTGRU_NUM_THREADS=value)
    assert result.returncode == 1
    assert "ShapeError: FASTGRU_NUM_THREADS=" in result.stderr and "wanted a whole number from 1" in result.stderr


@pytest.mark.parametrize(("value", "used"), [("1", 1), ("2", 2), ("3", 3), ("", 1)])
def test_the_number_of_threads_comes_from_the_environment(value, used):
    code = "from fastgru import threads; threads.available = lambda: 8;"
    code += "print(threads.threads_for(None, 8, 100), threads.threads_for(2, 8, 100))"
    result = run_python(code, FASTGRU_NUM_THREADS=value)
    assert result.stdout.split() == [str(used), "2"], result.stderr
