"""What the bench promises without any other engine: its figures, its turns, its table, and a run of fastgru alone."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import network

import fastgru
from fastgru.bench import machine, measure, others, peers, placement, runner, server, turns
from fastgru.bench.cases import Case, random_gru, random_lengths, work_of
from fastgru.bench.markdown import RATIO, difference, latency, markdown, tables
from fastgru.bench.peers import BEST_OF, OWN, PEERS
from fastgru.bench.results import FIGURES, ratio, result, row
from fastgru.bench.scenarios import SCENARIOS
from fastgru.bench.statistics import summary
from fastgru.layers import Flatten, GRUSpec, Input, ModelSpec, Node

KEYS = (
    *("scenario", "case", "model", "steps", "batch", "inputs", "hidden", "layers", "directions", "lengths", "threads"),
    *("system", "precision"),
    *("p50", "p90", "p99", "min", "mean", "n", "warmup", "largest_difference", "skipped"),
)


class Clock:
    """Nanoseconds that pass when an engine works or sleeps, and a few at every look."""

    def __init__(self, look: int = 10) -> None:
        self.now, self._look = 0, look

    def __call__(self) -> int:
        self.now += self._look
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += round(1e9 * seconds)

    def engine(self, *nanoseconds: int) -> Callable[[], None]:
        """Calls that take these times in turn."""
        times = itertools.cycle(nanoseconds)

        def call() -> None:
            self.now += next(times)

        return call


def case(scenario: str = "SingleStream", steps: int = 4, batch: int = 1, **more: Any) -> Case:
    return Case(scenario, f"{scenario} {steps} x {batch}", "gru", steps, batch, **more)


def test_figures_are_percentiles_in_microseconds() -> None:
    found = summary([1000 * value for value in range(101)])
    assert found == {"p50": 50.0, "p90": 90.0, "p99": 99.0, "min": 0.0, "mean": 50.0, "n": 101}
    assert summary([1500])["p99"] == 1.5


def test_engines_take_turns_of_like_length_and_warm_calls_do_not_count() -> None:
    clock = Clock()
    times = turns.in_turn({"fast": clock.engine(1_000), "slow": clock.engine(1_000_000)}, 0.1, clock=clock)
    fast, slow = (np.array(times[name].nanoseconds) for name in ("fast", "slow"))
    assert set(fast) == {1_010} and set(slow) == {1_000_010}
    assert len(fast) == turns.MAX_CALLS * (len(slow) // 3)  # as many turns, of at most so many calls or 4 ms
    assert times["fast"].warmup > turns.WARM_CALLS[0] and times["slow"].warmup > turns.WARM_CALLS[0]
    assert 0.15e9 < fast.sum() + slow.sum() < 0.25e9


def test_even_the_slowest_engine_has_its_turns() -> None:
    clock = Clock()
    times = turns.in_turn({"slow": clock.engine(3_000_000_000)}, 0.1, clock=clock)
    assert len(times["slow"].nanoseconds) == turns.MIN_TURNS


def test_something_can_be_waited_for_before_each_turn() -> None:
    clock, waited = Clock(), []
    calls = {name: clock.engine(100_000) for name in "ab"}
    times = turns.in_turn(calls, 0.2, before=waited.append, clock=clock)
    assert waited[:4] == ["a", "b", "a", "b"]
    calls_in_a_turn = len(times["a"].nanoseconds) / waited.count("a")
    assert calls_in_a_turn == turns.TURN * turns.LONGER // 100_010


def test_waiting_ends_when_the_process_sleeps_and_also_when_it_never_does() -> None:
    for spinning, least, most in ((0.040, 0.040, 0.050), (1e9, 0.199, 0.201)):
        clock, spun = Clock(), round(1e9 * spinning)
        turns.wait_for_sleep(clock, lambda clock=clock, spun=spun: min(clock.now, spun), clock.sleep)
        assert least < clock.now / 1e9 < most


def test_arrivals_are_a_seeded_poisson_process() -> None:
    times = server.arrivals(1000.0, 20_000)
    gaps = np.diff(times) / 1e9
    assert times[0] == 0 and np.all(gaps >= 0)
    assert gaps.mean() == pytest.approx(1e-3, rel=0.03) and gaps.std() == pytest.approx(1e-3, rel=0.03)
    assert np.array_equal(times, server.arrivals(1000.0, 20_000))


def test_a_request_s_latency_has_its_wait_in_the_queue() -> None:
    clock = Clock()
    latencies = server.serve(clock.engine(1_000_000), [0, 100, 5_000_000], clock, clock.sleep, 10_000_000, 0)
    assert latencies is not None
    assert np.allclose(np.array(latencies), [1e6, 2e6, 1e6], atol=100)


def test_serving_ends_where_too_many_requests_miss_the_bound() -> None:
    clock, due = Clock(), [0, 10, 20, 30]
    assert server.serve(clock.engine(1_000_000), due, clock, clock.sleep, 1_500_000, 2) is None
    kept = server.serve(clock.engine(1_000_000), due, clock, clock.sleep, 1_500_000, 3)
    assert kept is not None and len(kept) == 4


def test_the_largest_rate_follows_the_bound() -> None:
    """A queue with one server and equal services: the more it may wait, the nearer it comes to what it could do."""
    rates = []
    for bound in (1_500_000, 5_000_000, 50_000_000):
        clock = Clock(look=5_000)
        served = server.largest_rate(clock.engine(1_000_000), bound, 20.0, clock, clock.sleep)
        assert np.mean(np.array(served.nanoseconds) > bound) <= server.MISSES
        rates.append(served.rate)
    assert 10 < rates[0] < rates[1] < rates[2] < 1000
    assert 600 < rates[1] < 950  # M/D/1: 99 % wait below 4 services at a load of 0.6 to 0.95


def test_no_rate_is_found_where_one_call_is_above_the_bound() -> None:
    clock = Clock()
    assert server.largest_rate(clock.engine(2_000_000), 1_000_000, 1.0, clock, clock.sleep).rate == 0


def test_busy_threads_are_those_that_had_a_share_of_the_time() -> None:
    before = {7: 100, 8: 5, 9: 50}
    after = {7: 115, 8: 5, 9: 51, 10: 14, 11: 20}
    assert list(placement.busy_threads(before, after, 7)) == [7, 11, 10]
    assert list(placement.busy_threads(before, after, 8)) == [11, 7, 10]
    assert list(placement.busy_threads(before, before, 7)) == []


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system binds no threads to cores")
def test_the_calling_thread_is_bound_for_its_turn_only() -> None:
    before, place = os.sched_getaffinity(0), placement.Placement()
    try:
        place.learn("busy", lambda: sum(range(1000)))
        assert os.sched_getaffinity(0) == before
        place.take("busy")
        assert len(os.sched_getaffinity(0)) == 1
        place.take("never learned")
        assert os.sched_getaffinity(0) == before
    finally:
        place.release()
    with machine.on_cores(1):
        assert os.sched_getaffinity(0) == {max(before)}
    assert os.sched_getaffinity(0) == before


def test_a_second_thread_of_a_core_comes_after_all_cores(tmp_path: Path) -> None:
    for cpu, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        (tmp_path / f"cpu{cpu}" / "topology").mkdir(parents=True)
        (tmp_path / f"cpu{cpu}" / "topology" / "thread_siblings_list").write_text(siblings + "\n")
    assert machine._cores([0, 1, 2, 3], tmp_path) == [3, 2, 1, 0]
    assert machine._cores([0, 2, 3], tmp_path) == [3, 2, 0]


def test_what_others_used_is_the_machine_s_time_without_our_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat, clock = tmp_path / "stat", Clock()
    stat.write_text("cpu 100 0 50 9000 10 1 2 3 0 0\n")
    monkeypatch.setattr(others, "STAT", stat)
    monkeypatch.setattr(others.time, "monotonic", lambda: clock.now / 1e9)
    monkeypatch.setattr(others.time, "process_time", lambda: clock.now / 2e9)
    with others.others() as used:
        clock.sleep(2.0)
        stat.write_text("cpu 300 0 50 9100 10 1 2 103 0 0\n")  # 3 s of work, 1 s of it ours
    assert used.cores == pytest.approx(1.0)
    with others.others() as used:
        pass
    assert used.cores is None


def test_the_same_numbers_go_to_every_engine_and_one_step_has_a_state() -> None:
    spec = network(3, 5, layers=2)
    one, other = work_of(case(steps=1, batch=4), spec, 1), work_of(case(steps=1, batch=4), spec, 2)
    assert np.array_equal(one.x, other.x) and one.h0 is not None and one.h0.shape == (2, 4, 5)
    assert work_of(case(), spec, 1).h0 is None
    lengths = work_of(case("Ragged", 9, 64), spec, 1).lengths
    assert lengths is not None and {*lengths} == {*range(1, 10)}
    assert np.array_equal(lengths, random_lengths(64, 9))
    assert random_gru(4, 6) == random_gru(4, 6)


def row_of(system: str, p50: float, *, skipped: str | None = None, **more: Any) -> dict[str, Any]:
    return row(case(), random_gru(2, 3), 1, system, p50=p50, skipped=skipped, **more)


def test_a_row_has_every_key_of_the_schema() -> None:
    assert tuple(row_of("fastgru", 1.0)) == KEYS
    served = row(case("Server", bound=1e4), random_gru(2, 3), 1, "fastgru")
    assert {*served} - {*KEYS} == {"rate", "bound"}
    assert row(case("Ragged", 9, 2), random_gru(2, 3), 1, "torch")["lengths"] == "uniform 1..9"
    assert set(FIGURES) < set(KEYS)


def test_the_result_says_where_when_and_with_what() -> None:
    found = json.loads(json.dumps(result(["fastgru"], [row_of("fastgru", 1.0)], ["a note"])))
    assert list(found) == ["schema", "date", "machine", "versions", "results", "notes"]
    assert list(found["machine"]) == ["cpu", "cores", "caches", "os", "python", "isa"]
    assert found["schema"] == 1 and found["versions"] == {"fastgru": fastgru.__version__}


def test_the_ratio_is_of_the_best_peer_that_was_timed() -> None:
    rows = {"fastgru": row_of("fastgru", 2.0), "torch": row_of("torch", 9.0), "jax": row_of("jax", 1.0)}
    assert ratio(rows, BEST_OF) == 4.5
    assert ratio({**rows, "openvino": row_of("openvino", 6.0)}, BEST_OF) == 3.0
    assert ratio({**rows, "torch": row_of("torch", 9.0, skipped="no")}, BEST_OF) is None
    assert ratio({**rows, "fastgru-int8": row_of("fastgru-int8", 1.5)}, BEST_OF, "fastgru-int8") == 6.0
    assert ratio(rows, BEST_OF, "fastgru-int8") is None
    assert ratio({**rows, "fastgru": row_of("fastgru", 2.0, skipped="no")}, BEST_OF) is None
    served = {name: row_of(name, 5.0, scenario="Server", rate=rate) for name, rate in (("fastgru", 90), ("torch", 30))}
    assert ratio({name: {**each, "scenario": "Server"} for name, each in served.items()}, BEST_OF) == 3.0


def test_the_table_has_a_line_for_a_case_and_reasons_where_there_are_no_figures() -> None:
    rows = [row_of("fastgru", 2.0), row_of("torch", 9.0), row_of("onnxruntime", 0.0, skipped="no | at all")]
    found = {**result(["fastgru"], rows, ["busy"]), "versions": {"fastgru": "1", "torch": "2", "onnxruntime": "3"}}
    more = {**RATIO, "wanted": lambda rows: "4: met"}
    lines = markdown(found, more).splitlines()
    assert lines[2] == "1 thread:"
    assert lines[4] == "| case | fastgru 1 | PyTorch 2 | ONNX Runtime 3 | best peer / fastgru | wanted |"
    assert lines[6] == "| SingleStream 4 x 1 | 2 | 9 | no / at all | 4.50 | 4: met |"
    assert lines[-1] == "* busy"
    assert lines[1:-2] == tables(found, latency, more)
    only = ["| case | best peer / fastgru |", "|---|---:|", "| SingleStream 4 x 1 | 4.50 |"]
    assert tables(found, None, RATIO)[3:] == only


def test_a_table_says_what_each_engine_computed_in_and_how_far_off_it_was() -> None:
    rows = [
        row_of("fastgru-int8", 2.0, largest_difference=0.00512),
        row_of("torch-int8", 9.0, largest_difference=0.03),
        row_of("openvino-default", 9.0, largest_difference=None, precision="bfloat16"),
    ]
    assert [each["precision"] for each in rows] == ["int8", "int8", "bfloat16"]
    found = {"versions": {"fastgru-int8": "1", "torch-int8": "2", "openvino-default": "3"}, "results": rows}
    assert tables(found, difference)[3:] == [
        "| case | fastgru int8 1 | PyTorch int8 2 | OpenVINO's default 3 (bfloat16) |",
        "|---|---:|---:|---:|",
        "| SingleStream 4 x 1 | 5.1e-03 | 3.0e-02 |  |",
    ]


def test_a_table_of_fastgru_alone_has_no_ratios() -> None:
    rows = [row_of(name, 2.0) for name in OWN.values()]
    found = {"versions": dict.fromkeys(OWN.values(), "1"), "results": rows}
    assert "best peer" not in "".join(tables(found, latency, RATIO))


def test_a_wrong_engine_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    spec, each = random_gru(3, 4), case()
    right = measure.expected(each, spec)
    engines = {
        "fastgru": peers.adapter("fastgru"),
        "torch": engine_of(lambda: right + 1e-4),
        "onnxruntime": engine_of(lambda: right[:, 1:]),
        "openvino": engine_of(lambda: right * np.nan),
        "jax": engine_of(lambda: right[:, :, 4][0, 4]),
        "keras": engine_of(lambda: right, refusal="not today"),
        "fastgru-float16": peers.adapter("fastgru"),
        "fastgru-bfloat16": peers.adapter("fastgru"),
        "fastgru-int8": engine_of(lambda: right + 0.2),
        "torch-int8": engine_of(lambda: right + 0.05),
        "openvino-default": engine_of(lambda: right, precision="bfloat16"),
    }
    monkeypatch.setattr(measure, "adapter", engines.__getitem__)
    done: list[int] = []
    rows = {each["system"]: each for each in measure.measure(each, spec, list(PEERS), 1, 0.01, right, done.append)}
    assert rows["fastgru"]["skipped"] is None and rows["fastgru"]["n"] >= turns.MIN_TURNS
    assert (rows["fastgru"]["precision"], rows["openvino-default"]["precision"]) == ("float32", "bfloat16")
    assert rows["torch-int8"]["skipped"] is None and "by 2.0e-01, at most 2.0e-02" in rows["fastgru-int8"]["skipped"]
    assert rows["fastgru"]["largest_difference"] < 1e-6
    assert "differs from float64 by 1.0e-04" in rows["torch"]["skipped"]
    assert "gives (1, 3, 4), wanted (1, 4, 4)" in rows["onnxruntime"]["skipped"]
    assert "nan" in rows["openvino"]["skipped"]
    assert rows["jax"]["skipped"].startswith("JAX failed: ")
    assert rows["keras"]["skipped"] == "not today"
    timed = {name for name in PEERS if rows[name]["p50"] is not None}
    assert timed == {"fastgru", "fastgru-float16", "fastgru-bfloat16", "torch-int8", "openvino-default"}
    assert sum(done) == 2 * len(PEERS)


def engine_of(outputs: Callable[[], Any], refusal: str | None = None, precision: str | None = None) -> Any:
    """A stand-in for an adapter's module."""
    from types import SimpleNamespace

    prepared = peers.interface.Prepared(lambda: None, outputs, precision)
    return SimpleNamespace(refusal=lambda work: refusal, prepare=lambda work: prepared)


