"""Damage checkpoints at random, for as long as one likes, and see that each ends in a result or a FastGRUError.

    python tests/fuzz/fuzz.py --minutes 30 [--seed 1] [--only torch_]

The corpus are the golden files and what is in ``tests/fuzz/corpus``. A child process reads each damaged file with
``fastgru.read``, ``load`` and ``describe``; this process watches it. A case fails that raises anything but a
FastGRUError, ends the child, takes longer than ``--seconds``, or takes more memory than 4 x file + 64 MiB. Failing
files are kept in ``--keep``. Exit code 1 where there was one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import random
import signal
import sys
import time
import traceback
import warnings
import zlib
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
FOLDERS = (HERE.parent / "golden", HERE / "corpus")
MAGIC = [0, 1, 2, 7, 8, 127, 128, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1]


def corpus(only: str) -> list[tuple[str, bytes]]:
    """Every file to damage, by name."""
    names = [path for folder in FOLDERS if folder.exists() for path in sorted(folder.iterdir())]
    golden = {case["file"] for case in json.loads((FOLDERS[0] / "cases.json").read_text()).values()}
    files = [path for path in names if path.is_file() and (path.parent == FOLDERS[1] or path.name in golden)]
    return [(path.name, path.read_bytes()) for path in files if path.name.startswith(only)]


def damaged(content: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """One to eight changes: bits, bytes, numbers, pieces cut, doubled, moved or from another file, the end cut."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        size = len(data)
        if size < 2:
            break
        at = rng.randrange(size)
        # the first kilobyte and the last decide most of what a file is
        at = rng.choice((at, at, min(at, rng.randrange(1024)), max(0, size - 1 - rng.randrange(1024))))
        at = min(at, size - 1)
        length = min(rng.choice((1, 2, 4, 8, 16, 64, 512)), size - at)
        kind = rng.randrange(9)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at] = rng.randrange(256)
        elif kind == 2:
            width = rng.choice((1, 2, 4, 8))
            number = rng.choice(MAGIC) % (1 << (8 * width))
            data[at : at + width] = number.to_bytes(width, rng.choice(("little", "little", "big")))
        elif kind == 3:
            del data[at : at + length]
        elif kind == 4:
            data[at:at] = data[at : at + length]
        elif kind == 5:
            to = rng.randrange(size)
            data[to : to + length] = data[at : at + length]
        elif kind == 6:
            other = rng.choice(others)
            begin = rng.randrange(len(other))
            data[at : at + length] = other[begin : begin + length]
        elif kind == 7:
            data[at : at + length] = bytes(length)
        elif kind == 8 and rng.random() < 0.3:
            del data[at:]
    return repaired(bytes(data), rng)


def repaired(data: bytes, rng: random.Random) -> bytes:
    """A zip whose checksums are right again, every other time: else each damage ends at the CRC."""
    if not data.startswith(b"PK\x03\x04") or rng.random() < 0.5:
        return data
    fixed = bytearray(data)
    at = 0
    sums: dict[int, int] = {}
    while (at := data.find(b"PK\x03\x04", at)) >= 0 and at + 30 <= len(data):
        method = int.from_bytes(data[at + 8 : at + 10], "little")
        size = int.from_bytes(data[at + 18 : at + 22], "little")
        name, extra = (int.from_bytes(data[at + place : at + place + 2], "little") for place in (26, 28))
        begin = at + 30 + name + extra
        if method == 0 and begin + size <= len(data):
            sums[at] = zlib.crc32(data[begin : begin + size])
            fixed[at + 14 : at + 18] = sums[at].to_bytes(4, "little")
        at += 4
    at = 0
    while (at := data.find(b"PK\x01\x02", at)) >= 0 and at + 46 <= len(data):
        local = int.from_bytes(data[at + 42 : at + 46], "little")
        if local in sums:
            fixed[at + 16 : at + 20] = sums[local].to_bytes(4, "little")
        at += 4
    return bytes(fixed)


def examine(path: Path) -> str:
    """What became of one file: "loaded" or the class of the FastGRUError. Any other exception is passed on."""
    import fastgru
    from fastgru.importers.description.file import describe

    outcome = "loaded"
    try:
        checkpoint = fastgru.read(path)
        describe(checkpoint)
        fastgru.load(path, strict=False)
    except fastgru.FastGRUError as error:
        outcome = type(error).__name__
    return outcome


def child(cases, results, folder: str) -> None:
    """Examine the files it is given, one by one, within their memory."""
    import resource

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    path = Path(folder, f"case-{multiprocessing.current_process().pid}")
    examine_one_of_each(path)
    while True:
        content = cases.get()
        path.write_bytes(content)
        pages = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        # address space, not memory: threads' stacks and libraries are there before the limit is set
        resource.setrlimit(resource.RLIMIT_AS, (pages + 4 * len(content) + (64 << 20), resource.RLIM_INFINITY))
        try:
            results.put(examine(path))
        except BaseException:
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            results.put("!" + traceback.format_exc())
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def examine_one_of_each(path: Path) -> None:
    """Import everything that reading may import, so that it does not count as a case's memory."""
    for _, content in corpus(""):
        path.write_bytes(content)
        with contextlib.suppress(Exception):  # the parent will see it again
            examine(path)


class Worker:
    def __init__(self, folder: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.cases, self.results = context.SimpleQueue(), context.SimpleQueue()
        self.process = context.Process(target=child, args=(self.cases, self.results, folder), daemon=True)
        self.process.start()
        self.fresh = True

    def run(self, content: bytes, seconds: float) -> str:
        """The outcome; one that begins with "!" is a failure."""
        self.cases.put(content)
        limit = seconds + (60 if self.fresh else 0)
        self.fresh = False
        begun = time.monotonic()
        while self.results.empty():
            if not self.process.is_alive():
                return f"!the process ended with {self.process.exitcode}"
            if time.monotonic() - begun > limit:
                self.process.kill()
                return f"!longer than {seconds} s"
            time.sleep(0.0002)
        return self.results.get()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--only", default="", help="beginning of the names to damage")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-found"))
    options = parser.parse_args()
    import tempfile

    files = corpus(options.only)
    contents = [content for _, content in files]
    rng = random.Random(options.seed)
    outcomes: Counter[str] = Counter()
    found = 0
    end = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory() as folder:
        worker = Worker(folder)
        while time.monotonic() < end:
            name, content = rng.choice(files)
            case = damaged(content, rng, contents)
            outcome = worker.run(case, options.seconds)
            if outcome.startswith("!"):
                found += 1
                options.keep.mkdir(exist_ok=True)
                kept = options.keep / f"{options.seed}-{sum(outcomes.values())}-{name}"
                kept.write_bytes(case)
                print(f"{kept}: {outcome[1:]}", flush=True)
                if not worker.process.is_alive():
                    worker = Worker(folder)
                outcome = "FAILED"
            outcomes[outcome] += 1
        worker.process.kill()
    total = sum(outcomes.values())
    counts = ", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.most_common())
    print(f"{total:,} damaged files of {len(files)}: {counts}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
