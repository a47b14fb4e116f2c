"""Every picture that can be drawn of results as ``benchmarks/table.py --json`` and ``fastgru bench --json`` write them.

    python benchmarks/plots.py RESULTS.json [-o FOLDER] [--format png]

``fastgru.bench.plots`` draws; here is only which file each picture goes to.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from fastgru.bench.plots import SUFFIXES, charts, save
from fastgru.errors import FastGRUError


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Pictures of the results of a benchmark.")
    parser.add_argument("results", type=Path, help="JSON of benchmarks/table.py or of fastgru bench")
    parser.add_argument("-o", "--output", type=Path, default=Path(), metavar="FOLDER", help="default: this one")
    parser.add_argument("--format", choices=[suffix[1:] for suffix in SUFFIXES], default="png")
    options = parser.parse_args(argv)
    try:
        results = json.loads(options.results.read_text(encoding="utf-8"))
        options.output.mkdir(parents=True, exist_ok=True)
        for name, draw in charts(results).items():
            path = options.output / f"{name}.{options.format}"
            save(draw(), path)
            print(path)
    except (FastGRUError, OSError, ValueError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
