"""What a call of a whole model takes beside its kernels: its time over that of its products, GRUs and gathering.

    python benchmarks/over_kernels.py [--seconds S] [--json FILE]

The models are those of ``whole_models.py``, alone on one thread. A program says how long each of its instructions took,
and each one's lowest time counts, as does the call's. The last case is a dense layer of 3 inputs: what any call takes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from whole_models import BATCHES, MODELS, Example, traced_file

import fastgru
from fastgru.bench.machine import on_cores
from fastgru.graph.operations.convolution import Convolution
from fastgru.graph.operations.product import Embedding, Linear
from fastgru.graph.operations.recurrent import GRU

KERNELS = (Convolution, Embedding, GRU, Linear)
WORDS = 9000  # of the vocabularies, that texts are drawn from


def lowest(call: Callable[[], Any], seconds: float) -> float:
    """Seconds that a call took at least, after some others."""
    for _ in range(5):
        call()
    least, end = float("inf"), time.perf_counter() + seconds
    while (begun := time.perf_counter()) < end:
        call()
        least = min(least, time.perf_counter() - begun)
    return least


def of_instructions(model: fastgru.Model, x: np.ndarray, seconds: float) -> list[tuple[str, float]]:
    """By layer, the least that each instruction of the model's program took."""
    runner = model._runner
    stretch = runner.whole({runner.graph.inputs[0].name: x.shape})
    if stretch is None:
        raise SystemExit("over_kernels.py: a part of this model runs in NumPy")
    took: list[list[tuple[str, float]]] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not took:
        took.append([])
        stretch.program.run([x], runner.arenas, took[-1])
    return [(each[0][0], min(seconds for _, seconds in each)) for each in zip(*took, strict=True)]


def measured(name: str, example: Example, batch: int, seconds: float, folder: str) -> dict[str, Any]:
    shape = example.example(batch, example.steps)
    random = np.random.default_rng(0)
    if shape.dtype == torch.int64:
        x: np.ndarray = random.integers(0, WORDS, tuple(shape.shape))
    else:
        x = random.standard_normal(tuple(shape.shape), np.float32)
    model = fastgru.load(traced_file(name, Path(folder)), n_threads=1)
    assert isinstance(model, fastgru.Model)
    kernels = {node.name for node in model._runner.graph.nodes if isinstance(node.operation, KERNELS)}
    whole = lowest(lambda: model(x), seconds)
    inner = sum(least for layer, least in of_instructions(model, x, seconds) if layer in kernels)
    return {"case": f"{name}, batch {batch}", "whole_us": 1e6 * whole, "kernels_us": 1e6 * inner, "over": whole / inner}


def least_call(seconds: float) -> float:
    """Microseconds of a call with next to no work."""
    layers = fastgru.layers.sequential([("out", fastgru.layers.Dense(np.ones((2, 3), np.float32)))])
    model, x = fastgru.Model(layers, n_threads=1), np.ones((1, 1, 3), np.float32)
    return 1e6 * lowest(lambda: [model(x) for _ in range(100)], seconds) / 100


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each of two figures of a case (default: 1)")
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder, on_cores(1):
        rows = [
            measured(name, example, batch, arguments.seconds, folder)
            for name, example in MODELS.items()
            for batch in BATCHES
        ]
        least = least_call(arguments.seconds)
    for row in rows:
        print(f"{row['case']:16} {row['whole_us']:10.1f} us, kernels {row['kernels_us']:10.1f} us: {row['over']:.2f}")
    print(f"a dense layer of 3 inputs: {least:.2f} us")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"cases": rows, "least_call_us": least}, indent=1) + "\n")


if __name__ == "__main__":
    main()
