"""``fastgru bench``: a user's own model beside the engines that are installed.

Owns what is measured of a file, and what is printed; arguments and exit codes are the command line's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

from ..errors import MissingDependencyError, UnsupportedModelError
from ..evaluation.random_inputs import rows_and_steps
from ..gru import GRU, Precision
from ..gru_weights import GRUSpec
from ..load import load
from ..model import Model
from ..outputs import check_writable
from ..stacks import grus_of
from ..terminal import print_table, printable, progress
from .cases import Case, Measured
from .peers import IN_FLOAT32, OWN, PEERS, engine, installed, pip_line
from .plots import check_suffix, plot_results
from .results import ratio
from .runner import parts, run

if TYPE_CHECKING:
    from ..importers.weights.chain import LayerItem

__all__ = ["bench", "grus_of", "systems_for"]

WHOLE = "whole model"


def bench(
    path: str,
    *,
    layers: Sequence[LayerItem] | None,
    strict: bool,
    part: str | None,
    against: Sequence[str] | None,
    precision: str,
    scenarios: Sequence[str],
    steps: int,
    batch: int,
    threads: Sequence[int],
    seconds: float,
    bound: float,
    as_json: bool,
    plot: str | None,
) -> None:
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
    against : sequence of str, optional
        Engines of ``PEERS``; if left out, all in float32 that are installed, and for int8 PyTorch's too.
    precision : str
        Of ``OWN``: what fastgru keeps the weights of GRUs in.
    scenarios : sequence of str
        Of the values of ``SCENARIOS``.
    steps, batch : int
        Steps of a sequence; rows of a batch, and streams that step together.
    threads : sequence of int
    seconds : float
        For each engine, case and number of threads.
    bound : float
        Of Server, in milliseconds.
    as_json : bool
        Print the results as JSON instead.
    plot : str, optional
        The image file to write as well.

    Raises
    ------
    MissingDependencyError
        An engine that is asked for, or matplotlib for a plot, is not installed.
    FastGRUError
        ``plot`` is no name of an image, it cannot be written, or more threads are asked for than there are processors.
    UnsupportedModelError
        Nothing of the model can be measured in these scenarios, or a weight has no such precision.
    """
    systems = systems_for(against, precision)
    if plot is not None:
        _check_plot(plot)
    loaded = load(path, layers=layers, strict=strict, part=part, precision=cast(Precision, precision))
    models = measured(loaded)
    cases = list(_cases(loaded, models, scenarios, steps, batch, bound))
    if not cases:
        raise UnsupportedModelError(
            f"{path}: nothing of it can be measured as {', '.join(scenarios)}: a bidirectional GRU cannot take single "
            "steps; ask for another scenario"
        )
    with progress(parts(cases, systems, threads), "checks and timings") as advance:
        results = run(cases, models, systems, threads, seconds, advance)
    if plot is not None:
        plot_results(results, plot)
    if as_json:
        print(json.dumps(results, indent=2))
    else:
        _print(path, loaded, results, plot)


def systems_for(against: Sequence[str] | None, precision: str = "float32") -> list[str]:
    """fastgru in this precision and the engines asked for, which must be installed; or all that suit and are."""
    for name in against or ():
        if not installed(name):
            raise MissingDependencyError(f"{PEERS[name].title} is asked for but is not installed: {pip_line(name)}")
    usual = [name for name in (*IN_FLOAT32, "torch-int8") if PEERS[name].precision in ("float32", precision)]
    others = against if against is not None else [name for name in usual if installed(name)]
    return [name for name in PEERS if (name == OWN[precision] if engine(name) == "fastgru" else name in others)]


def measured(model: GRU | Model) -> dict[str, Measured]:
    """What is measured, by a name for a file: the GRU of the file, or the whole model and each GRU in it."""
    if isinstance(model, GRU):
        return {"gru": model.spec}
    whole = model.description
    return {"model": whole, **{f"gru-{place + 1}": gru for place, (_, gru) in enumerate(grus_of(whole))}}


def _cases(
    loaded: GRU | Model, models: Mapping[str, Measured], scenarios: Sequence[str], steps: int, batch: int, bound: float
) -> Iterator[Case]:
    names = {"gru": ""}
    whole = models.get("model")
    if whole is not None:
        names = {f"gru-{place + 1}": f"{name}: " for place, (name, _) in enumerate(grus_of(whole))}
        shapes: set[tuple[int, int]] = set()
        for scenario, wanted in (("SingleStream", 1), ("Offline", batch)):
            rows, length = rows_and_steps(loaded, steps, wanted)
            if scenario in scenarios and (rows, length) not in shapes:
                shapes.add((rows, length))
                yield Case(scenario, f"{WHOLE}: {_words(length, rows)}", "model", length, rows)
    for key, name in names.items():
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


def _print(path: str, model: GRU | Model, results: Mapping[str, Any], plot: str | None) -> None:
    """The results for a person: what was measured, then a table for each number of threads."""
    machine, versions = results["machine"], results["versions"]
    engines = ", ".join(f"{PEERS[name].title} {version}" for name, version in versions.items())
    print(printable(f"{path}: {model!r}"))
    print(printable(f"{machine['cpu']}, {machine['cores']} cores, {machine['isa']} kernels; {engines}"))
    if isinstance(model, Model):
        print(
            "The whole model runs in fastgru alone. Each GRU in it is given to the others with its weights, and all "
            "run it on random inputs."
        )
    if len(versions) == 1:
        print(f"No other engine is installed to compare with; for one of them {pip_line('onnxruntime')}")
    rows = results["results"]
    for threads in sorted({row["threads"] for row in rows}):
        print(f"\n{threads} thread{'s' if threads > 1 else ''}; microseconds of single calls, every output checked\n")
        chosen = [row for row in rows if row["threads"] == threads]
        print_table(_HEADINGS, list(_table(chosen)), right=_HEADINGS[1:])
        for line in ["", *_left_out(chosen)]:
            print(printable(line))
    for note in results["notes"]:
        print(printable(note))
    if plot is not None:
        print(printable(f"Drawn in {plot}"))


_HEADINGS = ("case", "p50", "p90", "p99", "min", "calls", "a second", "/ fastgru")


def _table(rows: Sequence[Mapping[str, Any]]) -> Iterator[list[str]]:
    """Each case's name, and below it a line for every engine that was timed."""
    for name in dict.fromkeys(row["case"] for row in rows):
        same = {row["system"]: row for row in rows if row["case"] == name and row["skipped"] is None}
        own = [system for system in same if engine(system) == "fastgru"]
        if same:
            yield [name, *[""] * (len(_HEADINGS) - 1)]
        for system, row in same.items():
            times = None if system in own else ratio(same, (system,), *own)
            rate = row["rate"] if row["scenario"] == "Server" else 1e6 * row["batch"] / row["p50"]
            figures = [row[figure] for figure in ("p50", "p90", "p99", "min")]
            yield [
                f"  {PEERS[system].title}",
                *(f"{each:.4g}" if each < 10_000 else f"{each:.0f}" for each in figures),
                f"{row['n']:,}",
                f"{rate:,.0f}",
                "" if times is None else f"{times:.2f}",
            ]


def _left_out(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Who was not timed and why; what the other engines cannot have of a whole model goes without saying."""
    for row in rows:
        if row["skipped"] is not None and (engine(row["system"]) == "fastgru" or not row["case"].startswith(WHOLE)):
            yield f"{row['case']}: {PEERS[row['system']].title} is left out: {row['skipped']}"