def test_float32_may_differ_more_where_weights_are_long_or_layers_many() -> None:
    spec = network(8, 8)
    assert measure.tolerance(spec) == PEERS["fastgru"].tolerance == PEERS["torch"].tolerance
    assert measure.tolerance(network(8, 8, layers=3)) == 3 * measure.tolerance(spec)
    assert measure.tolerance(network(8, 8, layers=3), "torch-int8") == 3 * PEERS["torch-int8"].tolerance
    (weights,) = spec.layers[0]
    longer = spec.replace(layers=((weights.replace(w_hh=weights.w_hh * 100),),))
    assert measure.tolerance(longer) > 20 * measure.tolerance(spec)


@pytest.mark.parametrize("reset_after", [True, False])
def test_a_run_of_fastgru_alone_measures_every_scenario(reset_after: bool) -> None:
    spec = network(3, 5, layers=2, reset_after=reset_after)
    shapes = {"SingleStream": (1, 1), "MultiStream": (1, 4), "Offline": (6, 4), "Ragged": (6, 4), "Server": (6, 1)}
    assert set(shapes) == set(SCENARIOS.values())
    cases = [case(name, *shape, bound=1e5 if name == "Server" else None) for name, shape in shapes.items()]
    done: list[int] = []
    found = runner.run(cases, {"gru": spec}, ["fastgru"], [1], 0.02, done.append)
    assert [each["scenario"] for each in found["results"]] == list(shapes)
    for each in found["results"]:
        assert each["skipped"] is None and each["largest_difference"] < 1e-6
        assert 0 < each["min"] <= each["p50"] <= each["p90"] <= each["p99"] and each["n"] > 0 and each["warmup"] > 0
    assert found["results"][-1]["rate"] > 0
    assert sum(done) == runner.parts(cases, ["fastgru"], [1])


