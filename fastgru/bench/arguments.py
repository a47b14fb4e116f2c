"""The options of ``fastgru bench``; imports nothing that measures."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection

from .peers import PEERS, engine
from .scenarios import SCENARIOS, USUAL

__all__ = ["add_arguments"]

OTHERS = [name for name in PEERS if engine(name) != "fastgru"]


def add_arguments(bench: argparse.ArgumentParser, at_least_one: Callable[[str], int]) -> None:
    """Add all options but those of the model, its layers and its precision.

    ``at_least_one`` reads a whole number of at least 1.
    """
    bench.add_argument(
        "--onnx",
        metavar="FILE",
        help="the same model exported to ONNX, for ONNX Runtime and OpenVINO; without it, the export of a TorchScript "
        "file or a .pt2 by PyTorch. With --onnx or --data the whole model alone is measured, and no GRU in it. Exit "
        "code 1 where an engine computes something else, or none runs FILE",
    )
    bench.add_argument(
        "--trust",
        action="store_true",
        help="let PyTorch load MODEL, a TorchScript file or a .pt2, to run it and to export it to ONNX. PyTorch can "
        "run any code in such a file: only for one of your own. Without it MODEL is only read, and nothing in it runs",
    )
    bench.add_argument(
        "--data",
        metavar="DATA",
        nargs="+",
        action="extend",
        help="inputs of the whole model as for 'fastgru run': .npy, NAME=FILE.npy for each, or one .npz; without it, "
        "seeded noise",
    )
    bench.add_argument(
        "--against",
        type=lambda text: _listed(text, OTHERS),
        metavar="ENGINES",
        help=f"of {','.join(OTHERS)}; without it, all in float32 that are installed, and for int8 torch-int8",
    )
    bench.add_argument(
        "--scenario",
        dest="scenarios",
        type=lambda text: [SCENARIOS[name] for name in _listed(text, SCENARIOS)],
        default=USUAL,
        metavar="SCENARIOS",
        help=f"of {','.join(SCENARIOS)}; without it, the first three",
    )
    bench.add_argument("--steps", type=at_least_one, metavar="T", help="of a sequence (default 100, or those of DATA)")
    bench.add_argument(
        "--batch",
        type=at_least_one,
        metavar="B",
        help="rows, and streams together (default 32, or all of DATA); of DATA the first",
    )
    bench.add_argument(
        "--threads",
        type=lambda text: [at_least_one(each) for each in text.split(",")],
        default=[1],
        metavar="N",
        help="threads of every engine; several as 1,2 (default 1)",
    )
    bench.add_argument(
        "--seconds", type=_positive, default=0.5, metavar="S", help="for each engine and case (default 0.5)"
    )
    bench.add_argument(
        "--bound", type=_positive, default=10.0, metavar="MS", help="of server: p99 stays below it (default 10 ms)"
    )
    bench.add_argument("--json", action="store_true", help="print the results as JSON")
    bench.add_argument("--plot", metavar="OUT.png", help="also draw them; needs matplotlib")


def _listed(text: str, known: Collection[str]) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    wrong = [name for name in names if name not in known]
    if wrong:
        raise argparse.ArgumentTypeError(f"{', '.join(map(repr, wrong))}: wanted some of {','.join(known)}")
    return list(dict.fromkeys(names))


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number
