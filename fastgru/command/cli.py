"""The command ``fastgru``: demo, inspect, run, convert, verify, bench and config.

Owns the arguments, what is printed, and the exit codes: 0, 1 for an error of the package or the system and where
``verify`` finds other outputs than are expected, a precision beyond its tolerance, or one missing that was asked
for by its name or with a tolerance, or ``bench`` an engine that computes another model than the file, 2 for a wrong
command line, 130 after Ctrl-C, 141 where the reader of the output has gone, 129 and 143 where a signal asked it to end.
Computes nothing itself, and imports what is heavy only in the command that needs it.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
import warnings
from collections.abc import Sequence
from io import TextIOWrapper

from ..errors import FastGRUError
from ..options import PRECISIONS
from ..origin import is_file
from ..terminal import printable, progress
from ..weights.stored import CHOICES
from .argument_types import at_least_one, layer_chain, not_negative, one_word, precision_names
from .signals import ended_by_signals

__all__ = ["main"]


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
    _open_closed_streams()
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name in a file may not fit the terminal's encoding
    try:
        with ended_by_signals(), warnings.catch_warnings():
            warnings.showwarning = _show_warning
            arguments = _parsed(argv)
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


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """In place of Python's, which names a line of this package."""
    print(f"fastgru: warning: {printable(str(message))}", file=sys.stderr)


def _open_closed_streams() -> None:
    """Give a process that was started with closed outputs ones that lead nowhere.

    Python has None in their place, and the next file that is opened would take their number and what is printed.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for the rest of the process


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    text = str(error) or type(error).__name__
    start = "  layers="
    chain = next((line.removeprefix(start) for line in text.splitlines() if line.startswith(start)), None)
    return text if chain is None else f"{text}\nOn the command line that is --layers {shlex.quote(chain)}"


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments; of words that belong to none, those that are precisions have an error of their own."""
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    if rest:
        how = "separate several with a comma" if "precisions" in arguments else "this command takes one"
        advice = f"; --precision: {how}" if set(rest) <= set(PRECISIONS) else ""
        parser.error(f"unrecognized arguments: {' '.join(rest)}{advice}")
    return arguments


