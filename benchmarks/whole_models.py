"""Whole models beside PyTorch, ONNX Runtime and OpenVINO: four that people train, with all of their layers.

    python benchmarks/whole_models.py [--threads 1,2] [--seconds S] [--cases TEXT ...] [--systems ...] [--json FILE]

Each is written as a PyTorch module with weights as PyTorch initialises them, and traced: every engine is given that
file, PyTorch as it is, the others by its export to ONNX for the very sizes of a case. ``fastgru.bench`` compares all
outputs with fastgru's in float64, and takes the engines in turn, in one process for each number of threads.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from comparison import Prepared, compare, exit_if_skipped
from torch import nn

import fastgru
from fastgru.bench.cases import Case, ModelFiles
from fastgru.bench.markdown import markdown
from fastgru.bench.peers import BEST_OF

BATCHES = (1, 16, 128)


class Text(nn.Module):
    """Whether a text is one of two kinds: both final states of a two-way GRU over its words."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20000, 128)
        self.gru = nn.GRU(128, 64, batch_first=True, bidirectional=True)
        self.hidden, self.out = nn.Linear(128, 64), nn.Linear(64, 1)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        _, h = self.gru(self.words(words))
        return torch.sigmoid(self.out(torch.relu(self.hidden(torch.cat([h[0], h[1]], -1)))))


class Conv(nn.Module):
    """A class for a sequence of 40 features: a convolution that halves the steps, two layers of GRU, the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.pool = nn.Conv1d(40, 64, 5), nn.BatchNorm1d(64), nn.MaxPool1d(2)
        self.gru = nn.GRU(64, 96, 2, batch_first=True)
        self.classes = nn.Linear(96, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.pool(self.norm(torch.relu(self.conv(x.transpose(1, 2))))).transpose(1, 2)
        return torch.softmax(self.classes(self.gru(y)[0][:, -1]), -1)


class Tag(nn.Module):
    """A tag for every word: a two-way GRU, LayerNorm, and classes at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(10000, 100)
        self.gru = nn.GRU(100, 100, batch_first=True, bidirectional=True)
        self.norm, self.tags = nn.LayerNorm(200), nn.Linear(200, 20)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.tags(self.norm(self.gru(self.words(words))[0])), -1)


class Series(nn.Module):
    """The next number of a series of 8 features: two layers of GRU, the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.out = nn.GRU(8, 50, 2, batch_first=True), nn.Linear(50, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.gru(x)[0][:, -1])


class Example(NamedTuple):
    """A model, its steps, and its input for a batch and a number of steps."""

    make: Callable[[], nn.Module]
    steps: int
    example: Callable[[int, int], torch.Tensor]


MODELS = {
    "text": Example(Text, 80, partial(torch.zeros, dtype=torch.int64)),
    "conv": Example(Conv, 200, lambda batch, steps: torch.zeros(batch, steps, 40)),
    "tag": Example(Tag, 60, partial(torch.zeros, dtype=torch.int64)),
    "ts": Example(Series, 48, lambda batch, steps: torch.zeros(batch, steps, 8)),
}


def cases() -> list[Case]:
    return [
        Case("SingleStream" if batch == 1 else "Offline", f"{name}, batch {batch}", name, example.steps, batch)
        for name, example in MODELS.items()
        for batch in BATCHES
    ]


def traced_file(name: str, folder: Path) -> str:
    """The file of a model with weights from a seed."""
    torch.manual_seed(0)
    example, path = MODELS[name], str(folder / f"{name}.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is deprecated
        torch.jit.trace(example.make().eval(), (example.example(2, example.steps),)).save(path)
    return path


def traced(chosen: Sequence[Case], folder: Path) -> Prepared:
    """The models of the chosen cases as fastgru has them, and the files that they and the other engines are from."""
    models, files = {}, {}
    for name in dict.fromkeys(case.model for case in chosen):
        path = traced_file(name, folder)
        models[name], files[name] = fastgru.load(path).description, ModelFiles(path, trusted=True)
    return models, files


def main(argv: Sequence[str] | None = None) -> None:
    about, usual = "Whole models beside PyTorch, ONNX Runtime and OpenVINO.", ("fastgru", *BEST_OF)
    with tempfile.TemporaryDirectory(prefix="fastgru-whole-") as folder:
        prepare = partial(traced, folder=Path(folder))
        results = compare(argv, about, cases(), usual, seconds=1.0, threads="1,2", prepare=prepare)
    print(markdown(results))
    exit_if_skipped(results)


if __name__ == "__main__":
    main()
