"""How long a large checkpoint takes to load, and how much memory, beside reading its bytes and packing its weights.

    python benchmarks/loading.py [--megabytes 100] [--runs 5]     (needs safetensors to write the file)

Each figure is from a process of its own: reading the file's bytes, packing the same weights from memory, and
``fastgru.load``. Peak memory is what the process had at most, without what it had after importing fastgru.
A torch zip is written only where torch is installed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

READ = """
import sys, time
begun = time.perf_counter()
content = open(sys.argv[1], "rb").read()
print(time.perf_counter() - begun)
"""
PACK = """
import sys, time
import numpy as np, fastgru
hidden, layers = int(sys.argv[2]), int(sys.argv[3])
rng = np.random.default_rng(0)
shapes = (3 * hidden, hidden), (3 * hidden, hidden), (3 * hidden,), (3 * hidden,)
stack = [(fastgru.GRUWeights(*(rng.standard_normal(shape, np.float32) for shape in shapes)),) for _ in range(layers)]
spec = fastgru.GRUSpec(tuple(stack))
fastgru.GRU(fastgru.GRUSpec(tuple(stack[:1])))  # imports what it needs
begun = time.perf_counter()
fastgru.GRU(spec)
print(time.perf_counter() - begun)
"""
LOAD = """
import sys, time
import fastgru, fastgru.checkpoint, fastgru.importers

def memory(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(field))

before = memory("VmRSS")
begun = time.perf_counter()
gru = fastgru.load(sys.argv[1])
print(time.perf_counter() - begun, memory("VmHWM") - before)
"""


def figures(code: str, *arguments: object) -> list[float]:
    run = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=True)
    return [float(word) for word in run.stdout.split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    layers = 4
    hidden = int((options.megabytes * 1e6 / (layers * 6 * 4)) ** 0.5)
    rng = np.random.default_rng(0)
    tensors = {
        f"{name}_l{layer}": rng.standard_normal(shape, np.float32) / hidden
        for layer in range(layers)
        for name, shape in (
            ("weight_ih", (3 * hidden, hidden)),
            ("weight_hh", (3 * hidden, hidden)),
            ("bias_ih", (3 * hidden,)),
            ("bias_hh", (3 * hidden,)),
        )
    }
    results = []
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, "gru.safetensors")]
        save_file(tensors, files[0])
        try:
            import torch
        except ImportError:
            print("torch is not installed: no torch zip", file=sys.stderr)
        else:
            files.append(Path(folder, "gru.pt"))
            torch.save({name: torch.from_numpy(tensor) for name, tensor in tensors.items()}, files[1])
        for file in files:
            runs = [
                (figures(READ, file)[0], figures(PACK, file, hidden, layers)[0], *figures(LOAD, file))
                for _ in range(options.runs)
            ]
            read, pack, load, peak = (statistics.median(column) for column in zip(*runs, strict=True))
            size = file.stat().st_size
            results.append({"file": file.name, "bytes": size, "read_s": read, "pack_s": pack, "load_s": load,
                            "ratio": load / (read + pack), "peak_over_size": peak / size})  # fmt: skip
    if options.json:
        print(json.dumps(results, indent=1))
        return
    print("| file | MB | read, ms | pack, ms | load, ms | load / (read + pack) | peak memory / file |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for each in results:
        print(
            f"| {each['file']} | {each['bytes'] / 1e6:.1f} | {each['read_s'] * 1e3:.1f} | {each['pack_s'] * 1e3:.1f} | "
            f"{each['load_s'] * 1e3:.1f} | {each['ratio']:.2f} | {each['peak_over_size']:.2f} |"
        )


if __name__ == "__main__":
    main()
