"""Runs cases in processes of their own, one for each number of threads, so that this one stays as it was.

Threads and cores must be fixed before an engine is imported: they go to the process as environment and affinity. What
it measures comes back as lines of JSON; what engines print is kept for the message where the process fails.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FastGRUError, ShapeError
from ..gru_weights import GRUSpec
from ..saved.saving import save
from ..terminal import counted
from ..threads import available
from .cases import Case, Measured, ModelFiles
from .machine import on_cores
from .results import result

__all__ = ["parts", "run"]

LAST_LINES = 12
MAX_NUMBERS = 2**26  # of a case's inputs or outputs: 256 MiB, and three times that with those in float64
POOLS = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "VECLIB_MAXIMUM")  # libraries with a NAME_NUM_THREADS


def run(
    cases: Sequence[Case],
    models: Mapping[str, Measured],
    systems: Sequence[str],
    threads: Sequence[int],
    seconds: float,
    advance: Callable[[int], None] = lambda parts: None,
    files: Mapping[str, ModelFiles] | None = None,
) -> dict[str, Any]:
    """Measure every case with every engine and every number of threads.

    Parameters
    ----------
    cases : sequence of Case
    models : mapping of str to GRUSpec, ModelSpec or Graph
        What the cases name as their models.
    systems : sequence of str
        Engines that are installed, fastgru among them.
    threads : sequence of int
        Numbers of threads, each at most the processors of this process.
    seconds : float
        For each engine, case and number of threads.
    advance : callable, optional
        Called as the work goes on, with how many of its ``parts`` are done.
    files : mapping of str to ModelFiles, optional
        By the names of whole models, what other engines are given of them; without it these run in fastgru alone.

    Returns
    -------
    dict
        As ``results`` describes.

    Raises
    ------
    ShapeError
        More threads are asked for than there are processors, or a case has more numbers than are tried.
    FastGRUError
        A case cannot be measured, or a process that measures failed; the message has its last lines.
    """
    for count in threads:
        if count > available():
            raise ShapeError(f"threads: got {count}, but this process may use {available()} processors")
    for case in cases:
        _check_size(case, models[case.model])
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="fastgru-bench-") as folder:
        for name, spec in models.items():
            save(spec, os.path.join(folder, f"{name}.safetensors"))
        named = {name: _named(each, folder, name) for name, each in (files or {}).items()}
        for count in threads:
            request = {"cases": [asdict(case) for case in cases], "systems": list(systems), "files": named}
            Path(folder, "request.json").write_text(json.dumps({**request, "threads": count, "seconds": seconds}))
            with closing(_messages(folder, count)) as messages:
                for message in messages:
                    if "error" in message:
                        raise FastGRUError(message["error"])
                    rows += message.get("rows", [])
                    notes += [message["note"]] if "note" in message else []
                    advance(message.get("advance", 0))
    return result(systems, rows, notes)


def parts(cases: Sequence[Case], systems: Sequence[str], threads: Sequence[int]) -> int:
    """What ``run`` counts: a check and a timing for every engine, case and number of threads."""
    return 2 * len(cases) * len(systems) * len(threads)


def _named(files: ModelFiles, folder: str, name: str) -> dict[str, Any]:
    """What the request says of a whole model; the arrays of its inputs are written beside it."""
    found: dict[str, Any] = {}
    if files.path is not None:
        found["path"] = os.path.abspath(files.path)
    found["trusted"] = files.trusted
    if files.onnx is not None:
        found["onnx"] = os.path.abspath(files.onnx)
    if files.data is not None:
        np.savez(os.path.join(folder, f"{name}.npz"), *files.data.values())
        found["inputs"] = list(files.data)
    return found


def _check_size(case: Case, spec: Measured) -> None:
    """Raise before a process is started that would take all memory; a whole model looks at its inputs itself."""
    if isinstance(spec, GRUSpec):
        features = max(spec.input_size, spec.hidden_size * spec.directions)
        if case.batch * case.steps * features > MAX_NUMBERS:
            raise ShapeError(
                f"{case.name}: its sequences would have {case.batch * case.steps * features:,} numbers, and at most "
                f"{MAX_NUMBERS:,} are tried; ask for fewer steps or a smaller batch"
            )


def _messages(folder: str, threads: int) -> Generator[dict[str, Any], None, None]:
    """Start the process, and hand on what it tells until it ends; it is ended where nobody listens any more."""
    said = Path(folder, f"said-{threads}.txt")
    with open(said, "wb") as errors:
        with on_cores(threads):
            process = subprocess.Popen(
                [sys.executable, "-m", "fastgru.bench", folder],
                stdin=subprocess.PIPE,  # nothing is written: it ends with this process, and so does the other
                stdout=subprocess.PIPE,
                stderr=errors,
                env=_environment(threads),
            )
        assert process.stdin is not None and process.stdout is not None
        try:
            for line in process.stdout:
                yield json.loads(line)
            status = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            process.stdin.close()
            process.stdout.close()
    if status != 0:
        last = "\n".join(said.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:])
        raise FastGRUError(f"the process that measures with {counted(threads, 'thread')} ended with {status}: {last}")


def _environment(threads: int) -> dict[str, str]:
    """This process's, with a number of threads for every library, and this very package first on the path."""
    kept = {name: value for name, value in os.environ.items() if name != "FASTGRU_NUM_THREADS"}
    path = [str(Path(__file__).resolve().parents[2]), *filter(None, [kept.get("PYTHONPATH")])]
    one = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1" if threads == 1 else ""
    return {
        **kept,
        **{f"{library}_NUM_THREADS": str(threads) for library in POOLS},
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{kept.get('XLA_FLAGS', '')} {one}".strip(),
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONSAFEPATH": "1",  # from Python 3.11 on: a file in the working folder is no engine
    }
