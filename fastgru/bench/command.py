"""``fastgru bench``: a user's own model beside the engines that are installed.

Owns what is measured of a file; ``report`` has what is printed, and the command line the arguments.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

from numpy.typing import NDArray

from ..errors import FastGRUError, MissingDependencyError, UnsupportedModelError
from ..evaluation.random_inputs import rows_and_steps
from ..gru import GRU
from ..gru_weights import GRUSpec
from ..layers.grus import grus_of
from ..load import load
from ..model import Model
from ..options import Precision
from ..outputs import check_writable
from ..terminal import printable, progress
from .cases import Case, Measured, ModelFiles
from .data import data_of, shape_of
from .peers import BEST_OF, IN_FLOAT32, OWN, PEERS, engine, installed, pip_line
from .plots import check_suffix, plot_results
from .report import WHOLE, print_report, warnings_of
from .runner import parts, run
from .scenarios import SCENARIOS, USUAL

if TYPE_CHECKING:
    from ..importers.weights.chain import LayerItem

__all__ = ["bench", "systems_for"]

Array = NDArray[Any]

STEPS, ROWS = 100, 32  # of random inputs
ONNX_ENGINES = ("onnxruntime", "openvino", "openvino-default")


@dataclass(frozen=True)
class Sizes:
    """Steps of a sequence, and rows of a batch; None for those of the user's own inputs."""

    steps: int | None
    batch: int | None


def bench(
    path: str,
    *,
    layers: Sequence[LayerItem] | None,
    strict: bool,
    part: str | None,
    onnx: str | None,
    trust: bool,
    data: Sequence[str] | None,
    against: Sequence[str] | None,
    precision: str,
    scenarios: Sequence[str],
    steps: int | None,
    batch: int | None,
    threads: Sequence[int],
    seconds: float,
    bound: float,
    as_json: bool,
    plot: str | None,
) -> int:
    """Measure a model file and print what came of it.

    Parameters
    ----------
    path : str
        A model file of any kind.
    layers : sequence, optional
        As in ``load``.
    strict : bool
        As in ``load``.
    part : str, optional
        As in ``load``.
    trust : bool
        Whether PyTorch may load the file, and so run any code in it.
    onnx : str, optional
        The same model as ONNX. With it, or with ``data``, the whole model alone is measured, and no GRU in it.
    data : sequence of str, optional
        The inputs of the whole model, as ``read_inputs`` takes them; random ones if left out.
    against : sequence of str, optional
        Engines of ``PEERS``; if left out, all in float32 that are installed, and for int8 PyTorch's too.
    precision : str
        Of ``OWN``: what fastgru keeps the weights of GRUs in.
    scenarios : sequence of str
        Of the values of ``SCENARIOS``.
    steps, batch : int, optional
        Steps of a sequence; rows of a batch, and streams that step together. 100 and 32 if left out, or what ``data``
        has.
    threads : sequence of int
    seconds : float
        For each engine, case and number of threads.
    bound : float
        Of Server, in milliseconds.
    as_json : bool
        Print the results as JSON instead.
    plot : str, optional
        The image file to write as well.

    Returns
    -------
    int
        The exit code: 1 where another engine computes another model, or none could run ``onnx``.

    Raises
    ------
    MissingDependencyError
        An engine that is asked for, or all that run ONNX with ``onnx``, or matplotlib for a plot, is not installed.
    FastGRUError
        ``plot`` is no name of an image, it cannot be written, or more threads are asked for than there are processors;
        ``onnx`` or ``data`` is given and the file is one GRU; ``data`` does not fit the model.
    UnsupportedModelError
        Nothing of the model can be measured in these scenarios, or a weight has no such precision.
    """
    systems = systems_for(against, precision)
    if onnx is not None:
        _check_onnx(onnx, systems, against)
    if plot is not None:
        _check_plot(plot)
    loaded = load(path, layers=layers, strict=strict, part=part, precision=cast(Precision, precision))
    own = _own_inputs(path, loaded, onnx, data, steps)
    models, files = measured(loaded), {"model": ModelFiles(path, onnx, own, trust)}
    if onnx is not None or own is not None:
        models = {"model": models["model"]}
    cases = list(_cases(loaded, models, scenarios, Sizes(steps, batch), bound, own))
    if not cases:
        alone = "a whole model is measured as single-stream and offline"
        why = "a bidirectional GRU cannot take single steps" if len(models) > 1 or "gru" in models else alone
        raise UnsupportedModelError(
            f"{path}: nothing of it can be measured as {', '.join(map(_asked, scenarios))}: {why}; ask for another"
        )
    with progress(parts(cases, systems, threads), "checks and timings") as advance:
        results = run(cases, models, systems, threads, seconds, advance, files)
    if isinstance(loaded, Model):
        results["notes"] += _not_installed(against)
    done = {case.scenario for case in cases}
    for scenario in scenarios if list(scenarios) != USUAL else ():
        if scenario not in done:
            results["notes"].append(f"{_asked(scenario)} is left out: nothing of {path} can be measured so")
    if plot is not None:
        plot_results(results, plot)
    if as_json:
        print(json.dumps(results, indent=2))
    else:
        print_report(path, loaded, results, own is not None, plot)
    found = list(warnings_of(results["results"]))
    for text in found if as_json else []:
        print(f"fastgru: warning: {printable(text)}", file=sys.stderr)
    ran = any(row["system"] in ONNX_ENGINES and row["skipped"] is None for row in results["results"])
    return 1 if found or (onnx is not None and not ran) else 0


