"""Steps of a pool's streams: a figure for every number of rows and of threads, checked, and their picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmark_scripts import script

pools = script("pools")


def test_every_number_of_rows_and_threads_is_measured(tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "pools.json"
    asked = ["--rows", "1,3", "--threads", "1,2", "--streams", "9", "--seconds", "0.01"]
    pools.main([*asked, "--json", str(file)])
    found = json.loads(file.read_text())
    rows = found["results"]
    assert [(row["threads"], row["rows"]) for row in rows] == [(1, 1), (1, 3), (2, 1), (2, 3)]
    assert {row["streams"] for row in rows} == {9}
    for row in rows:
        assert row["p99"] >= row["p50"] > 0 and row["n"] >= row["threads"]
        at_once = row["threads"] * row["rows"] / (row["mean"] * 1e-6)  # if nothing else took time
        assert 0 < row["steps_per_second"] < 1.01 * at_once
    assert found["machine"]["isa"] and found["versions"]["fastgru"] and "| 2 | 3 |" in capsys.readouterr().out


def test_streams_leave_and_join_between_calls_of_several_threads(capsys: Any) -> None:
    asked = ["--rows", "40", "--threads", "1,2", "--streams", "100", "--seconds", "0.01"]
    pools.main([*asked, "--joining", "50", "--call-threads", "2"])
    out = capsys.readouterr().out
    assert "| 2 | 40 |" in out and "a call has 2 threads" in out and "50 streams leave and join" in out


def test_other_bits_than_those_of_streams_alone_end_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    model = pools.model_of(1)
    pools.check(model)
    step = pools.fastgru.Pool.step
    monkeypatch.setattr(pools.fastgru.Pool, "step", lambda *given: step(*given)[::-1])
    with pytest.raises(SystemExit, match="not the bits"):
        pools.check(model)


def test_the_picture_has_rates_and_latencies_of_each_number_of_threads(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    figure = pools.picture(pools.run([1, 2, 4], [1, 2], 8, 0.01))
    rates, latencies = figure.axes
    assert len(rates.lines) == 2 and len(latencies.lines) == 4
    assert all(list(line.get_xdata()) == [1, 2, 4] for line in rates.lines + latencies.lines)
    path = tmp_path / "pool.png"
    pools.main(["--rows", "1", "--threads", "1", "--streams", "2", "--seconds", "0.01", "--plot", str(path)])
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("asked", "said"),
    [(["--plot", "a.jpg"], "wanted one of .png"), (["--rows", "x"], "got 'x', wanted whole numbers"),
     (["--joining", "501"], "got 501 and 1, wanted 0 to 500"), (["--call-threads", "0"], "got 0 and 0, wanted"),
     (["--streams", "511"], "got 511, wanted at least 512"), (["--threads", "1,0"], "got '1,0', wanted whole")],
)  # fmt: skip
def test_what_cannot_be_done_is_one_line(asked: list[str], said: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as stopped:
        pools.main(asked)
    assert said in capsys.readouterr().err + str(stopped.value) and stopped.value.code