def test_rounding_may_cost_more_where_a_model_makes_more_of_it() -> None:
    (weights,) = random_gru(16, 16).layers[0]
    spec, each = GRUSpec(((weights.replace(w_hh=weights.w_hh * 6),),)), case(steps=60, batch=8)
    work = work_of(each, spec, 1)
    wanted = measure.expected(each, spec)
    assert measure._rounding(work, wanted) > 20 * measure.ROUNDING
    systems = ["fastgru", "fastgru-float16"]
    single, half = measure.measure(each, spec, systems, 1, 0.01, wanted, lambda done: None)
    assert single["skipped"] is None and half["skipped"] is None
    assert half["largest_difference"] > measure.tolerance(spec, "fastgru-float16")


def test_no_rounding_excuses_outputs_that_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    spec, each = random_gru(3, 4), case()
    right = measure.expected(each, spec)
    monkeypatch.setattr(measure, "_rounding", lambda work, wanted: 2.0)
    monkeypatch.setattr(measure, "adapter", lambda name: engine_of(lambda: right[..., ::-1]))
    (found,) = measure.measure(each, spec, ["torch-int8"], 1, 0.01, right, lambda done: None)
    assert found["largest_difference"] > measure.MOST * np.abs(right).max() and "differs from" in found["skipped"]