def systems_for(against: Sequence[str] | None, precision: str = "float32") -> list[str]:
    """fastgru in this precision and the engines asked for, which must be installed; or all that suit and are."""
    for name in against or ():
        if not installed(name):
            raise MissingDependencyError(
                f"{PEERS[name].title} is asked for, and something it needs is not installed: {pip_line(name)}"
            )
    usual = [name for name in (*IN_FLOAT32, "torch-int8") if PEERS[name].precision in ("float32", precision)]
    others = against if against is not None else [name for name in usual if installed(name)]
    return [name for name in PEERS if (name == OWN[precision] if engine(name) == "fastgru" else name in others)]


def measured(model: GRU | Model) -> dict[str, Measured]:
    """What is measured, by a name for a file: the GRU of the file, or the whole model and each GRU in it."""
    if isinstance(model, GRU):
        return {"gru": model.spec}
    whole = model.description
    return {"model": whole, **{f"gru-{place + 1}": gru for place, (_, gru) in enumerate(grus_of(whole))}}


def _own_inputs(
    path: str, loaded: GRU | Model, onnx: str | None, data: Sequence[str] | None, steps: int | None
) -> dict[str, Array] | None:
    """The user's inputs, if there are any, once it is clear that these and an ONNX file belong to this model."""
    if isinstance(loaded, GRU):
        for option, value in (("onnx", onnx), ("data", data)):
            if value is not None:
                raise FastGRUError(
                    f"--{option}: is for whole models, and {path} is one GRU, which every engine is given by its "
                    f"weights; leave out --{option}"
                )
        return None
    if data is None:
        return None
    if steps is not None:
        raise FastGRUError("--steps: the sequences of --data have their own steps; leave out one of both")
    return data_of(loaded, data)


def _check_onnx(path: str, systems: Sequence[str], against: Sequence[str] | None) -> None:
    """Raise where the file cannot be opened, or no engine would run it."""
    with open(path, "rb"):
        pass
    if not any(name in ONNX_ENGINES for name in systems):
        if against is not None:
            raise FastGRUError(f"--onnx: is run by onnxruntime and openvino, and --against names {', '.join(against)}")
        raise MissingDependencyError(
            f"--onnx: no engine that runs ONNX is installed: {pip_line('onnxruntime')}, or {pip_line('openvino')}"
        )


def _asked(scenario: str) -> str:
    """A scenario as it is written on a command line."""
    return next(name for name, each in SCENARIOS.items() if each == scenario)


def _not_installed(against: Sequence[str] | None) -> Iterator[str]:
    """A sentence on each engine that would run whole models too."""
    for name in BEST_OF if against is None else ():
        if not installed(name):
            yield f"{WHOLE}: {PEERS[name].title} is left out: it is not installed ({pip_line(name)})"


def _cases(
    loaded: GRU | Model,
    models: Mapping[str, Measured],
    scenarios: Sequence[str],
    sizes: Sizes,
    bound: float,
    own: Mapping[str, Array] | None,
) -> Iterator[Case]:
    steps, batch = sizes.steps or STEPS, sizes.batch or ROWS
    names = {"gru": ""}
    whole = models.get("model")
    if whole is not None:
        names = {f"gru-{place + 1}": f"{name}: " for place, (name, _) in enumerate(grus_of(whole))}
        shapes: set[tuple[int, int]] = set()
        assert isinstance(loaded, Model)
        for scenario, wanted in (("SingleStream", 1), ("Offline", batch if own is None else sizes.batch)):
            random = rows_and_steps(loaded, steps, wanted or ROWS)
            rows, length = random if own is None else shape_of(loaded, own, wanted)
            if scenario in scenarios and (rows, length) not in shapes:
                shapes.add((rows, length))
                yield Case(scenario, f"{WHOLE}: {_words(length, rows)}", "model", length, rows)
    for key, name in names.items() if len(models) > 1 or whole is None else ():
        spec = models[key]
        assert isinstance(spec, GRUSpec)
        single = spec.directions == 1
        for scenario, length, rows in _shapes(steps, batch):
            if scenario not in scenarios or (length == 1 and not single):
                continue
            words = f"1 to {_words(length, rows)}" if scenario == "Ragged" else _words(length, rows)
            words = f"server, {words}, p99 below {bound:g} ms" if scenario == "Server" else words
            limit = 1e3 * bound if scenario == "Server" else None
            yield Case(scenario, name + words, key, length, rows, limit)


def _shapes(steps: int, batch: int) -> Iterator[tuple[str, int, int]]:
    """Scenario, steps and rows, each shape once."""
    yield "SingleStream", 1, 1
    if steps > 1:
        yield "SingleStream", steps, 1
    yield "MultiStream", 1, batch
    yield "Offline", steps, batch
    yield "Ragged", steps, batch
    yield "Server", steps, 1


def _words(steps: int, rows: int) -> str:
    length = "one step" if steps == 1 else f"{steps} steps"
    return length if rows == 1 else f"{length}, batch {rows}"


def _check_plot(path: str) -> None:
    """Raise before anything is measured where it could not be drawn."""
    if find_spec("matplotlib") is None:
        raise MissingDependencyError("a plot needs matplotlib: pip install matplotlib")
    check_suffix(path)
    check_writable(path)
