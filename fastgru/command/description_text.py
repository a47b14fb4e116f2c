"""What ``fastgru inspect``, ``fastgru convert`` and ``fastgru verify`` print, for a person to read.

Owns the words and the tables; what is in a file is found out by ``importers.describe``, and what a precision costs by
``verification``.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from ..checkpoint.text import shown
from ..evaluation.checking import problem_of
from ..terminal import counted, print_table, printable

__all__ = ["print_conversion", "print_description", "print_verification"]

NAMES_SHOWN = 8
ROWS_SHOWN = 100  # layers of a table; a file may describe 100,000
LONGEST_CELL = 160  # a layer may have a thousand inputs, and sizes of a thousand digits
_REDUCED = {"float16", "bfloat16", "int8", "uint8", "int32"}
_UNSAID = ("bias", "return_sequences")  # is so in most layers; said where it is not


def print_description(found: dict[str, Any]) -> None:
    """Print what ``describe`` gives."""
    print(printable("\n".join([*_facts(found), *([""] if found["layers"] else [])])))
    _print_layers(found["layers"])
    for line in _notes(found):
        print(printable(line))


def print_conversion(found: dict[str, Any]) -> None:
    """Print what ``convert`` gives, with the layers of the file that was written."""
    print(printable(f"{found['source']} ({found['bytes_read']:,} bytes)"))
    packed = f", packed for the kernels {found['packed_for']!r}" if found["packed_for"] else ""
    print(printable(f"  -> {found['target']} ({found['bytes_written']:,} bytes{packed})\n"))
    _print_layers(found["layers"])
    if found["largest_difference"] is None:
        print(printable(f"\nThe two were not compared: {found['not_compared']}"))
        return
    inputs = f"{counted(found['rows'], 'random row')} of {counted(found['steps'], 'step')}"
    precision = f", in {found['precision']}" if found["precision"] else ""
    print(f"\nLargest difference between the two{precision}, on {inputs}: {found['largest_difference']:g}")
    if found["rounding_difference"] is not None and found["precision"] not in ("float32", "float64"):
        print(f"Largest difference that {found['precision']} makes to float32: {found['rounding_difference']:g}")


def print_verification(path: str, found: dict[str, Any]) -> None:
    """Print what ``verify`` gives."""
    steps = "" if found["steps"] is None else f" of {counted(found['steps'], 'step')}"
    rows = counted(found["rows"], "row") + steps
    print(printable(path))
    inputs = "the data given" if found["seed"] is None else f"noise of seed {found['seed']}"
    print(f"  on       {inputs}: {rows}")
    largest = "none is a number" if found["largest_output"] is None else f"up to {found['largest_output']:.3g}"
    print(f"  outputs  {largest}; differences are from those in float64")
    if found["stored"]:
        print(f"  weights  stored in {', '.join(found['stored'])}; what that cost is in no difference from float64")
    print("  time     the median of a call on as many rows\n")
    each_timed = [each["timings"] for each in found["precisions"] if each["timings"]]
    timed = [counted(timing["rows"], "row") for timing in (each_timed or [[]])[0]]
    scored = ["same class"] if found["classes"] else []
    headings = ["precision", "largest", "mean", *scored, "weights", *timed]
    cells = [_precision_cells(each, headings) for each in found["precisions"]]
    print_table(headings, cells, right=headings[1:])
    print(printable("\n".join(["", *_verification_notes(found)]).rstrip()))


def _precision_cells(each: dict[str, Any], headings: Sequence[str]) -> list[str]:
    if each["problem"] is not None:
        return [each["precision"], "not possible", *[""] * (len(headings) - 2)]
    share = "" if each["same_class"] is None else _percent(each["same_class"])
    differences = [each["largest_difference"], each["mean_difference"]]
    return [
        each["precision"],
        *("no number" if value is None else f"{value:.1e}" if value else "0" for value in differences),
        *([share] if "same class" in headings else []),
        _bytes(each["packed_bytes"]),
        *(_time(timing["seconds"]) for timing in each["timings"]),
    ]


def _percent(share: float) -> str:
    """To a tenth of a percent, and 100 % only where it is all."""
    return "100 %" if share == 1 else f"{min(100 * share, 99.9):.1f} %"


def _time(seconds: float) -> str:
    for unit, scale in (("us", 1e-6), ("ms", 1e-3)):
        if seconds < 999.5 * scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds:.3g} s"


def _verification_notes(found: dict[str, Any]) -> Iterator[str]:
    """The lines below the table: what cannot be had, what the columns mean, and the verdict."""
    for each in found["precisions"]:
        if each["problem"] is not None:
            yield f"{each['precision']} is not possible: {each['problem']}"
        elif each["lost"]:
            count = f"{counted(each['lost'], 'output')} {'is' if each['lost'] == 1 else 'are'}"
            yield f"{each['precision']}: {count} NaN or infinite where float64 has a number"
    total = counted(found["compared"] + found["left_out"] + found["broken"], "output")
    if found["left_out"]:
        yield f"Left out: {found['left_out']:,} of {total}, which NaN or infinity in the data reaches."
    if found["broken"]:
        yield f"Within no tolerance: {found['broken']:,} of {total}, NaN or infinite in float64 too."
    if found["classes"]:
        yield f"Same class: the largest of {found['classes']} outputs is the one that is largest in float64."
    for each in found["expected"]:
        if each["within"]:
            weights = "the weights as they are stored" if found["stored"] else "unrounded weights"
            off = f"at most {each['largest_difference']:.2g} off with {weights}"
            yield f"As expected: {each['name']}, {off}"
        else:
            yield f"Not as expected: {problem_of(each)}"
    if found["tolerance"] is not None:
        beyond = [each["precision"] for each in found["precisions"] if not each["within"]]
        bar = f"the tolerance of {found['tolerance']:g}"
        yield f"Beyond {bar}: {', '.join(beyond)}" if beyond else f"Within {bar}"


def _print_layers(layers: Sequence[dict[str, Any]]) -> None:
    """The table of layers, without the columns that have nothing to say."""
    rows = list(islice(_rows(layers, graph=not _is_chain(layers)), ROWS_SHOWN))
    kept = [name for name in _COLUMNS if name in _ALWAYS or any(row[name] for row in rows)]
    if rows:
        print_table(kept, [[_cut(row[name], LONGEST_CELL) for name in kept] for row in rows], right=("parameters",))
    more = _count(layers) - len(rows)
    if more:
        print(f"... and {more:,} more, which --json lists")


def _count(layers: Sequence[dict[str, Any]]) -> int:
    """The layers, and those of the models inside them."""
    return sum(1 + _count(layer["layers"]) for layer in layers)


_COLUMNS = ("layer", "kind", "takes", "sizes", "gives", "options", "parameters")
_ALWAYS = ("layer", "kind", "parameters")


def _rows(layers: Sequence[dict[str, Any]], graph: bool, indent: str = "") -> Iterator[dict[str, str]]:
    """A row for every layer, and behind it, set in, those of the model inside it."""
    for layer in layers:
        shared = layer["shared_with"]
        yield {
            "layer": indent + (layer["name"] or "(top level)"),
            "kind": layer["kind"],
            "takes": _edges(layer["inputs"], layer["mask"]) if graph else "",
            "sizes": _sizes(layer["sizes"]),
            "gives": "; ".join(_shape(shape) for shape in layer["outputs"]),
            "options": _options(layer["options"]) if shared is None else f"the weights of {shared}",
            "parameters": f"{layer['parameters']:,}",
        }
        yield from _rows(layer["layers"], not _is_chain(layer["layers"]), indent + "  ")


def _is_chain(layers: Sequence[dict[str, Any]]) -> bool:
    """Whether every layer takes what the one before it gives, and nothing else."""
    taken = [[(edge["from"], edge["index"]) for edge in layer["inputs"]] for layer in layers]
    before = [(layer["name"], 0) for layer in layers]
    masked = any(layer["mask"] is not None for layer in layers)
    follows = all(edges == [previous] for edges, previous in zip(taken[1:], before, strict=False))
    return not masked and len(taken[:1] and taken[0]) <= 1 and (follows or not any(taken))


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def _edges(inputs: Sequence[dict[str, Any]], mask: dict[str, Any] | None) -> str:
    named = [f"{edge['from']}[{edge['index']}]" if edge["index"] else edge["from"] for edge in inputs]
    return ", ".join([*named, *([f"mask {mask['from']}"] if mask is not None else [])])


def _shape(shape: Sequence[int | None]) -> str:
    return f"({', '.join('any' if size is None else str(size) for size in shape)}{',' if len(shape) == 1 else ''})"


def _sizes(sizes: dict[str, Any]) -> str:
    """``8 -> 64, 2 layers``: what comes in and goes out, then every count that is not one."""
    values = list(sizes.items())
    ends = " -> ".join(str(value) for _, value in values[:2])
    return ", ".join([ends, *(f"{value} {name.removeprefix('num_')}" for name, value in values[2:] if value != 1)])


def _options(options: dict[str, Any]) -> str:
    """What tells one layer from another; what is so in most of them goes without saying."""
    words = []
    for name, value in options.items():
        if name in _UNSAID:
            words += [] if value else [f"no {name}"]
        elif name == "reset_after":
            words.append("reset after" if value else "reset before")
        elif name == "recurrent_activation":
            words.append(f"gates {_activation(value)}")
        elif name == "activation":
            words.append(_activation(value))
        elif value is not None and value is not False and (name, value) != ("axis", -1):
            words.append(name if value is True else f"{name} {value}")
    return ", ".join(words)


def _activation(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    return f"{value['name']}({', '.join(f'{name}={each}' for name, each in value.items() if name != 'name')})"


def _facts(found: dict[str, Any]) -> list[str]:
    """The lines above the table of layers."""
    count = len(found["layers"])
    writer = " ".join(filter(None, (found["writer"], found["version"])))
    lines = [
        str(found["path"]),
        f"  format      {found['format']}" + (f", written by {writer}" if writer else ""),
        *([f"  parameters  {found['parameters']:,} in {counted(count, 'layer')}"] if count else []),
        f"  loads as    {_loads_as(found)}",
    ]
    if found["classes"]:
        lines.append(f"  classes     {_some([f'{path} {name}'.strip() for path, name in found['classes'].items()])}")
    if any(kind != "float32" for kind in found["stored"]):
        lines.append(f"  stored as   {_stored(found)}")
    if found.get("packed"):
        lines.append(f"  packed      {_packed(found['packed'])}")
    if found.get("packed_gru_weights"):
        lines.append(f"  GRU weights in memory: {_in_memory(found['packed_gru_weights'])}")
    if found["inputs"]:
        lines.append(f"  takes       {_some([_flow(each['name'], each) for each in found['inputs']])}")
        lines.append(
            f"  gives       {_some([_flow(each.get('name', each['from']), each) for each in found['outputs']])}"
        )
    return lines


def _stored(found: dict[str, Any]) -> str:
    """``int8 (2 tensors), float32 (2 tensors)``; where a type is not computed in, what becomes of it."""
    counts, kept = found["stored"], found["stored_precision"]
    words = ", ".join(f"{kind} ({counted(count, 'tensor')})" for kind, count in counts.items())
    if not counts.keys() & _REDUCED:
        return words
    if kept is None or not found.get("packed_gru_weights"):
        return f"{words}; read as float32"
    if kept in _REDUCED:
        return f'{words}; read as float32, or as {kept} with precision="stored"'
    return f'{words}; read as float32, also with precision="stored": none of these keeps all weights of the GRUs'


def _packed(packed: dict[str, Any]) -> str:
    """Which kernels the weights of a file are packed for, and what those here make of them."""
    words = f"{_bytes(packed['bytes'])} of {packed['precision']} for the kernels {shown(packed['kernels'], 40)}; "
    if packed["read_as_it_lies"]:
        return f"{words}those here read it as it lies, one copy for all processes"
    return (
        f"{words}those here, {packed['kernels_here']!r}, pack it again in the memory of each process; "
        "fastgru convert --packed writes it for them"
    )


def _in_memory(sizes: dict[str, int | str]) -> str:
    """``float32 6.3 MB, bfloat16 3.2 MB; float16 not possible: ...``"""
    words = [f"{precision} {_bytes(size)}" for precision, size in sizes.items() if isinstance(size, int)]
    refused = [f"{precision} not possible: {size}" for precision, size in sizes.items() if isinstance(size, str)]
    return "; ".join([", ".join(words), *refused])


def _bytes(count: int) -> str:
    """A number of bytes in the unit that leaves it at most four digits."""
    size, units = float(count), iter(("bytes", "kB", "MB", "GB", "TB"))
    unit = next(units)
    while size >= 999.5 and unit != "TB":
        size, unit = size / 1000, next(units)
    return f"{size:.3g} {unit}"


def _flow(name: str, each: dict[str, Any]) -> str:
    number = f"[{each['index']}]" if each.get("index") else ""
    rows = f", {each['batch']} at once" if each.get("batch") else ""
    return f"{name}{number} {_shape(each['shape'])}{' of integers' if each.get('integers') else ''}{rows}"


def _notes(found: dict[str, Any]) -> list[str]:
    """The lines below it: what cannot be loaded, what is not used, and how to load the rest."""
    problems = [
        f"  {_problem_of(layer, found)}"
        for layer in found["layers"]
        if layer["problem"] and layer["problem"] != found["problem"]
    ]
    lines = problems[:ROWS_SHOWN]
    if problems[ROWS_SHOWN:]:
        lines.append(f"  ... and {len(problems) - ROWS_SHOWN:,} more")
    lines += _names(found["unused"], "tensor that no layer uses", "tensors that no layer uses")
    lines += _names(found["beside"], "tensor beside the model", "tensors beside the model, as of an optimizer")
    lines += _names(found["skipped"], "object that is not a tensor", "objects that are not tensors")
    if found["suggested_layers"]:
        call = f"  fastgru.load({json.dumps(found['path'])}, {found['suggested_layers']})"
        option = f"  --layers {shlex.quote(found['suggested_layers'].removeprefix('layers='))}"
        lines += ["", "The file does not say in which order its layers run, nor what runs at each ...; say it in", call]
        lines += ["and on the command line in", option]
    elif found["advice"]:
        lines += [""]
    compare = [_COMPARE] if found["suggested_layers"] or (found["advice"] and not found["loads_as"]) else []
    return [*lines, *found["advice"], *compare]


_COMPARE = "fastgru verify with --layers, --data x.npy and --expected y.npy tells whether that gives what it should."


def _loads_as(found: dict[str, Any]) -> str:
    if found["loads_as"]:
        return str(found["loads_as"])
    if found["suggested_layers"]:
        return "Model, once its layers are named"
    if found["advice"]:
        return f"nothing by itself: {_without_path(found['problem'], found)}"
    return f"nothing: {_without_path(found['problem'], found)}"


def _problem_of(layer: dict[str, Any], found: dict[str, Any]) -> str:
    """A layer's problem, after its name where it does not begin with that already."""
    problem = _without_path(layer["problem"], found)
    if problem.startswith("layer "):
        return problem
    return f"{layer['name'] or 'the top level of the file'}: {problem}"


def _without_path(problem: str, found: dict[str, Any]) -> str:
    """A problem without the path that it begins with, which stands in the first line already."""
    return problem.removeprefix(f"{found['path']}: ")


def _names(names: Sequence[str], one: str, several: str) -> list[str]:
    if not names:
        return []
    return ["", f"{len(names)} {one if len(names) == 1 else several}:", f"  {_some(names)}"]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN:,} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(_cut(name, LONGEST_CELL) for name in names[:NAMES_SHOWN]) + more
