"""A live PyTorch module as a model: exported, read as a graph, and compared with the module before it is given back.

Joins the importer and what runs; torch is the caller's, and never imported here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .errors import DTypeError, FastGRUError, UnsupportedModelError
from .graph.graph import Graph
from .graph.size import Expression, evaluate
from .model import Model
from .options import Backend, Precision

__all__ = ["check_outputs", "from_example", "model_of", "model_of_program"]

TOLERANCE = 1e-4  # of the largest number of an output: 30 to 1,000 times what float32 differs by in GRUs of 100 steps
TRIALS = 4  # of other sizes than the example's
SIZES = (1, 2, 3, 5, 8, 13)


def from_example(
    module: object, example: object, precision: str, n_threads: int | None, backend: Backend | None,
    check: tuple[Any, Any] | None,
) -> Model:  # fmt: skip
    """A module as its code runs, or an exported program as it is; compared with ``check`` if there is one."""
    kept: Precision = "float32" if precision == "stored" else precision  # type: ignore[assignment]
    if example is None:
        made = model_of_program(module, kept, n_threads, backend)
    else:
        made = model_of(module, example, kept, n_threads, backend)
    if check is not None:
        check_outputs(made(check[0]), _plain(check[1]), "check")
    return made


def _plain(given: Any) -> Any:
    """Outputs of PyTorch as arrays, in the structure that they have."""
    if isinstance(given, Mapping):
        return {key: _plain(each) for key, each in given.items()}
    if isinstance(given, (tuple, list)):
        return [_plain(each) for each in given]
    return given.detach().cpu().numpy() if hasattr(given, "detach") else given


def model_of(module: Any, example: Any, precision: Precision, n_threads: int | None, backend: Backend | None) -> Model:
    """What ``from_torch(module, example)`` gives.

    Raises
    ------
    DTypeError
        ``module`` is no PyTorch module.
    UnsupportedModelError
        It is in training mode, its code cannot be followed, an operation has no word here, or the result differs from
        the module's own.
    """
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(module, torch.nn.Module):
        raise DTypeError(f"from_torch: got {type(module).__name__} and an example, wanted a torch.nn.Module")
    where = type(module).__name__
    if isinstance(module, torch.jit.ScriptModule):
        raise UnsupportedModelError(f"{where}: it is TorchScript, which is taken without an example")
    if module.training:
        raise UnsupportedModelError(f"{where}: it is in training mode; call module.eval() before")
    from .importers.torch.live import exported

    found = exported(module, example)
    options: dict[str, Any] = {"n_threads": n_threads, "backend": backend}
    exact = Model(found.graph, precision="float32", **options)
    for trial, inputs in enumerate(_trials(torch, exact.graph, example)):
        if trial == 0:
            exact(inputs)  # an error for the example is the caller's to see
        _compare(torch, module, exact, example, inputs, where)
    return exact if precision == "float32" else Model(found.graph, precision=precision, **options)


def model_of_program(program: Any, precision: Precision, n_threads: int | None, backend: Backend | None) -> Model:
    """What ``from_torch`` gives of a ``torch.export.ExportedProgram``."""
    from .importers.torch.fx import graph_of

    graph = graph_of(program, "ExportedProgram")
    return Model(graph, precision=precision, n_threads=n_threads, backend=backend)


def _trials(torch: Any, graph: Graph, example: Any) -> Iterator[dict[str, np.ndarray]]:
    """The example, and inputs of other sizes with numbers like its own."""
    from .importers.torch.live import flat_inputs, other_inputs

    given = flat_inputs(torch, example)
    named = {source.name: array for source, array in zip(graph.inputs, given, strict=True)}
    yield named
    shapes = [graph.tensors[source.value].shape for source in graph.inputs]
    open_sizes = [size for shape in shapes for size in shape if isinstance(size, Expression)]
    symbols = sorted({name for size in open_sizes for name in size.symbols()})
    random, found = np.random.default_rng(0), 0
    for trial in range(20 * TRIALS):
        sizes = {name: int(random.choice(SIZES)) for name in symbols}
        fits = all(guard_holds(graph, sizes, place) for place in range(len(graph.guards)))
        positive = all(evaluate(size, sizes) > 0 for shape in shapes for size in shape)
        if symbols and fits and positive:
            found += 1
            yield other_inputs(graph, named, sizes, trial)
        if found == TRIALS:
            return


def guard_holds(graph: Graph, sizes: Mapping[str, int], place: int) -> bool:
    """Whether sizes satisfy one of a graph's guards."""
    from .graph.graph import RELATIONS

    one, relation, other, _ = graph.guards[place]
    try:
        return RELATIONS[relation](evaluate(one, sizes), evaluate(other, sizes))
    except FastGRUError:
        return False


