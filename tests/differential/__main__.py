"""Random models beside what they should give, for as long as one likes.

    python tests/differential [FAMILY ...] [--minutes M | --models N] [--seed S] [--json OUT]

Each family of ``case.MODULES`` (all where none is named) writes models at random: with PyTorch, with Keras, or of
fastgru's own layers. Every model is run by fastgru and by what it is compared with, alone, in a batch, at several step
counts, with lengths, in a stream, saved and loaded, on two threads. An answer is right, or a FastGRUError; all else is
wrong: other numbers, another exception, a crash, a hang (20 s, and then 60). A wrong case is shrunk and printed as a
script that shows the difference by itself. At the end comes a table: models by family and kind, and refusals by reason,
for a family that refuses everything finds nothing. The exit code is 1 where anything was wrong.

A case depends on nothing but the family, the seed and its index: ``--first INDEX --models 1`` runs one again.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import threading
import time
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

from case import KINDS, MODULES, Outcome, case_of, family_of
from shrink import shrink
from worker import Worker

SHRUNK = 3  # wrong cases of one defect that are shrunk and printed; the rest are counted


class Tally:
    """What the cases of one family have come to, from any number of threads."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seconds = 0.0
        self.kinds = dict.fromkeys(KINDS, 0)
        # what right ones were compared in, why others were refused or skipped, and the defects of wrong ones
        self.reasons: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
        self.wrong: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def add(self, outcome: Outcome) -> bool:
        """Count an outcome; whether it is one to shrink."""
        with self._lock:
            self.kinds[outcome.kind] += 1
            if outcome.kind in ("refused", "skipped"):
                self.reasons[outcome.kind][_reason(outcome.detail)] += 1
            elif outcome.kind == "right":
                self.reasons["right"].update(outcome.detail.split())
            if outcome.kind != "wrong":
                return False
            self.reasons["wrong"][outcome.defect] += 1
            return self.reasons["wrong"][outcome.defect] <= SHRUNK

    @property
    def models(self) -> int:
        return sum(self.kinds.values())

    def report(self, index: int, case: Any, outcome: Outcome) -> None:
        """Print a wrong case."""
        try:
            script = family_of(self.name).script(case)
        except Exception as error:
            script = f"# no script: {error!r}\n# {json.dumps(case)}\n"
        with self._lock:
            found = {"index": index, "defect": outcome.defect, "detail": outcome.detail, "script": script, "case": case}
            self.wrong.append(found)
            print(f"\nwrong: {self.name}, index {index} ({outcome.defect}): {outcome.detail}\n{script}", flush=True)

    def as_json(self) -> dict[str, Any]:
        names = ("seconds", "models", "kinds", "wrong")
        reasons = {kind: dict(counter.most_common()) for kind, counter in self.reasons.items()}
        return {**{name: getattr(self, name) for name in names}, "reasons": reasons}


def _reason(message: str) -> str:
    """A message without what differs from one model to the next."""
    message = re.sub(r"\x1b\[\d*m|/\S+/", "", " ".join(message.split()))
    message = re.sub(r"'[^']*'|\"[^\"]*\"", "'...'", message)
    return re.sub(r"\d+", "N", re.sub(r"\([^()]*\)", "(...)", message))[:160]


def run(name: str, args: argparse.Namespace, minutes: float, workers: list[Worker]) -> Tally:
    """Try the cases of a family in some workers; the time begins when each has imported what the family needs."""
    tally, indices = Tally(name), count(args.first)
    last = args.first + args.models if args.models else sys.maxsize

    def work(worker: Worker) -> None:
        worker.prepare(name)
        began = time.monotonic()
        while args.models or time.monotonic() < began + 60 * minutes:
            index = next(indices)
            if index >= last:
                break
            outcome = worker.ask(name, seed=args.seed, index=index)
            if tally.add(outcome):
                tally.report(index, *_shrunk(worker, name, args.seed, index, outcome))
        tally.seconds = max(tally.seconds, time.monotonic() - began)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        threads[0].join(0.2)
        if sys.stderr.isatty():
            print(f"\r{name}: {tally.models} models, {tally.kinds['wrong']} wrong", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return tally


def _shrunk(worker: Worker, name: str, seed: int, index: int, outcome: Outcome) -> tuple[Any, Outcome]:
    family = family_of(name)
    try:
        case = case_of(family, seed, index)
    except Exception:
        return None, outcome
    return shrink(case, outcome, family.smaller, lambda each: worker.ask(name, case=each))


def show(tallies: list[Tally]) -> None:
    """The tables at the end."""
    print(f"\n{'family':16}{'models':>9}" + "".join(f"{kind:>9}" for kind in KINDS) + f"{'a second':>10}")
    for tally in tallies:
        counts = "".join(f"{tally.kinds[kind]:9}" for kind in KINDS)
        print(f"{tally.name:16}{tally.models:9}{counts}{tally.models / max(tally.seconds, 1e-9):10.1f}")
    for tally in tallies:
        for kind, counter in tally.reasons.items():
            if counter:
                print(f"\n{tally.name}, {kind}{', compared' * (kind == 'right')}:")
                print("\n".join(f"{times:9} {reason}" for reason, times in counter.most_common(20)))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/differential", description="Random models, compared.")
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=", ".join(MODULES))
    limit = parser.add_mutually_exclusive_group()
    limit.add_argument("--minutes", type=float, default=1.0, help="of all families together (default: 1)")
    limit.add_argument("--models", type=int, default=0, help="of each family, however long it takes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, metavar="INDEX", help="of the first model (default: 0)")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes at a time")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the counts and the wrong cases there")
    args = parser.parse_args()
    names = args.families or list(MODULES)
    unknown = [name for name in names if name not in MODULES]
    if unknown:
        parser.error(f"no such family: {', '.join(unknown)}; there are {', '.join(MODULES)}")
    workers = [Worker() for _ in range(args.jobs)]
    try:
        tallies = [run(name, args, args.minutes / len(names), workers) for name in names]
    finally:
        for worker in workers:
            worker.close()
    show(tallies)
    if args.json:
        families = {tally.name: tally.as_json() for tally in tallies}
        args.json.write_text(json.dumps({"seed": args.seed, "families": families}, indent=1))
    return 1 if any(tally.kinds["wrong"] for tally in tallies) else 0


if __name__ == "__main__":
    sys.exit(main())
