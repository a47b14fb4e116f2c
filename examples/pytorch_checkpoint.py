"""A PyTorch state dict, listed and run without PyTorch.

    python examples/pytorch_checkpoint.py

The file is the digit reader of ``fastgru demo``: a GRU over the eight rows of an image, and a linear layer after it.
"""

from __future__ import annotations

import sys
from importlib.resources import as_file, files

import numpy as np

import fastgru


def main() -> None:
    with as_file(files("fastgru.demo") / "digits.pt") as path:
        for name, tensor in fastgru.read(path).items():
            print(f"  {name:20}{tensor.dtype!s:10}{tensor.shape}")
        # A state dict holds weights and not the order of the layers, so the chain is named here.
        model = fastgru.load(path, layers=["gru", fastgru.Last(), "fc"])
    print(f"\n{model}\n")

    with as_file(files("fastgru.demo") / "digits.npz") as path, np.load(path) as held_out:
        images, labels = held_out["images"] / 16, held_out["labels"]  # (540, 8, 8), (540,)
    scores = model(images)  # (540, 10)
    print(f"{np.mean(scores.argmax(axis=1) == labels):.1%} of {len(labels)} images read right")
    print(f"PyTorch imported: {'torch' in sys.modules}")


if __name__ == "__main__":
    main()
