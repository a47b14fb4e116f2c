"""The process that measures: ``python -m fastgru.bench FOLDER``, started by ``runner`` with what is in the folder.

It writes lines of JSON, and nothing else, to its standard output; engines that print do so on standard error.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ..load import load
from ..spec import GRUSpec
from .cases import Case
from .measure import expected, measure, measure_model
from .others import NOTEWORTHY, others


def main(folder: Path) -> None:
    """Measure every case of the folder's request."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(message: dict[str, Any]) -> None:
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    def advance(count: int) -> None:
        tell({"advance": count})

    request = json.loads((folder / "request.json").read_text())
    for number, described in enumerate(request["cases"]):
        case = Case(**described)
        spec = load(folder / f"{case.model}.safetensors").spec
        threads, common = request["threads"], (request["systems"], request["threads"], request["seconds"])
        kept = folder / f"expected-{number}.npy"  # the next number of threads wants the same
        if isinstance(spec, GRUSpec) and not kept.exists():
            np.save(kept, expected(case, spec))
        with others() as used:
            if isinstance(spec, GRUSpec):
                rows = measure(case, spec, *common, np.load(kept), advance)
            else:
                rows = measure_model(case, spec, *common, advance)
        tell({"rows": rows})
        if used.cores is not None and used.cores > NOTEWORTHY:
            note = f"{case.name}, threads {threads}: other processes used {used.cores:.2f} cores meanwhile"
            tell({"note": f"{note}, so these figures are not those of an idle machine"})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
