"""The engine's main cases, timed by pytest-benchmark, to see whether a change made something slower.

    pip install -e ".[benchmark]"
    git switch --detach OLD && pip install -e . && pytest benchmarks/regressions --benchmark-save=old
    git switch -            && pip install -e . && pytest benchmarks/regressions --benchmark-compare=0001

Times are kept in ``.benchmarks``, numbered from 0001; ``--benchmark-compare-fail=median:10%`` makes a slower median an
error. Compare only runs of one quiet machine. ``--benchmark-disable`` runs every case once and times nothing, which is
what continuous integration does. Every result is checked before it is timed; all runs have one thread.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastgru
from fastgru import reference
from fastgru.bench.cases import random_gru, random_lengths
from fastgru.bench.measure import tolerance
from fastgru.bench.peers import OWN

STEPS = 100
TOLERANCE = 2e-6  # of sequences: what the tests of the engine ask for float32


@pytest.fixture
def random():
    return np.random.default_rng(0)


def check(y, h, spec, x, lengths=None, most=TOLERANCE):
    wanted_y, wanted_h = reference.gru(spec, x, lengths=lengths)
    assert np.abs(y - wanted_y).max() <= most and np.abs(h - wanted_h).max() <= most


@pytest.mark.parametrize("batch", [1, 64])
@pytest.mark.parametrize("hidden", [32, 128, 256])
def test_step(benchmark, random, hidden, batch):
    gru = fastgru.GRU(random_gru(hidden, hidden), n_threads=1)
    x = random.standard_normal((batch, hidden), np.float32)
    stream, out = gru.stream(batch), np.empty((batch, hidden), np.float32)
    stream.step(x, out)
    check(out[:, None], stream.state, gru.spec, x[:, None])
    benchmark(stream.step, x, out)


@pytest.mark.parametrize(("batch", "hidden"), [(1, 32), (1, 128), (1, 256), (1, 512), (8, 128), (32, 128), (32, 256)])
def test_sequence(benchmark, random, batch, hidden):
    gru = fastgru.GRU(random_gru(hidden, hidden), n_threads=1)
    x = random.standard_normal((batch, STEPS, hidden), np.float32)
    check(*gru(x), gru.spec, x)
    benchmark(gru, x)


@pytest.mark.parametrize("batch", [1, 32])
@pytest.mark.parametrize("precision", ["float16", "bfloat16", "int8"])
def test_precision(benchmark, random, precision, batch):
    spec = random_gru(512, 512)
    gru = fastgru.GRU(spec, precision=precision, n_threads=1)
    x = random.standard_normal((batch, STEPS, 512), np.float32)
    check(*gru(x), spec, x, most=tolerance(spec, OWN[precision]))
    benchmark(gru, x)


@pytest.mark.parametrize(("batch", "hidden"), [(32, 128), (64, 256)])
def test_ragged(benchmark, random, batch, hidden):
    gru = fastgru.GRU(random_gru(hidden, hidden), n_threads=1)
    x, lengths = random.standard_normal((batch, STEPS, hidden), np.float32), random_lengths(batch, STEPS)
    check(*gru(x, lengths=lengths), gru.spec, x, lengths)
    benchmark(gru, x, lengths=lengths)


@pytest.mark.parametrize("backend", ["packed", "blas"])
def test_first_call_of_new_weights(benchmark, random, backend):
    spec, x = random_gru(128, 128), random.standard_normal((1, 1, 128), np.float32)

    def first():
        return fastgru.GRU(spec, n_threads=1, backend=backend)(x)

    check(*first(), spec, x)
    benchmark(first)


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_load(benchmark, tmp_path, suffix):
    path = Path(fastgru.__file__).with_name("demo") / "digits.pt"
    layers = ["gru", fastgru.Last(), "fc"]
    model = fastgru.load(path, layers=layers)
    if suffix == "safetensors":
        path, layers = tmp_path / "digits.safetensors", None
        model.save(path)
    images = np.zeros((2, 8, 8), np.float32)
    assert np.array_equal(fastgru.load(path, layers=layers)(images), model(images))
    benchmark(fastgru.load, path, layers=layers)


@pytest.mark.parametrize("code", ["import numpy", "import fastgru"])
def test_import(benchmark, code):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def process():
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)

    benchmark.pedantic(process, rounds=21, warmup_rounds=1)
