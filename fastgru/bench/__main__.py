"""The process that measures: ``python -m fastgru.bench FOLDER``, started by ``runner`` with what is in the folder.

It writes lines of JSON, and nothing else, to its standard output; engines that print do so on standard error. Nothing
comes by its standard input, which ends when the process that started it has gone, however that ended; then it ends too.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FastGRUError
from ..gru import GRU
from ..gru_weights import GRUSpec
from ..load import load
from .cases import Case, ModelFiles
from .measure import expected, measure
from .measure_whole import measure_model
from .others import NOTEWORTHY, others

Tell = Callable[[dict[str, Any]], None]


def main(folder: Path) -> None:
    """Measure every case of the folder's request; a case that cannot be measured is told, and is the last."""
    threading.Thread(target=_end_with, args=(os.dup(0),), daemon=True).start()
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)

    def tell(message: dict[str, Any]) -> None:
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    request = json.loads((folder / "request.json").read_text())
    for number, described in enumerate(request["cases"]):
        case = Case(**described)
        try:
            _measure(case, folder, number, request, tell)
        except (FastGRUError, MemoryError) as error:
            tell({"error": f"{case.name}: {error}"})
            return


def _end_with(other_side: int) -> None:
    """End this process when nobody can write to the pipe any more."""
    while os.read(other_side, 1):
        pass
    os._exit(1)


def _measure(case: Case, folder: Path, number: int, request: dict[str, Any], tell: Tell) -> None:
    """Tell the rows of one case; what the next number of threads wants too is kept in the folder."""
    kept = folder / f"expected-{number}.npy"

    def advance(count: int) -> None:
        tell({"advance": count})

    model = load(folder / f"{case.model}.safetensors")
    spec = model.spec if isinstance(model, GRU) else model.description
    threads, common = request["threads"], (request["systems"], request["threads"], request["seconds"])
    if isinstance(spec, GRUSpec) and not kept.exists():
        np.save(kept, expected(case, spec))
    with others() as used:
        if isinstance(spec, GRUSpec):
            rows = measure(case, spec, *common, np.load(kept), advance)
        else:
            rows = measure_model(
                case, spec, _files(folder, case, request), *common, str(folder / f"exported-{number}.onnx"), advance
            )
    tell({"rows": rows})
    if used.cores is not None and used.cores > NOTEWORTHY:
        note = f"{case.name}, threads {threads}: other processes used {used.cores:.2f} cores meanwhile"
        tell({"note": f"{note}, so these figures are not those of an idle machine"})


def _files(folder: Path, case: Case, request: dict[str, Any]) -> ModelFiles:
    """What the request names of a whole model, and the arrays that lie beside it."""
    named = request["files"].get(case.model, {})
    names = named.get("inputs")
    data = None
    if names is not None:
        with np.load(folder / f"{case.model}.npz") as arrays:
            data = {name: arrays[f"arr_{place}"] for place, name in enumerate(names)}
    return ModelFiles(named.get("path"), named.get("onnx"), data, named.get("trusted", False))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
