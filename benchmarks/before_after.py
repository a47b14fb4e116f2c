"""What a program pays that needs one small GRU: with torch, and with fastgru.

    python -m venv a && a/bin/pip install torch==2.13.0 numpy
    python -m venv b && b/bin/pip install .
    python benchmarks/before_after.py --torch a/bin/python --fastgru b/bin/python

Each environment should hold nothing else, because its size is counted (all but pip and setuptools). Imports are timed
as whole processes less an empty one, in turn; memory is the peak of a process that only imports.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import time

SIZE = """
import os, sysconfig
total = 0
for folder, _, names in os.walk(sysconfig.get_path("purelib")):
    if not any(part.startswith(("pip", "setuptools", "pkg_resources", "_distutils")) for part in folder.split(os.sep)):
        total += sum(os.path.getsize(os.path.join(folder, name)) for name in names)
print(total / 1e6)
"""
MEMORY = "import {module}, resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
TIMED = """
import statistics, time
for _ in range(2000): step()
taken = []
for _ in range(20000):
    start = time.perf_counter(); step(); taken.append(time.perf_counter() - start)
print(statistics.median(taken) * 1e6)
"""
TORCH_STEP = """
import torch
torch.set_grad_enabled(False), torch.set_num_threads(1)
cell, x, h = torch.nn.GRUCell(32, 32), torch.ones(1, 32), torch.zeros(1, 32)
step = lambda: cell(x, h)
"""
FASTGRU_STEP = """
import fastgru, numpy as np
random = np.random.default_rng(0)
weights = {name: random.uniform(-0.17, 0.17, (96, 32)) for name in ("weight_ih", "weight_hh")}
stream, x = fastgru.from_torch(weights).stream(), np.ones(32, np.float32)
step = lambda: stream.step(x)
"""


def run(python: str, code: str) -> str:
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description="What torch and fastgru cost a program with one small GRU.")
    parser.add_argument("--torch", required=True, metavar="PYTHON", help="of an environment with torch and NumPy")
    parser.add_argument("--fastgru", required=True, metavar="PYTHON", help="of an environment with fastgru")
    parser.add_argument("--runs", type=int, default=21)
    arguments = parser.parse_args()

    pythons = {"torch": arguments.torch, "fastgru": arguments.fastgru, "numpy": arguments.fastgru}
    codes = {"torch": "import torch", "fastgru": "import fastgru", "numpy": "import numpy", "": "pass"}
    times: dict[str, list[float]] = {name: [] for name in codes}
    for turn in range(arguments.runs + 1):
        for name, code in codes.items():
            start = time.perf_counter()
            run(pythons.get(name, arguments.fastgru), code)
            if turn:  # the first fills the disk's cache and writes bytecode
                times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    print("| | torch | fastgru | NumPy |\n|---|---:|---:|---:|")
    modules = ("torch", "fastgru", "numpy")
    cells = (f"{1e3 * (medians[name] - medians['']):.0f}" for name in modules)
    print("| import, ms, median of", arguments.runs, "|", " | ".join(cells), "|")
    cells = (f"{float(run(pythons[name], MEMORY.format(module=name))):.0f}" for name in modules)
    print("| memory after the import, MiB |", " | ".join(cells), "|")
    cells = (f"{float(run(pythons[name], SIZE)):.0f}" for name in modules[:2])
    print("| environment on disk, MB |", " | ".join(cells), "| |")
    steps = (run(pythons[name], code + TIMED) for name, code in (("torch", TORCH_STEP), ("fastgru", FASTGRU_STEP)))
    print("| one step, 32 -> 32, us, median of 20,000 |", " | ".join(f"{float(step):.3g}" for step in steps), "| |")
    print(f"\nwhole process, import fastgru over import numpy: {medians['fastgru'] / medians['numpy']:.3f}")


if __name__ == "__main__":
    main()
