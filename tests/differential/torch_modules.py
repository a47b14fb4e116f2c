"""The families of PyTorch's modules: scripted, traced, exported, live, and state dicts by the suggested line."""

from __future__ import annotations

import inspect
import logging
import os
import random
import tempfile
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch_chains
import torch_programs
import torch_states
from case import Family, Outcome
from torch_check import Comparison
from torch_numbers import reason
from torch_script import written
from torch_source import arrays_of, built, folder, forget, tensors_of

import fastgru

__all__ = ["FAMILIES"]

torch.set_num_threads(1)
warnings.simplefilter("ignore")
os.environ.setdefault("FASTGRU_NUM_THREADS", "1")
logging.getLogger("torch").setLevel(logging.ERROR)
torch._C._jit_set_profiling_executor(False)  # it would compile again for every size
torch._C._jit_set_profiling_mode(False)

Run = Callable[..., Any]
_lines_of = inspect.getsourcelines
_lines: dict[Any, tuple[list[str], int]] = {}


def _kept(value: Any) -> tuple[list[str], int]:
    """``inspect.getsourcelines``, once for each function of PyTorch: three quarters of the time of scripting."""
    function = getattr(value, "__func__", value)
    if not str(getattr(function, "__module__", "")).startswith("torch."):
        return _lines_of(value)
    if function not in _lines:
        _lines[function] = _lines_of(value)
    return _lines[function]


inspect.getsourcelines = _kept


def scripted(case: dict[str, Any], module: torch.nn.Module, path: str) -> Run:
    made = torch.jit.script(module)
    if case["way"] == "frozen":
        made = torch.jit.freeze(made)
    torch.jit.save(made, path)
    return made  # type: ignore[no-any-return]


def traced(case: dict[str, Any], module: torch.nn.Module, path: str) -> Run:
    example = tuple(tensors_of(case, arrays_of(case, *case["example"])))
    made = torch.jit.trace(module, example, check_trace=False, strict=False)
    if case["way"] == "frozen trace":
        made = torch.jit.freeze(made)
    torch.jit.save(made, path)
    return made  # type: ignore[no-any-return]


def exported(case: dict[str, Any], module: torch.nn.Module, path: str) -> Run:
    """The module itself is the reference at sizes that the export does not take: an answer there has to be its."""
    example = tuple(tensors_of(case, arrays_of(case, *case["example"])))
    open_axes = {"exported": (), "exported batch": ("batch",), "exported open": ("batch", "steps")}[case["way"]]
    shapes = []
    for _, kind, *_ in case["inputs"]:
        axes = {"vector": ["batch"], "states": ["", "batch"]}.get(kind, ["batch", "steps"])
        axes = axes[::-1] if case["time_first"] and len(axes) == 2 and kind != "states" else axes
        shapes.append({at: torch.export.Dim.AUTO for at, name in enumerate(axes) if name in open_axes})
    program = torch.export.export(module, example, dynamic_shapes=tuple(shapes) if open_axes else None, strict=False)
    if case["decomposed"]:
        program = program.run_decompositions({})
    torch.export.save(program, path)
    return module


class Programs:
    """Modules with a forward of their own."""

    def __init__(self, name: str, ways: list[str], save: Callable[[dict[str, Any], torch.nn.Module, str], Run]) -> None:
        self.name, self._ways, self._save = name, ways, save

    def generate(self, rng: random.Random) -> dict[str, Any]:
        return torch_programs.generated(rng, self._ways)

    def check(self, case: dict[str, Any]) -> Outcome:
        with tempfile.TemporaryDirectory(dir=folder()) as place:
            path = os.path.join(place, "model.pt2" if "exported" in case["way"] else "model.pt")
            try:
                module = built(case)
                with torch.no_grad():
                    run = self._save(case, module, path)
            except Exception as error:
                return Outcome("skipped", reason(error))
            finally:
                forget()
            return Comparison(case, run, lambda **options: fastgru.load(path, **options), place,
                              module).outcome()

    def smaller(self, case: dict[str, Any]) -> Iterator[dict[str, Any]]:
        return torch_programs.smaller(case)

    def script(self, case: dict[str, Any]) -> str:
        return written(case)


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Programs("torch scripted", ["scripted", "scripted", "frozen"], scripted),
        Programs("torch traced", ["traced", "traced", "frozen trace"], traced),
        Programs("torch exported", ["exported", "exported batch", "exported open"], exported),
        torch_chains.Live(),
        torch_states.States(),
    )
}