def test_every_precision_of_fastgru_is_measured_and_errs_as_it_does() -> None:
    spec = random_gru(24, 24)
    found = runner.run([case(steps=20), case(steps=1, batch=3)], {"gru": spec}, list(OWN.values()), [1], 0.01)
    for first in (0, len(OWN)):
        rows = found["results"][first : first + len(OWN)]
        assert [each["precision"] for each in rows] == list(OWN) == ["float32", "float16", "bfloat16", "int8"]
        assert all(each["skipped"] is None for each in rows)
        single, half, brain, integers = (each["largest_difference"] for each in rows)
        assert single < 1e-6 < half < 5e-4 and half < brain < 4e-3 and half < integers < 1e-2
    assert set(found["versions"].values()) == {fastgru.__version__}


def test_single_steps_of_both_directions_have_a_reason() -> None:
    found = runner.run([case(steps=1), case()], {"gru": network(3, 5, directions=2)}, ["fastgru"], [1], 0.01)
    assert [each["skipped"] for each in found["results"]] == ["no single steps backwards", None]


def test_more_threads_than_processors_are_refused() -> None:
    with pytest.raises(fastgru.FastGRUError, match="threads: got 1000, but this process may use"):
        runner.run([case()], {"gru": random_gru(2, 2)}, ["fastgru"], [1000], 0.01)


