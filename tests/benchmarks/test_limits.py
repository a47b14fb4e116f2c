"""The limits of a machine: which caches there are, what is measured for them, and what is said where nothing can be."""

from __future__ import annotations

import json
import shutil

import pytest
from benchmark_scripts import script

from fastgru.errors import FastGRUError, MissingDependencyError

limits = script("limits")

KB, MB = 1 << 10, 1 << 20
needs_compiler = pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler")


@pytest.fixture
def cpus(tmp_path):
    """A folder such as /sys/devices/system/cpu, of caches given as (level, type, size)."""

    def make(*found):
        for number, contents in enumerate(found):
            folder = tmp_path / "cpu0" / "cache" / f"index{number}"
            folder.mkdir(parents=True)
            for name, content in zip(("level", "type", "size"), contents, strict=True):
                (folder / name).write_text(content + "\n")
        return tmp_path

    return make


def test_data_caches_are_found_from_the_nearest(cpus):
    folder = cpus(("3", "Unified", "32768K"), ("1", "Instruction", "32K"), ("1", "Data", "48K"), ("2", "Unified", "2M"))
    assert list(limits.caches(folder).items()) == [("L1", 48 * KB), ("L2", 2 * MB), ("L3", 32 * MB)]


def test_no_cache_is_found_where_the_system_names_none_or_none_that_can_be_read(cpus):
    assert limits.caches(cpus(("1", "Data", ""), ("two", "Data", "32K"))) == {}


def test_working_sets_lie_in_one_cache_alone():
    within, sizes = limits.working_sets({"L1": 32 * KB, "L2": MB, "L3": 32 * MB})
    assert within == {
        "L1": (4 * KB, 16 * KB),
        "L2": (128 * KB, 512 * KB),
        "L3": (4 * MB, 16 * MB),
        "memory": (128 * MB, 128 * MB),
    }
    assert sizes == sorted(set(sizes)) and all(size % 4096 == 0 for size in sizes)
    assert {size for bounds in within.values() for size in bounds} <= set(sizes)


def test_a_cache_that_is_hardly_larger_than_the_one_before_has_a_working_set_too():
    within, sizes = limits.working_sets({"L1": 64 * KB, "L2": 96 * KB})
    assert within["L2"] == (48 * KB, 48 * KB) and 48 * KB in sizes


def test_there_is_a_curve_where_no_cache_is_known():
    within, sizes = limits.working_sets({})
    assert within == {} and len(sizes) > 10


def test_every_figure_is_that_of_the_best_width():
    def output(gflops, reads, barriers):
        read = [{"bytes": size, "gbs": rates} for size, rates in zip((4096, 8192, 65536), reads, strict=True)]
        return {"gflops": gflops, "pairs": [2 * max(gflops)], "bytes": [], "read": read, "barrier_ns": barriers}

    wide = output([90, 110, 100], [[1, 2, 3], [6, 5, 4], [1, 1, 1]], [50, 40, 60])
    narrow = output([80, 130, 70], [[9, 9, 9], [3, 3, 3], [2, 2, 2]], [30, 35, 45])
    found = limits.summed({"wide": wide, "narrow": narrow}, 2, {"L1": (4096, 8192), "L2": (65536, 65536)})
    assert found["fma"] == {"median": 100, "best": 110, "level": "wide"}
    assert found["bandwidth"]["L1"] == {"bytes": 4096, "median": 9, "best": 9, "level": "narrow"}
    assert found["bandwidth"]["L2"]["median"] == 2
    assert found["barrier_ns"] == {"median": 35, "best": 30}
    assert found["pairs"] == {"median": 260, "best": 260} and found["bytes"] is None
    assert [point["level"] for point in found["curve"]] == ["narrow", "wide", "narrow"]


def test_one_thread_has_no_barrier():
    output = {"gflops": [1.0], "pairs": [], "bytes": [], "read": [{"bytes": 4096, "gbs": [1.0]}], "barrier_ns": []}
    assert limits.summed({"baseline": output}, 1, {})["barrier_ns"] is None


@pytest.mark.parametrize("named", [None, "no-such-compiler"])
def test_without_a_compiler_the_error_says_what_to_install(monkeypatch, tmp_path, named):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    if named:
        monkeypatch.setenv("CC", named)
    with pytest.raises(MissingDependencyError, match="install gcc or clang"):
        limits.compiler()


@needs_compiler
def test_what_does_not_compile_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setitem(limits.LEVELS, "baseline", (16, ("-DWIDTH_IS_GIVEN_TWICE", "-no-such-flag")))
    with pytest.raises(FastGRUError, match=r"limits.c could not be compiled for baseline \(.*\); wanted GCC or Clang"):
        limits.compiled(tmp_path, "baseline")


@needs_compiler
@pytest.mark.parametrize(("threads", "size"), [(0, 4096), (65, 4096), (1, 100), (1, 0)])
def test_the_program_refuses_what_it_cannot_measure(tmp_path, threads, size):
    program = limits.compiled(tmp_path, "baseline")
    with pytest.raises(FastGRUError, match=r"limits_baseline failed: .*(out of range|multiples of 512)"):
        limits._run(program, threads, 1, [size])


@pytest.mark.parametrize("arguments", [["--threads", "4000"], ["--threads", "0"], ["--runs", "0"]])
def test_more_threads_than_cores_are_refused_because_they_would_spin_for_each_other(arguments, capsys):
    with pytest.raises(SystemExit):
        limits.main(arguments)
    assert "the cores of this process" in capsys.readouterr().err


@needs_compiler
def test_it_measures_this_machine(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(limits, "caches", lambda: {"L1": 16 * KB, "L2": 64 * KB})
    monkeypatch.setattr(limits, "ROUNDS", 1)
    file = tmp_path / "limits.json"
    assert limits.main(["--threads", "1", "--runs", "1", "--json", str(file)]) == 0
    found = json.loads(file.read_text())
    (one,) = found["limits"]
    assert one["fma"]["median"] > 0.1 and one["bandwidth"]["L2"]["median"] > 0.1
    assert [point["bytes"] for point in one["curve"]] == limits.working_sets(limits.caches())[1]
    printed = capsys.readouterr().out
    assert "float32 FMA, GFLOP/s" in printed and "read from L2, GB/s" in printed
