"""The process that cases run in, so that a crash or a hang ends it and not the run; and how it is asked.

One line of JSON a question, one line an answer. A worker that dies or is late is replaced by a new one, and the case
that it had is wrong.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from typing import Any, TextIO

from case import Outcome, case_of, family_of

__all__ = ["Worker"]

LIMIT = 20.0  # seconds of one case
STARTING = 300.0  # seconds of the import of a framework
CASES = 4000  # of one worker: TorchScript keeps what it has compiled for ever


class Worker:
    """A process that checks one case at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._known: set[str] = set()  # families that the process has imported
        self._cases = 0
        self._errors: TextIO | None = None

    def ask(self, family: str, **question: Any) -> Outcome:
        """The outcome of a case, by ``seed=`` and ``index=`` or as ``case=``.

        What does not answer in time is asked again with three times as long, for others may have used the processor.
        """
        outcome = self._asked(family, question, LIMIT)
        return outcome if outcome.defect != "hang" else self._asked(family, question, 3 * LIMIT)

    def _asked(self, family: str, question: dict[str, Any], limit: float) -> Outcome:
        if self._cases >= CASES:
            self.close()
        failed = self.prepare(family)
        if failed is not None:
            return failed
        self._cases += 1
        answer = self._answer({"family": family, **question}, limit)
        return self._end(limit) if answer is None else Outcome(*json.loads(answer))

    def prepare(self, family: str) -> Outcome | None:
        """Start the process, and import what the family needs; what it has come to where that does not work."""
        if self._process is None:
            self._start()
        if family in self._known:
            return None
        answer = self._answer({"family": family}, STARTING)
        if answer is None:
            return self._end(STARTING)
        self._known.add(family)
        outcome = Outcome(*json.loads(answer))
        return None if outcome.kind == "right" else outcome

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
        if self._errors is not None:
            self._errors.close()
            self._errors = None

    def _start(self) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (it lives as long as the process)
        command = [sys.executable, "-X", "faulthandler", str(Path(__file__).resolve())]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )
        self._known, self._cases = set(), 0

    def _answer(self, question: dict[str, Any], limit: float) -> str | None:
        """A line, or None where the process is late or has ended."""
        assert self._process is not None and self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], limit)
        return (self._process.stdout.readline() or None) if ready else None

    def _end(self, limit: float) -> Outcome:
        """What a process that does not answer has come to."""
        assert self._process is not None and self._errors is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        code = self._process.poll()
        self._errors.seek(0)
        said = self._errors.read()[-4000:]
        self.close()
        if code is None:
            return Outcome("wrong", f"no answer after {limit:g} s", "hang")
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        innermost = re.search(r'most recent call first\):\n  File "([^"]*)"', said)
        if innermost and "/torch/" in innermost[1]:
            return Outcome("skipped", f"PyTorch ended the process by {how}")
        return Outcome("wrong", f"the process ended by {how}; its last words: {said}", "crash")


def _run(answers: TextIO) -> None:
    for line in sys.stdin:
        question = json.loads(line)
        try:
            family = family_of(question["family"])
            if "case" in question:
                outcome = family.check(question["case"])
            elif "index" in question:
                outcome = family.check(case_of(family, question["seed"], question["index"]))
            else:
                outcome = Outcome("right")
        except Exception as error:  # of the family itself: it has to be mended, so it must not pass
            outcome = Outcome("wrong", traceback.format_exc(), f"fuzzer: {type(error).__name__}")
        answers.write(json.dumps(outcome) + "\n")
        answers.flush()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    own = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a framework prints is no answer
    _run(own)
