"""``map`` of sequences of unequal length beside the other ways to run them.

    python benchmarks/ragged.py [--runs N]

The model is a GRU of 64 inputs and 128 units and a layer of 10 classes for every step, the 500 sequences have lengths
of a log-normal distribution around 60 steps. Every way is checked to give the same bits before it is timed, in turn;
the least of all runs is printed, for one thread and for all.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable

import numpy as np

import fastgru
from fastgru.layers import Dense, GRULayer, GRUWeights, sequential

INPUTS, HIDDEN, CLASSES = 64, 128, 10
COUNT, MEDIAN, SPREAD, LONGEST = 500, 60, 0.8, 600

Array = np.ndarray


def model_of(n_threads: int | None) -> fastgru.Model:
    random = np.random.default_rng(0)

    def uniform(*shape: int) -> Array:
        return random.uniform(-(HIDDEN**-0.5), HIDDEN**-0.5, shape).astype(np.float32)

    gates = 3 * HIDDEN
    weights = GRUWeights(uniform(gates, INPUTS), uniform(gates, HIDDEN), uniform(gates), uniform(gates))
    layers = [
        ("gru", GRULayer(fastgru.GRUSpec(((weights,),)))), ("out", Dense(uniform(CLASSES, HIDDEN), uniform(CLASSES))),
    ]  # fmt: skip
    return fastgru.Model(sequential(layers), n_threads=n_threads)


def sequences() -> list[Array]:
    random = np.random.default_rng(1)
    lengths = np.clip(random.lognormal(np.log(MEDIAN), SPREAD, COUNT).astype(int), 1, LONGEST)
    return [random.standard_normal((length, INPUTS)).astype(np.float32) for length in lengths]


def padded(given: list[Array]) -> Array:
    array = np.zeros((len(given), max(map(len, given)), INPUTS), np.float32)
    for row, x in zip(array, given, strict=True):
        row[: len(x)] = x
    return array


def ways(model: fastgru.Model, given: list[Array]) -> dict[str, Callable[[], list[Array]]]:
    lengths = [len(x) for x in given]

    def cut(y: Array) -> list[Array]:
        return [row[:length] for row, length in zip(y, lengths, strict=True)]

    return {
        "map": lambda: list(model.map(given)),
        "one at a time": lambda: [model(x) for x in given],
        "padded to the longest, with lengths": lambda: cut(model(padded(given), lengths)),
        "padded to the longest": lambda: cut(model(padded(given))),
    }


def measure(n_threads: int | None, runs: int) -> dict[str, float]:
    model, given = model_of(n_threads), sequences()
    compared = ways(model, given)
    wanted = [y.tobytes() for y in compared["one at a time"]()]
    for name, run in compared.items():
        if [y.tobytes() for y in run()] != wanted:
            raise SystemExit(f"{name}: not the bits of each sequence alone")
        run()  # shapes that came twice are compiled
    least = dict.fromkeys(compared, np.inf)
    for _ in range(runs):
        for name, run in compared.items():
            start = time.perf_counter()
            run()
            least[name] = min(least[name], time.perf_counter() - start)
    return least


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    given = sequences()
    steps = sum(map(len, given))
    print(f"{COUNT} sequences, {steps:,} steps, the longest {max(map(len, given))}; {platform.processor()}")
    for n_threads in (1, None):
        least = measure(n_threads, runs)
        for name, seconds in least.items():
            print(f"{n_threads or 'all'} threads  {name:38}{seconds * 1e3:8.1f} ms  {seconds / least['map']:.2f}")


if __name__ == "__main__":
    main()
