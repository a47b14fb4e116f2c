"""The command ``fastgru``: demo, inspect, run and config.

Owns the arguments, what is printed, and the exit codes: 0, 1 for an error of the package or
the system, 2 for a wrong command line, 130 after Ctrl-C, 141 where the reader of the output has gone. Computes
nothing itself, and imports what is heavy only in the command that needs it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Sequence
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any

from .errors import FastGRUError
from .terminal import print_table, printable, progress

if TYPE_CHECKING:
    from .importers.chain import LayerItem

__all__ = ["main"]

NAMES_SHOWN = 8

_LAYERS_WITHOUT_WEIGHTS = ("Last", "FinalState", "Mean", "Max", "Dropout")
_ITEM = re.compile(
    r"""\s*(?: (?P<json>"(?:[^"\\]|\\.)*")
             | '(?P<quoted>[^'\\]*)'
             | (?:fastgru\.)?(?P<layer>[A-Z]\w*)\(\s*["']?(?P<argument>\w*)["']?\s*\)
             | (?P<name>[^\s,()\[\]"']+)
         )\s*(?P<end>,|$)""",
    re.VERBOSE,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after the program's name; those of the process if left out.

    Returns
    -------
    int
        The exit code.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name in a file may not fit the terminal's encoding
    try:
        arguments = _parser().parse_args(argv)
        status: int = arguments.command(arguments)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python flushes once more, and complains
        return 141
    except (FastGRUError, ImportError, MemoryError, OSError) as error:
        print(f"fastgru: error: {printable(_message(error))}", file=sys.stderr)
        return 1


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


def _parser() -> argparse.ArgumentParser:
    from . import __version__

    parser = argparse.ArgumentParser(prog="fastgru", description="Runs trained GRU networks on a CPU.")
    parser.add_argument("--version", action="version", version=f"fastgru {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    demo = commands.add_parser("demo", help="run two trained models on real data, and show how right and how fast")
    demo.add_argument("--json", action="store_true", help="print the figures as JSON")
    demo.set_defaults(command=_demo)

    inspect = commands.add_parser("inspect", help="what a checkpoint holds and how to load it")
    inspect.add_argument("file", metavar="FILE", help="a PyTorch, safetensors or Keras file")
    inspect.add_argument("--json", action="store_true", help="print it as JSON")
    inspect.set_defaults(command=_inspect)

    _add_run(commands.add_parser("run", help="run a model on the sequences of a .npy file"))
    config = commands.add_parser("config", help="version, kernels, threads and BLAS of this machine")
    config.add_argument("--json", action="store_true", help="print it as JSON")
    config.set_defaults(command=_config)
    return parser


def _add_run(run: argparse.ArgumentParser) -> None:
    run.add_argument("model", metavar="MODEL", help="a PyTorch, safetensors or Keras file")
    run.add_argument("input", metavar="INPUT.npy", help="(batch, steps, features), or one sequence (steps, features)")
    run.add_argument("-o", "--output", metavar="OUTPUT.npy", required=True, help="written whole or not at all")
    run.add_argument(
        "--layers",
        type=_layers,
        metavar="CHAIN",
        help="the chain of layers for a file of weights only, such as 'gru,Last(),fc'; 'fastgru inspect' suggests one",
    )
    run.add_argument("--lengths", metavar="LENGTHS.npy", help="(batch,) integers: how many steps of each row are real")
    run.add_argument("--state", metavar="STATE.npy", help="also write the final states, where MODEL is a GRU alone")
    run.add_argument("--precision", choices=("float32", "float64"), default="float32")
    run.add_argument("--threads", type=_at_least_one, metavar="N", help="at most so many; without it, by the work")
    run.add_argument("--batch", type=_at_least_one, metavar="ROWS", help="rows at a time; without it, by their size")
    run.set_defaults(command=_run)


def _at_least_one(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return number


def _layers(text: str) -> list[LayerItem]:
    """``gru,Last(),fc``, or the same as Python writes it, ``layers=["gru", fastgru.Last(), "fc"]``; read, never run."""
    chain = re.sub(r"^\s*(layers\s*=)?\s*\[(.*)\]\s*$", r"\2", text, flags=re.DOTALL)
    items: list[LayerItem] = []
    position = 0
    while position < len(chain):
        match = _ITEM.match(chain, position)
        if match is None:
            raise argparse.ArgumentTypeError(
                f"cannot read {chain[position:]!r}; wanted names and layers between commas, such as gru,Last(),fc"
            )
        items.append(_layer_item(match))
        position = match.end()
    if not items:
        raise argparse.ArgumentTypeError("names no layer; wanted for example gru,Last(),fc")
    return items


def _layer_item(match: re.Match[str]) -> LayerItem:
    from . import spec

    name, argument = match["layer"], match["argument"]
    if name is None:
        if match["json"] is not None:
            try:
                return str(json.loads(match["json"]))
            except ValueError:
                raise argparse.ArgumentTypeError(f"cannot read the name {match['json']}") from None
        return str(match["name"] or match["quoted"] or "")
    if name == "Activation" and argument:
        return spec.Activation(argument)
    if name in _LAYERS_WITHOUT_WEIGHTS and not argument:
        layer: LayerItem = getattr(spec, name)()
        return layer
    known = ", ".join(f"{layer}()" for layer in _LAYERS_WITHOUT_WEIGHTS)
    raise argparse.ArgumentTypeError(f"{match[0].strip(' ,')} is not a layer; wanted {known} or Activation(relu)")


def _demo(arguments: argparse.Namespace) -> int:
    from . import demo

    return demo.run(as_json=arguments.json)


def _config(arguments: argparse.Namespace) -> int:
    from .config import configuration, show_config

    if arguments.json:
        print(json.dumps(configuration(), indent=2))
    else:
        show_config()
    return 0


def _inspect(arguments: argparse.Namespace) -> int:
    from .checkpoint import read
    from .importers import describe

    found = describe(read(arguments.file))
    if arguments.json:
        print(json.dumps(found, indent=2))
        return 0
    print(printable("\n".join([*_facts(found), *([""] if found["layers"] else [])])))
    rows = [
        (
            layer["name"] or "(top level)",
            layer["kind"],
            _sizes(layer["sizes"]),
            _options(layer["options"]),
            f"{layer['parameters']:,}",
        )
        for layer in found["layers"]
    ]
    if rows:
        print_table(("layer", "kind", "sizes", "options", "parameters"), rows, right=("parameters",))
    for line in _notes(found):
        print(printable(line))
    return 0


def _facts(found: dict[str, Any]) -> list[str]:
    """The lines above the table of layers."""
    count = len(found["layers"])
    writer = " ".join(filter(None, (found["writer"], found["version"])))
    parameters = f"  parameters  {found['parameters']:,} in {count} layer{'s' if count != 1 else ''}"
    return [
        str(found["path"]),
        f"  format      {found['format']}" + (f", written by {writer}" if writer else ""),
        *([parameters] if count else []),
        f"  loads as    {_loads_as(found)}",
    ]


def _notes(found: dict[str, Any]) -> list[str]:
    """The lines below it: what cannot be loaded, what is not used, and how to load the rest."""
    lines = [
        f"  {_problem_of(layer, found)}"
        for layer in found["layers"]
        if layer["problem"] and layer["problem"] != found["problem"]
    ]
    lines += _names(found["unused"], "tensor that no layer uses", "tensors that no layer uses")
    lines += _names(found["beside"], "tensor beside the model", "tensors beside the model, as of an optimizer")
    lines += _names(found["skipped"], "object that is not a tensor", "objects that are not tensors")
    if found["suggested_layers"]:
        call = f"  fastgru.load({json.dumps(found['path'])}, {found['suggested_layers']})"
        lines += ["", "The file does not say in which order its layers run. If this is it, load it by", call]
        if "fastgru." in found["suggested_layers"]:
            from .importers.chain import CHOICE

            lines += [f"{CHOICE}."]
    return lines


def _loads_as(found: dict[str, Any]) -> str:
    if found["loads_as"]:
        return str(found["loads_as"])
    if found["suggested_layers"]:
        return "Model, once its layers are named"
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


def _sizes(sizes: dict[str, int]) -> str:
    """``8 -> 64, 2 layers``: what comes in and goes out, then every count that is not one."""
    values = list(sizes.items())
    ends = " -> ".join(str(value) for _, value in values[:2])
    return ", ".join([ends, *(f"{value} {name.removeprefix('num_')}" for name, value in values[2:] if value != 1)])


def _options(options: dict[str, Any]) -> str:
    """What tells one layer from another; what is so in most of them goes without saying."""
    words = []
    for name, value in options.items():
        if name in ("bias", "return_sequences"):
            words += [] if value else [f"no {name}"]
        elif name == "reset_after":
            words.append("reset after" if value else "reset before")
        elif name == "recurrent_activation":
            words.append(f"gates {value}")
        elif name == "activation":
            words.append(str(value))
        elif value not in (None, False):
            words.append(name if value is True else f"{name} {value}")
    return ", ".join(words)


def _names(names: Sequence[str], one: str, several: str) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ["", f"{len(names)} {one if len(names) == 1 else several}:", f"  {', '.join(names[:NAMES_SHOWN])}{more}"]


def _run(arguments: argparse.Namespace) -> int:
    from .load import load
    from .run_file import read_array, run_file

    _check_outputs(arguments)
    model = load(arguments.model, layers=arguments.layers, precision=arguments.precision, n_threads=arguments.threads)
    x = read_array(arguments.input)
    lengths = read_array(arguments.lengths) if arguments.lengths else None
    start = time.perf_counter()
    with progress(x.shape[0] if x.ndim else 1, "rows") as advance:
        shape = run_file(
            model,
            x,
            arguments.output,
            lengths=lengths,
            state=arguments.state,
            batch=arguments.batch,
            advance=advance,
        )
    seconds = time.perf_counter() - start
    print(f"{printable(arguments.output)}: {shape} {arguments.precision}, in {seconds:.2f} s")
    return 0


def _check_outputs(arguments: argparse.Namespace) -> None:
    """Refuse to write over what is read, or two results into one file."""
    outputs = [path for path in (arguments.output, arguments.state) if path]
    inputs = [path for path in (arguments.model, arguments.input, arguments.lengths) if path]
    for place, path in enumerate(outputs):
        for other in inputs + outputs[:place]:
            if os.path.realpath(path) == os.path.realpath(other):
                raise FastGRUError(f"{path}: would be written over {other}; name another file")