def _compare(torch: Any, module: Any, model: Model, example: Any, inputs: Mapping[str, np.ndarray], where: str) -> None:
    """Raise unless a model gives what the module gives, where the module takes such inputs at all."""
    from .importers.torch.live import call_with

    try:
        expected = call_with(torch, module, example, inputs)
    except Exception as error:  # sizes that PyTorch refuses are no test, but those of the example are the caller's
        expected = error
    try:
        made = model(inputs)
    except FastGRUError:
        return  # refused where the module computes: that is said when it is called so
    if isinstance(expected, Exception):
        raise UnsupportedModelError(
            f"{where}: it computes for inputs {_shapes(inputs)}, which PyTorch refuses ({str(expected)[:200]})"
        )
    check_outputs(made, expected, f"{where}: for inputs {_shapes(inputs)}")


def check_outputs(made: Any, expected: Any, where: str) -> None:
    """Raise unless outputs are those that are expected, in structure, shapes and numbers."""
    pairs = list(_pairs(made, expected, "the output"))
    for place, got, wanted in pairs:
        want = np.asarray(wanted)
        if got.shape != want.shape:
            raise UnsupportedModelError(
                f"{where}: {place} has the shape {got.shape}, PyTorch's {want.shape}; use fastgru.accelerate(module)"
            )
        if not want.size or want.dtype.kind not in "fiub":
            continue
        with np.errstate(all="ignore"):
            same = (got == want) | (np.isnan(got) & np.isnan(want)) if want.dtype.kind == "f" else got == want
            off = np.where(same, 0.0, np.abs(got.astype(np.float64) - want.astype(np.float64)))
        bound = TOLERANCE * max(1e-3, float(np.max(np.abs(want[np.isfinite(want)]), initial=0.0)))
        if not np.all(off <= bound):
            at = np.unravel_index(int(np.argmax(np.where(np.isnan(off), np.inf, off))), want.shape)
            raise UnsupportedModelError(
                f"{where}: {place} differs from PyTorch's: {got[at]:g} for {want[at]:g} at {tuple(map(int, at))}; "
                "please report the module, and use fastgru.accelerate(module) meanwhile"
            )


def _pairs(made: Any, expected: Any, place: str) -> Iterator[tuple[str, np.ndarray, Any]]:
    if expected is None and made is None:
        return
    if isinstance(expected, Mapping):
        if not isinstance(made, Mapping) or list(made) != list(expected):
            raise UnsupportedModelError(f"{place} is no dict of {list(expected)}")
        for key in expected:
            yield from _pairs(made[key], expected[key], f"{place}[{key!r}]")
    elif isinstance(expected, (tuple, list)):
        if not isinstance(made, (tuple, list)) or len(made) != len(expected):
            raise UnsupportedModelError(f"{place} is no tuple of {len(expected)}")
        for at, (one, other) in enumerate(zip(made, expected, strict=True)):
            yield from _pairs(one, other, f"{place}[{at}]")
    else:
        yield place, np.asarray(made), expected


def _shapes(inputs: Mapping[str, np.ndarray]) -> str:
    return ", ".join(f"{name} {array.shape}" for name, array in inputs.items())
