"""fastgru beside PyTorch and ONNX Runtime, on one thread, in one process, taken in turn.

    python benchmarks/compare.py [--seconds S] [--json FILE]

Every case is one randomly initialised reset-after GRU whose input is as wide as its state. Before anything is timed,
all outputs are compared with PyTorch's. The peers take turns of about 2 ms, so that whatever else the machine does
meets all of them alike. A figure is the median time of one call from Python, arrays in and arrays out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

import fastgru
from fastgru.engine import dispatch

CASES = {  # name: (steps, batch, hidden); one step is a stream's step where there is one
    "one step, H = 32": (1, 1, 32),
    "one step, H = 128": (1, 1, 128),
    "one step, H = 256": (1, 1, 256),
    "100 steps, H = 128": (100, 1, 128),
    "100 steps, H = 256": (100, 1, 256),
    "100 steps, batch 32, H = 256": (100, 32, 256),
}
TOLERANCE = 5e-6  # between two float32 engines over 100 steps
TURN = 2e-3  # seconds
CALLS_IN_A_TURN = 200

Call = Callable[[], Any]


@dataclass(frozen=True)
class Measured:
    """One case: every engine's median, in microseconds, and how many calls each is the median of."""

    case: str
    steps: int
    batch: int
    hidden: int
    microseconds: dict[str, float]
    calls: dict[str, int]
    largest_difference: dict[str, float]  # from PyTorch's output

    @property
    def ratio(self) -> float:
        """How many times as long as fastgru the faster peer takes."""
        return min(self.microseconds[name] for name in ("torch", "onnxruntime")) / self.microseconds["fastgru"]


def fastgru_call(module: torch.nn.GRU, x: np.ndarray) -> tuple[Call, Call]:
    """The call to time, and one that gives the outputs, (batch, steps, hidden), from a zero state."""
    gru = fastgru.from_torch(module, n_threads=1)
    assert isinstance(gru, fastgru.GRU)
    if x.shape[1] > 1:
        return lambda: gru(x), lambda: gru(x)[0]
    stream, step = gru.stream(batch=len(x)), np.ascontiguousarray(x[:, 0])
    return lambda: stream.step(step), lambda: gru.stream(batch=len(x)).step(step)[:, None]


def torch_call(module: torch.nn.GRU, x: np.ndarray) -> tuple[Call, Call]:
    tensor, h0 = torch.from_numpy(x), torch.zeros(1, len(x), module.hidden_size)
    if x.shape[1] > 1:
        return lambda: module(tensor, h0), lambda: module(tensor, h0)[0].numpy()
    cell = torch.nn.GRUCell(module.input_size, module.hidden_size)  # PyTorch's own way to take one step, and faster
    cell.load_state_dict({name.removesuffix("_l0"): weight for name, weight in module.state_dict().items()})
    return lambda: cell(tensor[:, 0], h0[0]), lambda: cell(tensor[:, 0], h0[0]).numpy()[:, None]


def onnxruntime_call(module: torch.nn.GRU, x: np.ndarray) -> tuple[Call, Call]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx_model(module), options, providers=["CPUExecutionProvider"])
    h0 = np.zeros((1, len(x), module.hidden_size), np.float32)
    feeds = {"x": np.ascontiguousarray(x.transpose(1, 0, 2)), "h0": h0}  # (steps, batch, features)
    return lambda: session.run(None, feeds), lambda: session.run(None, feeds)[0][:, 0].transpose(1, 0, 2)


