"""A case as a script that runs by itself and prints what PyTorch gives and what fastgru gives."""

from __future__ import annotations

import inspect
from typing import Any

import torch_source

__all__ = ["written"]

_SAVES = {
    "scripted": "torch.jit.save(torch.jit.script(module), path)",
    "frozen": "torch.jit.save(torch.jit.freeze(torch.jit.script(module)), path)",
    "traced": "run = torch.jit.trace(module, example, check_trace=False, strict=False)\ntorch.jit.save(run, path)",
    "frozen trace": "run = torch.jit.freeze(torch.jit.trace(module, example, check_trace=False, strict=False))\n"
                    "torch.jit.save(run, path)",
    "whole": "torch.save(module, path)",
    "state": "torch.save(module.state_dict(), path)",
}  # fmt: skip
_HEAD = """\
import os
import tempfile

import numpy as np

import fastgru
"""
_TAIL = """

torch.manual_seed(case["seed"])
module = Net().eval()
fill(module)
run = module
path = os.path.join(tempfile.mkdtemp(), "model")
example = tuple(tensors_of(case, arrays_of(case, *case["example"])))
with torch.no_grad():
{save}
model = {load}
print(model)


def call(arrays, lengths=None):
    if isinstance(model, fastgru.Model) and model.spec is None:
        return tuple(flat(model(*[each.numpy() for each in tensors_of(case, arrays)], lengths=lengths), np.ndarray))
    given = []
    for name, kind, *_ in case["inputs"]:
        apart = kind == "states" and not isinstance(model, fastgru.GRU)
        given += list(arrays[name]) if apart else [arrays[name]]
    if isinstance(model, fastgru.GRU):
        return model(*given, lengths=lengths)
    return model(given[0] if len(given) == 1 else given, lengths=lengths)


def show(title, compute):
    try:
        with torch.no_grad():
            made = compute()
    except Exception as error:
        print(title, type(error).__name__, error)
        return
    outputs = flat(made) if "PyTorch" in title else list(made) if isinstance(made, tuple) else [made]
    for each in map(np.asarray, outputs):
        print(title, each.shape, each.ravel()[:8])


for batch, steps in [case["example"], *case["sizes"]]:
    arrays = arrays_of(case, batch, steps)
    show(f"batch {{batch}}, {{steps}} steps: PyTorch", lambda: run(*tensors_of(case, arrays)))
    show(f"batch {{batch}}, {{steps}} steps: fastgru", lambda: call(arrays))
"""
_LENGTHS = """
batch, steps = case["example"]
for rows, longest, least in ((4, steps, 1), (4, 7, 1), (4, 7, 5), (batch, steps, 1), (batch, steps, 2)):
    lengths = [max(least, each) for each in (longest, longest // 2, 1, longest - 1)][-rows:]
    arrays = arrays_of(case, rows, longest)
    for row, length in enumerate(lengths):
        alone = rows_of(case, arrays, [row] * rows, length)
        show(f"row {row} as all rows, {length} steps: PyTorch", lambda: run(*tensors_of(case, alone)))
    show(f"lengths {lengths}: fastgru", lambda: call(arrays, lengths))
"""
_STREAM = """
arrays = arrays_of(case, 2, 5)
stream = model.stream(2)
for step in range(5):
    so_far = rows_of(case, arrays, [0, 1], step + 1)
    show(f"the first {step + 1} steps: PyTorch", lambda: run(*tensors_of(case, so_far)))
    show(f"step {step} of a stream: fastgru", lambda: stream.step(arrays[case["inputs"][0][0]][:, step]))
"""


def written(case: dict[str, Any], load: str = "fastgru.load(path)") -> str:
    functions = [torch_source.fill, torch_source.arrays_of, torch_source.tensors_of, torch_source.rows_of,
                 torch_source.flat]
    helpers = "\n\n".join(inspect.getsource(each) for each in functions)
    helpers = helpers.replace("Sequence[Any]", "list").replace("Sequence[int]", "list").replace("Arrays", "dict")
    kept = {key: case[key] for key in ("way", "inputs", "time_first", "seed", "example", "sizes")}
    save = _SAVES.get(case["way"]) or ("pass" if case["way"].startswith("live") else _export(case))
    tail = _TAIL.format(save="\n".join(f"    {line}" for line in save.splitlines()), load=load)
    more = "".join(text for name, text in (("lengths", _LENGTHS), ("stream", _STREAM)) if name in case["checks"])
    return (
        f"{_HEAD}{torch_source.HEADER}from typing import Any\n\ncase = {kept!r}\n\n\n"
        f"{torch_source.module_source(case)}\n\n{helpers}{tail}{more}"
    )


def _export(case: dict[str, Any]) -> str:
    dims = {"exported": [], "exported batch": [0], "exported open": [0, 1]}[case["way"]]
    if case["time_first"] and dims == [0]:
        dims = [1]
    own = {"states": [1], "vector": [0]}
    axes = []
    for _, kind, *_ in case["inputs"]:
        opened = [f"{dim}: torch.export.Dim.AUTO" for dim in (own.get(kind, dims) if dims else [])]
        axes.append(f"{{{', '.join(opened)}}}")
    shapes = f"({', '.join(axes)},)" if dims else "None"
    decomposed = ".run_decompositions({})" if case["decomposed"] else ""
    return (
        f"program = torch.export.export(module, example, dynamic_shapes={shapes}, strict=False){decomposed}\n"
        'path += ".pt2"\ntorch.export.save(program, path)'
    )
