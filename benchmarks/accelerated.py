"""How much faster a PyTorch module is with its GRUs computing here: every recurrent module of the tests' zoo.

    python benchmarks/accelerated.py [--seconds S] [--threads N] [MODULE ...]

Each module is called as it is and accelerated, in turn, with its own example; the
table has medians in microseconds and their ratio. Sizes are those of the tests, small: of two modules as people use
them, a convolutional recogniser of text and a translator with attention, there are full ones (``CRNN``, ``Seq2Seq``).
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import fastgru

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))


class CRNN(nn.Module):
    """A line of text, 32 pixels high: three convolutions, two layers of GRUs in both directions, classes a column."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d((2, 1)),
            nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d((4, 1)),
        )  # fmt: skip
        self.gru = nn.GRU(64, 128, 2, batch_first=True, bidirectional=True)
        self.classes = nn.Linear(256, 80)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        y = self.features(image).permute(0, 3, 1, 2).flatten(2)
        return self.classes(self.gru(y)[0]).log_softmax(-1)


class Seq2Seq(nn.Module):
    """A translator with Luong's attention that scores a translation: two sentences in, numbers for each word out."""

    def __init__(self, words: int = 3000, units: int = 128) -> None:
        super().__init__()
        self.words, self.targets = nn.Embedding(words, units), nn.Embedding(words, units)
        self.encoder = nn.GRU(units, units, 2, batch_first=True)
        self.decoder = nn.GRU(units, units, 2, batch_first=True)
        self.key, self.joined = nn.Linear(units, units, bias=False), nn.Linear(2 * units, units)
        self.classes = nn.Linear(units, words)

    def forward(self, words: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        states, h = self.encoder(self.words(words))
        y, _ = self.decoder(self.targets(targets), h)
        weights = torch.softmax(y @ self.key(states).transpose(1, 2), -1)
        return self.classes(torch.tanh(self.joined(torch.cat((weights @ states, y), -1)))).log_softmax(-1)


class GreedySeq2Seq(nn.Module):
    """A translator as tutorials have it: Bahdanau's attention, 128 units, a decoder that takes its own words."""

    def __init__(self, words: int = 3000, units: int = 128) -> None:
        super().__init__()
        self.words, self.targets = nn.Embedding(words, units), nn.Embedding(words, units)
        self.encoder = nn.GRU(units, units, batch_first=True)
        self.decoder = nn.GRU(2 * units, units, batch_first=True)
        self.query, self.key, self.score = nn.Linear(units, units), nn.Linear(units, units), nn.Linear(units, 1)
        self.classes = nn.Linear(units, words)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        states, h = self.encoder(self.words(words))
        word, made = torch.zeros((len(words), 1), dtype=torch.int64), []
        for _ in range(10):
            scores = self.score(torch.tanh(self.query(h.permute(1, 0, 2)) + self.key(states)))
            context = torch.bmm(torch.softmax(scores.squeeze(2).unsqueeze(1), -1), states)
            y, h = self.decoder(torch.cat((self.targets(word), context), 2), h)
            made.append(self.classes(y))
            word = made[-1].argmax(-1)
        return torch.cat(made, 1).log_softmax(-1)


def _modules() -> dict[str, tuple[Callable[[], nn.Module], tuple[Any, ...]]]:
    from torch_zoo import ZOO

    recurrent = (nn.GRU, nn.GRUCell)
    found: dict[str, tuple[Callable[[], nn.Module], tuple[Any, ...]]] = {
        "CRNN": (CRNN, (torch.rand(1, 1, 32, 200),)),
        "Seq2Seq": (Seq2Seq, (torch.randint(0, 3000, (1, 20)), torch.randint(0, 3000, (1, 20)))),
        "GreedySeq2Seq": (GreedySeq2Seq, (torch.randint(0, 3000, (1, 10)),)),
    }
    for name, entry in ZOO.items():
        if any(isinstance(part, recurrent) for part in entry.make().modules()):
            found[name] = entry.make, entry.example
    return found


def _medians(calls: list[Callable[[], object]], seconds: float) -> list[float]:
    """Microseconds of each call, taken in turn."""
    times: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < 5:
        for call, taken in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
    return [1e6 * statistics.median(taken) for taken in times]


def main() -> None:
    parser = argparse.ArgumentParser(description="The speed-up of fastgru.accelerate.")
    parser.add_argument("modules", nargs="*", metavar="MODULE")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each module (default: 0.5)")
    parser.add_argument("--threads", type=int, default=1, help="of both (default: 1)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    modules = _modules()
    unknown = [name for name in args.modules if name not in modules]
    if unknown:
        parser.error(f"no such module: {', '.join(unknown)}; there are {', '.join(modules)}")
    print("| module | torch, us | accelerated, us | ratio |\n|---|---:|---:|---:|")
    ratios = []
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in args.modules or modules:
            make, example = modules[name]
            torch.manual_seed(1)
            module = make().eval()
            computing = copy.deepcopy(module)
            fastgru.accelerate(computing, n_threads=args.threads)
            before, after = _medians([lambda: module(*example), lambda: computing(*example)], args.seconds)  # noqa: B023
            ratios.append(before / after)
            print(f"| {name} | {before:,.0f} | {after:,.0f} | {before / after:.2f} |", flush=True)
    print(f"\n{len(ratios)} modules: median {statistics.median(ratios):.2f}, lowest {min(ratios):.2f}")


if __name__ == "__main__":
    main()