def onnx_model(module: torch.nn.GRU) -> bytes:
    """The module as one ONNX GRU node, whose gates are in the order z, r, h."""

    def weight(name: str) -> np.ndarray:
        r, z, n = np.split(getattr(module, name).detach().numpy(), 3)
        return np.concatenate([z, r, n])[None]

    bias = np.concatenate([weight("bias_ih_l0"), weight("bias_hh_l0")], axis=1)
    weights = {"W": weight("weight_ih_l0"), "R": weight("weight_hh_l0"), "B": bias}
    names = ["x", "W", "R", "B", "", "h0"]
    node = helper.make_node("GRU", names, ["y", "h"], hidden_size=module.hidden_size, linear_before_reset=1)
    inputs = {"x": ["T", "N", module.input_size], "h0": [1, "N", module.hidden_size]}
    graph = helper.make_graph(
        [node],
        "gru",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y", "h")],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9  # what opset 17 came with
    return bytes(model.SerializeToString())


ENGINES = {"fastgru": fastgru_call, "onnxruntime": onnxruntime_call, "torch": torch_call}


def measure(case: str, seconds: float) -> Measured:
    """Check that all engines agree, then time them in turn for ``seconds``."""
    steps, batch, hidden = CASES[case]
    torch.manual_seed(0)
    module = torch.nn.GRU(hidden, hidden, batch_first=True).eval()
    x = np.random.default_rng(0).standard_normal((batch, steps, hidden)).astype(np.float32)
    calls = {name: engine(module, x) for name, engine in ENGINES.items()}
    outputs = {name: output() for name, (_, output) in calls.items()}
    differences = {name: float(np.abs(output - outputs["torch"]).max()) for name, output in outputs.items()}
    for name, difference in differences.items():
        if not difference <= TOLERANCE or outputs[name].shape != (batch, steps, hidden):
            raise SystemExit(f"{case}: {name} is {difference:.1e} from torch, at most {TOLERANCE} wanted; not timed")
    times = in_turn({name: call for name, (call, _) in calls.items()}, seconds)
    medians = {name: 1e6 * float(np.median(taken)) for name, taken in times.items()}
    counts = {name: len(taken) for name, taken in times.items()}
    return Measured(case, steps, batch, hidden, medians, counts, differences)


def in_turn(calls: dict[str, Call], seconds: float) -> dict[str, list[float]]:
    """The time of every call; each engine gets turns of about ``TURN``, and a first one that does not count."""
    clock, times = time.perf_counter, {name: [] for name in calls}
    in_a_turn = {}
    for name, call in calls.items():
        call()
        start = clock()
        call()
        in_a_turn[name] = max(1, min(CALLS_IN_A_TURN, int(TURN / (clock() - start))))
    end = clock() + seconds
    while clock() < end:
        for name, call in calls.items():
            call()  # what the others left in the caches is not this one's to answer for
            for _ in range(in_a_turn[name]):
                start = clock()
                call()
                times[name].append(clock() - start)
    return times


def surroundings() -> dict[str, Any]:
    """What the figures depend on."""
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].partition(": ")[2] if names else cpu
    return {
        "cpu": cpu,
        "processors": os.cpu_count(),
        "threads": 1,
        "kernels": dispatch.chosen(),
        "versions": {
            "fastgru": fastgru.__version__,
            "torch": torch.__version__,
            "onnxruntime": onnxruntime.__version__,
            "onnx": onnx.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "statistic": "median of single calls, engines in turn",
    }


def markdown(measured: list[Measured], about: dict[str, Any]) -> str:
    versions = about["versions"]
    lines = [
        f"{about['cpu']}, {about['threads']} thread, {about['kernels']} kernels, Python {versions['python']}; "
        f"{about['statistic']}, in microseconds.",
        "",
        f"| case | fastgru {versions['fastgru']} | ONNX Runtime {versions['onnxruntime']} "
        f"| torch {versions['torch']} | faster peer / fastgru |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in measured:
        us = row.microseconds
        lines.append(
            f"| {row.case} | {us['fastgru']:.4g} | {us['onnxruntime']:.4g} | {us['torch']:.4g} | {row.ratio:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="fastgru beside PyTorch and ONNX Runtime, one thread.")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to time a case (default %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="also write every figure as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    measured = []
    for case in CASES:
        print(f"{case} ...", file=sys.stderr)
        measured.append(measure(case, arguments.seconds))
    about = surroundings()
    print(markdown(measured, about))
    if arguments.json:
        rows = [{**asdict(row), "ratio_to_faster_peer": row.ratio} for row in measured]
        Path(arguments.json).write_text(json.dumps({**about, "cases": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