def test_a_process_that_fails_says_its_last_words() -> None:
    with pytest.raises(fastgru.FastGRUError, match=r"measures with 1 thread ended with 1: (.|\n)*KeyError: 'wheel'"):
        runner.run([case()], {"gru": random_gru(2, 2)}, ["wheel"], [1], 0.01)


def test_what_a_case_cannot_have_is_told_without_a_traceback() -> None:
    fixed = ModelSpec((Input("x", (4000, 4000)),), (Node("flat", Flatten(), ("x",)),), ("flat",))
    with pytest.raises(fastgru.FastGRUError, match=r"^whole: its input 'x' is too large to try: 32,000,000 num"):
        runner.run([Case("Offline", "whole", "gru", 2, 2)], {"gru": fixed}, ["fastgru"], [1], 0.01)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked at as Linux shows them")
def test_the_process_that_measures_ends_when_the_one_that_started_it_is_killed(tmp_path: Path) -> None:
    code = """
import subprocess
from fastgru.bench import runner
from fastgru.bench.cases import Case, random_gru
class Told(subprocess.Popen):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        print(self.pid, flush=True)
subprocess.Popen = Told
runner.run([Case("Offline", "long", "gru", 10, 2)], {"gru": random_gru(2, 2)}, ["fastgru"], [1], 120.0)
"""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}  # what a process leaves that is killed
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as starting:
        assert starting.stdout is not None
        measuring = int(starting.stdout.readline())
        assert is_running(measuring)
        time.sleep(0.5)
        starting.kill()
    until = time.monotonic() + 20
    while is_running(measuring) and time.monotonic() < until:
        time.sleep(0.02)
    assert not is_running(measuring)


def is_running(process: int) -> bool:
    """Whether there is such a process that has not ended; one that nobody waits for is there as a zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_engines_that_are_missing_are_named_with_the_line_that_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    assert [name for name in PEERS if peers.installed(name)] == list(OWN.values())
    assert peers.pip_line("torch-int8") == "pip install torch"
    assert peers.pip_line("onnxruntime") == "pip install onnxruntime onnx"
    assert peers.pip_line("keras") == "pip install keras torch"
    monkeypatch.setattr(peers, "find_spec", lambda name: name in ("keras", "jax") or None)
    assert peers.installed("keras") and peers.keras_backend() == "jax"
