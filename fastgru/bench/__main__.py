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
        common = request["systems"], request["threads"], request["seconds"]
        if isinstance(spec, GRUSpec):
            kept = folder / f"expected-{number}.npy"  # the next number of threads wants the same
            if not kept.exists():
                np.save(kept, expected(case, spec))
            tell({"rows": measure(case, spec, *common, np.load(kept), advance)})
        else:
            tell({"rows": measure_model(case, spec, *common, advance)})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