def _parser() -> argparse.ArgumentParser:
    from .. import __version__

    parser = argparse.ArgumentParser(prog="fastgru", description="Runs trained GRU networks on a CPU.")
    parser.add_argument("--version", action="version", version=f"fastgru {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    demo = commands.add_parser("demo", help="run two trained models on real data, and show how right and how fast")
    demo.add_argument("--json", action="store_true", help="print the figures as JSON")
    demo.set_defaults(command=_demo)

    inspect = commands.add_parser("inspect", help="what a model file holds and how to load it")
    inspect.add_argument("file", metavar="FILE", help="a model file of any kind")
    _add_part(inspect)
    inspect.add_argument("--json", action="store_true", help="print it as JSON")
    inspect.set_defaults(command=_inspect)

    _add_run(commands.add_parser("run", help="run a model on the sequences of a .npy file"))
    _add_convert(commands.add_parser("convert", help="write a model as one safetensors file that describes itself"))
    _add_verify(commands.add_parser("verify", help="is it the model that was trained, and what precisions cost"))
    _add_bench(commands.add_parser("bench", help="how fast a model is here, beside the engines that are installed"))
    config = commands.add_parser("config", help="version, kernels, threads and BLAS of this machine")
    config.add_argument("--json", action="store_true", help="print it as JSON")
    config.set_defaults(command=_config)
    return parser


def _add_run(run: argparse.ArgumentParser) -> None:
    run.add_argument("model", metavar="MODEL", help="a model file of any kind")
    run.add_argument(
        "input",
        metavar="INPUT",
        nargs="+",
        help=".npy: (batch, steps, features), or one sequence (steps, features); for a model of several inputs "
        "NAME=FILE.npy for each, or one .npz",
    )
    run.add_argument(
        "-o",
        "--output",
        metavar="OUTPUT",
        required=True,
        help=".npy, or .npz for every output by its name; written whole or not at all",
    )
    _add_layers(run)
    run.add_argument(
        "--lengths",
        metavar="LENGTHS",
        help=".npy of (batch,) integers: how many steps of each row are real; or .npz of them by input",
    )
    run.add_argument("--state", metavar="STATE.npy", help="also write the final states, where a GRU alone is run")
    _add_precision(run, "float32", "what to compute in; stored: the smallest that the file has and that loses nothing")
    _add_threads(run)
    run.add_argument("--batch", type=at_least_one, metavar="ROWS", help="rows at a time; without it, by their size")
    run.set_defaults(command=_run)


def _add_convert(convert: argparse.ArgumentParser) -> None:
    convert.add_argument("model", metavar="IN", help="a model file of any kind")
    convert.add_argument("output", metavar="OUT.safetensors", help="written whole or not at all")
    _add_layers(convert)
    without = "without it, float32 or float64; stored: what the file has"
    _add_precision(convert, None, f"what to write the matrices of GRUs in, such as int8; {without}")
    packed = "write these matrices as the kernels of this machine read them: processes that load it share one copy"
    convert.add_argument("--packed", action="store_true", help=packed)
    convert.add_argument("--force", action="store_true", help="replace OUT where it is there already")
    convert.add_argument("--json", action="store_true", help="print the figures as JSON")
    convert.set_defaults(command=_convert)


def _add_verify(verify: argparse.ArgumentParser) -> None:
    # MODEL first, for --data and --expected take every word after them.
    verify.usage = "fastgru verify MODEL [--data DATA [DATA ...]] [--expected EXPECTED [EXPECTED ...]] [options]"
    verify.add_argument("model", metavar="MODEL", help="a model file of any kind")
    verify.add_argument(
        "--data",
        metavar="DATA",
        nargs="+",
        action="extend",
        help="inputs as for 'fastgru run': .npy, NAME=FILE.npy for each, or one .npz; without it, seeded noise",
    )
    verify.add_argument(
        "--expected",
        metavar="EXPECTED",
        nargs="+",
        action="extend",
        help="what the framework computed of DATA: .npy, NAME=FILE.npy for each output, or one .npz; exit code 1 if "
        "the model gives something else",
    )
    verify.add_argument("--lengths", metavar="LENGTHS", help="of the rows of DATA, as for 'fastgru run'")
    _add_layers(verify)
    verify.add_argument(
        "--precision",
        dest="precisions",
        type=precision_names,
        action="extend",
        metavar="P[,P...]",
        help="of float64,float32,float16,bfloat16,int8; may be repeated; exit code 1 where one of these is not "
        "possible; without it, all, or float32 with --expected",
    )
    verify.add_argument(
        "--tolerance",
        type=not_negative,
        metavar="T",
        help="the largest difference from float64, and from EXPECTED, that is no failure; without it, any from "
        "float64, and 1e-4 of the largest number of EXPECTED",
    )
    _add_threads(verify)
    verify.add_argument("--json", action="store_true", help="print the figures as JSON")
    verify.set_defaults(command=_verify)


def _add_bench(bench: argparse.ArgumentParser) -> None:
    from ..bench.arguments import add_arguments
    from ..bench.peers import OWN

    # MODEL first, for --data takes every word after it.
    bench.usage = "fastgru bench MODEL [--onnx FILE] [--data DATA [DATA ...]] [--against ENGINES] [options]"
    bench.add_argument("model", metavar="MODEL", help="a model file of any kind")
    _add_layers(bench)
    _add_precision(bench, "float32", "of fastgru's GRUs (default float32, as the others')", list(OWN))
    add_arguments(bench, at_least_one)
    bench.set_defaults(command=_bench)


def _add_layers(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--layers",
        type=layer_chain,
        metavar="CHAIN",
        help="the chain of layers for a file of weights only, such as 'gru,Last(),fc'; 'fastgru inspect' suggests one",
    )
    command.add_argument(
        "--no-strict", dest="strict", action="store_false", help="leave out tensors that no layer uses, with a warning"
    )
    _add_part(command)


def _add_part(command: argparse.ArgumentParser) -> None:
    command.add_argument("--part", metavar="NAME", help="one of several state dicts in it, such as ema_state_dict")


def _add_threads(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--threads", type=at_least_one, metavar="N", help="maximum number of threads (default: by the size of the work)"
    )


def _add_precision(
    command: argparse.ArgumentParser, default: str | None, text: str, choices: Sequence[str] = CHOICES
) -> None:
    command.add_argument("--precision", type=one_word, choices=choices, default=default, help=text)


def _demo(arguments: argparse.Namespace) -> int:
    from .. import demo

    return demo.run(as_json=arguments.json)


def _config(arguments: argparse.Namespace) -> int:
    from ..config import configuration, show_config

    if arguments.json:
        print(json.dumps(configuration(), indent=2))
    else:
        show_config()
    return 0


def _inspect(arguments: argparse.Namespace) -> int:
    from ..checkpoint.reading import read_for_model
    from ..importers import described
    from .description_text import print_description
    from .packed_size import packed_already, packed_sizes

    found, models = described(read_for_model(arguments.file, arguments.part))
    found["packed_gru_weights"], found["packed"] = packed_sizes(models), packed_already(models)
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        print_description(found)
    return 0


def _run(arguments: argparse.Namespace) -> int:
    from ..evaluation.rows import inputs_of
    from ..load import load
    from .input_files import paths_in, read_inputs, read_lengths
    from .run_file import run_file

    read = [arguments.model, *paths_in(arguments.input), arguments.lengths]
    _check_outputs([arguments.output, arguments.state], read)
    layers = arguments.layers
    if arguments.state and layers is not None and len(layers) == 1:
        layers = layers[0]  # a GRU by its name, which has states
    options = {"precision": arguments.precision, "n_threads": arguments.threads, "strict": arguments.strict}
    model = load(arguments.model, layers=layers, part=arguments.part, **options)
    x = read_inputs(arguments.input, [source.name for source in inputs_of(model)])
    lengths = read_lengths(arguments.lengths) if arguments.lengths else None
    start = time.perf_counter()
    rows = max(array.shape[0] if array.ndim else 1 for array in x.values())
    with progress(rows, "rows") as advance:
        shapes = run_file(
            model,
            x,
            arguments.output,
            lengths=lengths,
            state=arguments.state,
            batch=arguments.batch,
            advance=advance,
        )
    seconds = time.perf_counter() - start
    made = [f"{name} {shape}" if len(shapes) > 1 else str(shape) for name, shape in shapes.items()]
    kept = "" if model.precision == model.dtype else f" from weights in {model.precision}"
    print(f"{printable(arguments.output)}: {printable(', '.join(made))} {model.dtype}{kept}, in {seconds:.2f} s")
    return 0


def _convert(arguments: argparse.Namespace) -> int:
    from ..checkpoint import read
    from ..importers import describe
    from .conversion import PARTS, convert
    from .description_text import print_conversion

    _check_outputs([arguments.output], [arguments.model])
    if not arguments.output.lower().endswith(".safetensors"):
        raise FastGRUError(f"{arguments.output}: convert writes safetensors; name a file that ends in .safetensors")
    if is_file(arguments.output) and not arguments.force:
        raise FastGRUError(f"{arguments.output}: is there already; name another file, or add --force to replace it")
    with progress(PARTS, "parts") as advance:
        found = convert(
            arguments.model,
            arguments.output,
            arguments.layers,
            advance,
            arguments.strict,
            arguments.precision,
            arguments.part,
            arguments.packed,
        )
    found["layers"] = describe(read(arguments.output))["layers"]
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        print_conversion(found)
    return 0 if not found["largest_difference"] else 1


def _verify(arguments: argparse.Namespace) -> int:
    from ..checkpoint.reading import read_for_model
    from ..evaluation.checking import advice_for, output_names
    from ..evaluation.rows import inputs_of, outputs_of
    from ..evaluation.verification import ORDER, noise, parts, verify
    from ..load import load
    from .description_text import print_verification
    from .input_files import read_expected, read_inputs, read_lengths

    for option in ("lengths", "expected"):
        if getattr(arguments, option) and not arguments.data:
            raise FastGRUError(f"--{option}: belongs to the rows of --data; name the inputs with --data")
    options = {"strict": arguments.strict, "part": arguments.part, "n_threads": arguments.threads}
    model = load(arguments.model, layers=arguments.layers, **options)
    x = read_inputs(arguments.data, [source.name for source in inputs_of(model)]) if arguments.data else None
    lengths = read_lengths(arguments.lengths) if arguments.lengths else None
    outputs = outputs_of(model)
    alone = outputs[0] if len(outputs) == 1 else None
    expected = read_expected(arguments.expected, output_names(model), alone) if arguments.expected else None
    precisions = list(dict.fromkeys(arguments.precisions or (ORDER if expected is None else ["float32"])))
    all_parts = parts(model, noise(model) if x is None else x, precisions, expected is not None)
    with progress(all_parts, "parts") as advance:
        found = verify(model, x, lengths, precisions, arguments.tolerance, expected=expected, advance=advance)
    found["stored"] = sorted(set(read_for_model(arguments.model, arguments.part).stored.values()))
    if arguments.json:
        print(json.dumps({"path": arguments.model, **found}, indent=2))
    else:
        print_verification(arguments.model, found)
        if not all(each["within"] for each in found["expected"]):
            print(advice_for(arguments.layers is not None, found["stored"]))
    refused = arguments.precisions and any(each["problem"] is not None for each in found["precisions"])
    return 0 if found["passed"] and not refused else 1


def _bench(arguments: argparse.Namespace) -> int:
    from ..bench.command import bench
    from .input_files import paths_in

    _check_outputs([arguments.plot], [arguments.model, arguments.onnx, *paths_in(arguments.data or [])])
    options = {name: value for name, value in vars(arguments).items() if name not in ("command", "model", "json")}
    return bench(arguments.model, as_json=arguments.json, **options)


def _check_outputs(written: Sequence[str | None], read: Sequence[str | None]) -> None:
    """Refuse to write over what is read, or two results into one file."""
    outputs = [path for path in written if path]
    inputs = [path for path in read if path]
    for place, path in enumerate(outputs):
        for other in inputs + outputs[:place]:
            if os.path.realpath(path) == os.path.realpath(other):
                raise FastGRUError(f"{path}: would be written over {other}; name another file")
