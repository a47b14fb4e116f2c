"""One step of a whole model: ``model.stream().step`` beside ONNX Runtime and OpenVINO with states of their own.

    python benchmarks/streams.py [--rnnoise FILE.rnnn] [--streams 1,16] [--seconds S] [--json FILE] [--plot FILE.png]

The models are the digits of the demo (a GRU and a Linear) and, where its file is named, RNNoise (three GRUs, five other
layers). The other two run the ONNX of one step, which ``one_step.py`` writes: each call is given the states that the
call before it made. All outputs of 50 steps are compared with fastgru's in float64 before anything is timed. One
thread, and the engines take turns. A picture has lines from three numbers of streams on, and otherwise bars.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from one_step import OneStep, one_step

import fastgru
from fastgru.bench.cases import Case
from fastgru.bench.machine import on_cores
from fastgru.bench.markdown import RATIO, surroundings, tables
from fastgru.bench.measure_whole import check
from fastgru.bench.others import NOTEWORTHY, others
from fastgru.bench.peers import PEERS, installed, pip_line, with_onnxruntime, with_openvino
from fastgru.bench.plots import check_suffix, plot_results
from fastgru.bench.results import figure_text, result, row
from fastgru.bench.statistics import summary
from fastgru.bench.turns import in_turn
from fastgru.errors import FastGRUError
from fastgru.model import as_tuple

DIGITS = Path(fastgru.__file__).parent / "demo" / "digits.pt"
ENGINES = ("fastgru", "onnxruntime", "openvino")
STEPS = 50
SEED = 20240607

Step = Callable[[np.ndarray], tuple[np.ndarray, ...]]  # from x (streams, features) to every output of this step


def models(rnnoise: str | None) -> dict[str, fastgru.Model]:
    found = {"digits": fastgru.load(DIGITS, layers=["gru", fastgru.Last(), "fc"], n_threads=1)}
    if rnnoise is not None:
        found["RNNoise"] = fastgru.load(rnnoise, n_threads=1)
    return found


def in_fastgru(model: fastgru.Model, streams: int) -> Step:
    stream = model.stream(batch=streams)
    return lambda x: as_tuple(stream.step(x))


def in_onnxruntime(model: fastgru.Model, streams: int) -> Step:
    step = one_step(model.spec, streams)
    session = with_onnxruntime.session_of(step.model, 1)
    names = [*step.outputs, *(new for new, _ in step.states.values())]
    feeds = _zeros(step, streams)

    def call(x: np.ndarray) -> tuple[np.ndarray, ...]:
        feeds[step.x] = x[None]
        made = session.run(names, feeds)
        feeds.update(zip(step.states, made[len(step.outputs) :], strict=True))
        return tuple(y[0] for y in made[: len(step.outputs)])

    return call


def in_openvino(model: fastgru.Model, streams: int) -> Step:
    step = one_step(model.spec, streams)
    request = with_openvino.compiled_of(with_openvino.read(step.model), 1).create_infer_request()
    for name, zeros in _zeros(step, streams).items():
        request.get_tensor(name).data[...] = zeros
    x_data = request.get_tensor(step.x).data
    outputs = [request.get_tensor(name).data for name in step.outputs]
    states = [(request.get_tensor(old).data, request.get_tensor(new).data) for old, (new, _) in step.states.items()]

    def call(x: np.ndarray) -> tuple[np.ndarray, ...]:
        x_data[0] = x
        request.infer()
        for old, new in states:
            old[...] = new
        return tuple(y[0] for y in outputs)

    return call


def _zeros(step: OneStep, streams: int) -> dict[str, np.ndarray]:
    return {name: np.zeros((1, streams, units), np.float32) for name, (_, units) in step.states.items()}


PREPARE: dict[str, Callable[[fastgru.Model, int], Step]] = {
    "fastgru": in_fastgru,
    "onnxruntime": in_onnxruntime,
    "openvino": in_openvino,
}


def measure(case: Case, model: fastgru.Model, engines: Sequence[str], seconds: float) -> list[dict[str, Any]]:
    """A row of results for every engine, whose outputs are checked first; one that is not right is an error."""
    features = model.sources[0].shape[-1]
    x = np.random.default_rng(SEED).standard_normal((STEPS, case.batch, features), np.float32)
    steps = {engine: PREPARE[engine](model, case.batch) for engine in engines}
    exact = in_fastgru(model.astype("float64"), case.batch)
    furthest = dict.fromkeys(engines, 0.0)
    for each in x:
        wanted = exact(each)
        for engine, step in steps.items():
            difference, reason = check(engine, step(each), wanted)
            if reason is not None or difference is None:
                raise SystemExit(f"{case.name}: {PEERS[engine].title}: {reason}")
            furthest[engine] = max(furthest[engine], difference)
    calls = {engine: lambda step=step: step(x[0]) for engine, step in steps.items()}
    return [
        row(case, model.description, 1, engine, **summary(each.nanoseconds), warmup=each.warmup,
            largest_difference=furthest[engine])
        for engine, each in in_turn(calls, seconds).items()
    ]  # fmt: skip


def case_of(name: str, streams: int) -> Case:
    """One step of some streams of a model together."""
    scenario, plural = ("SingleStream", "") if streams == 1 else ("MultiStream", "s")
    return Case(scenario, f"{name}, {streams} stream{plural}", name, 1, streams)


def markdown(results: dict[str, Any]) -> str:
    """A line for each model and number of streams, medians with p99 behind them."""
    cells = tables(results, lambda row: f"{figure_text(row['p50'])} ({figure_text(row['p99'])})", RATIO)
    about = "One step of all streams together: median (p99)."
    return "\n".join([surroundings(results), "", about, *cells, "", *(f"* {note}" for note in results["notes"])])


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="One step of a whole model beside ONNX Runtime and OpenVINO.")
    parser.add_argument(
        "--rnnoise", metavar="FILE.rnnn", help="RNNoise's weights as text; without it, the digits alone"
    )
    parser.add_argument("--streams", default="1,16", help="that step together, as 1,16 (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each engine and case (default %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="also write every figure as JSON, which plots.py draws too")
    parser.add_argument("--plot", metavar="FILE", help="also draw them: .png, .svg or .pdf; needs matplotlib")
    arguments = parser.parse_args(argv)
    try:
        if arguments.plot:
            check_suffix(arguments.plot)
        results = run(arguments.rnnoise, list(map(int, arguments.streams.split(","))), arguments.seconds)
        if arguments.json:
            Path(arguments.json).write_text(json.dumps(results, indent=2) + "\n")
        print(markdown(results))
        if arguments.plot:
            plot_results(results, arguments.plot)
    except FastGRUError as error:
        parser.exit(1, f"{parser.prog}: {error}\n")


def run(rnnoise: str | None, streams: Sequence[int], seconds: float) -> dict[str, Any]:
    """All figures, in the form of ``fastgru.bench.results``."""
    engines = [name for name in ENGINES if installed(name)]
    missing = [name for name in ENGINES if name not in engines]
    notes = [f"{PEERS[name].title} is left out: it is not installed ({pip_line(name)})" for name in missing]
    rows = []
    with on_cores(1), others() as used:
        for name, model in models(rnnoise).items():
            for count in streams:
                rows += measure(case_of(name, count), model, engines, seconds)
    if used.cores is not None and used.cores > NOTEWORTHY:
        notes.append(f"other processes used {used.cores:.2f} cores meanwhile: not the figures of an idle machine")
    return result(engines, rows, notes)


if __name__ == "__main__":
    main()
