"""What a fresh process pays until it has its first result: import, load a small trained GRU, one call.

    python benchmarks/startup.py [--runs 21] [--json FILE]

Whole processes are timed, from their start to their end, beside one that imports NumPy and nothing else. ONNX Runtime
and torch load the same weights and make the same call, where they are installed; every program's output is compared
with fastgru's before anything is timed. Programs take turns, on one core. The interpreter may keep bytecode, as it does
for installed packages.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

import fastgru
from fastgru.bench.cases import random_gru
from fastgru.bench.machine import machine, on_cores
from fastgru.bench.peers import installed, version

__all__ = ["main", "measured", "programs"]

INPUTS, HIDDEN, STEPS = 32, 32, 10
TOLERANCE = 1e-5
EMPTY, NUMPY = "an empty program", "import numpy"

FASTGRU = """
import sys
import numpy as np
import fastgru
gru = fastgru.load(sys.argv[1])
y, h = gru(np.linspace(-1, 1, {steps} * {inputs}, dtype=np.float32).reshape(1, {steps}, {inputs}))
"""
ONNX_RUNTIME = """
import sys
import numpy as np
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
x = np.linspace(-1, 1, {steps} * {inputs}, dtype=np.float32).reshape({steps}, 1, {inputs})
y = session.run(None, {{"x": x}})[0]
"""
TORCH = """
import sys
import torch
torch.set_num_threads(1), torch.set_grad_enabled(False)
gru = torch.nn.GRU({inputs}, {hidden}, batch_first=True)
gru.load_state_dict(torch.load(sys.argv[1]))
y, h = gru(torch.linspace(-1, 1, {steps} * {inputs}).reshape(1, {steps}, {inputs}))
"""
# Written by processes of their own, so that this one stays small.
WRITE_TORCH = """
import sys
import torch
from safetensors.torch import load_file
torch.save(load_file(sys.argv[1]), sys.argv[2])
"""
WRITE_ONNX = """
import sys
import numpy as np
import fastgru
from fastgru.bench.cases import Work
from fastgru.bench.peers.onnx_model import model_of
work = Work(fastgru.load(sys.argv[1]).spec, np.zeros((1, {steps}, {inputs}), np.float32), None, None, 1)
open(sys.argv[2], "wb").write(model_of(work))
"""


def programs(folder: Path) -> tuple[dict[str, list[str]], dict[str, str]]:
    """The arguments of every program that can run here, by what it does, and why others cannot.

    The files that they load are written to ``folder``.
    """
    weights = folder / "gru.safetensors"
    save_file(fastgru.GRU(random_gru(INPUTS, HIDDEN)).state_dict(), weights)
    found = {EMPTY: ["-c", "pass"], NUMPY: ["-c", "import numpy"], "import fastgru": ["-c", "import fastgru"]}
    found["fastgru, .safetensors"] = ["-c", _filled(FASTGRU), str(weights)]
    skipped = {}
    written = {"gru.pt": (WRITE_TORCH, "torch"), "gru.onnx": (WRITE_ONNX, "onnx")}
    for name, (code, module) in written.items():
        try:
            _run(["-c", _filled(code), str(weights), str(folder / name)])
        except subprocess.CalledProcessError as error:
            skipped[name] = f"{module} cannot write it: {(error.stderr.strip().splitlines() or ['no message'])[-1]}"
    users = {"fastgru, .pt": (FASTGRU, "gru.pt"), "torch, .pt": (TORCH, "gru.pt")}
    users["ONNX Runtime, .onnx"] = (ONNX_RUNTIME, "gru.onnx")
    for name, (code, file) in users.items():
        if file in skipped:
            skipped[name] = skipped[file]
        else:
            found[name] = ["-c", _filled(code), str(folder / file)]
    return found, {name: reason for name, reason in skipped.items() if name not in written}


def checked(found: Mapping[str, list[str]], skipped: dict[str, str]) -> dict[str, list[str]]:
    """The programs whose outputs are fastgru's; one that fails is added to ``skipped``.

    This first run of each also fills the disk's cache and writes bytecode.
    """
    wanted, good = None, {}
    for name, arguments in found.items():
        if len(arguments) < 3:
            _run(arguments)
            good[name] = arguments
            continue
        try:
            printed = _run(["-c", arguments[1] + "\nprint(*(float(each) for each in y.ravel()))", *arguments[2:]])
        except subprocess.CalledProcessError as error:
            if name.startswith("fastgru"):
                raise
            skipped[name] = (error.stderr.strip().splitlines() or ["no message"])[-1]
            continue
        output = np.array(printed.split(), dtype=np.float64)
        wanted = output if wanted is None else wanted
        if output.shape != wanted.shape or np.abs(output - wanted).max() > TOLERANCE:
            raise SystemExit(f"{name}: its output is not that of fastgru, by more than {TOLERANCE}")
        good[name] = arguments
    return good


def measured(runs: int) -> dict[str, Any]:
    """Time ``runs`` processes of every program, in turns, and sum them up; milliseconds."""
    with tempfile.TemporaryDirectory() as folder, on_cores(1):
        found, skipped = programs(Path(folder))
        found = checked(found, skipped)
        taken: dict[str, list[float]] = {name: [] for name in found}
        for _ in range(runs):
            for name, arguments in found.items():
                start = time.perf_counter()
                _run(arguments)
                taken[name].append(1e3 * (time.perf_counter() - start))
    medians = {name: statistics.median(times) for name, times in taken.items()}
    minima = {name: min(times) for name, times in taken.items()}
    versions = {"fastgru": fastgru.__version__, "numpy": np.__version__}
    versions |= {name: version(name) for name in ("onnxruntime", "torch") if installed(name)}
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions,
        "model": {"inputs": INPUTS, "hidden": HIDDEN, "steps": STEPS, "batch": 1},
        "runs": runs,
        "programs": [
            {
                "program": name,
                "median_ms": medians[name],
                "min_ms": minima[name],
                "median_over_numpy": medians[name] / medians[NUMPY],
                "min_over_numpy": minima[name] / minima[NUMPY],
            }
            for name in found
        ],
        "skipped": skipped,
    }


def markdown(results: Mapping[str, Any]) -> str:
    """The table, and under it what it depends on."""
    lines = ["| fresh process | median, ms | min, ms | median / NumPy's | min / NumPy's |", "|---|---:|---:|---:|---:|"]
    for row in results["programs"]:
        figures = (row["median_ms"], row["min_ms"])
        ratios = (row["median_over_numpy"], row["min_over_numpy"])
        cells = [*(f"{each:.1f}" for each in figures), *(f"{each:.2f}" for each in ratios)]
        lines.append(f"| {row['program']} | {' | '.join(cells)} |")
    about, versions = results["machine"], results["versions"]
    named = ", ".join(f"{name} {number}" for name, number in versions.items())
    lines += [
        "",
        f"{about['cpu']}, one core, {about['os']}, Python {about['python']}, {named}; {results['runs']} runs.",
    ]
    lines += [f"Not run: {name}, because {reason}" for name, reason in results["skipped"].items()]
    return "\n".join(lines)


def _filled(code: str) -> str:
    return code.format(steps=STEPS, inputs=INPUTS, hidden=HIDDEN)


def _run(arguments: list[str]) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run([sys.executable, *arguments], env=environment, check=True, capture_output=True, text=True)
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description="A fresh process: import, load a small GRU, one call.")
    parser.add_argument("--runs", type=int, default=21, help="processes of each program (default %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="also write every figure as JSON")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error(f"--runs: got {options.runs}, wanted at least 1")
    results = measured(options.runs)
    print(markdown(results))
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
