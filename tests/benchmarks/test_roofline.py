"""The share of a machine's limits: counted by hand for one case, and of every case that is asked for."""

from __future__ import annotations

import json

import pytest
from benchmark_scripts import script

roofline = script("roofline")

KB = 1 << 10
POINT = {"median": 40.0, "best": 50.0, "level": "avx2"}
LIMIT = {
    "threads": 1,
    "fma": {"median": 90.0, "best": 100.0, "level": "avx2"},
    "bandwidth": {"L1": {**POINT, "best": 200.0}, "L2": POINT, "memory": {**POINT, "best": 10.0}},
}
CACHES = {"L1": 32 * KB, "L2": 512 * KB}


def row(hidden, batch=1, inputs=None, microseconds=100.0):
    inputs = hidden if inputs is None else inputs
    return {"batch": batch, "inputs": inputs, "hidden": hidden, "steps": 100, "threads": 1, "recurrent": inputs == 1,
            "min": microseconds}  # fmt: skip


def test_a_multiply_add_counts_two():
    assert roofline.flop(steps=1, batch=1, inputs=3, hidden=2) == 2 * (6 * 3 + 6 * 2)
    assert roofline.flop(steps=7, batch=5, inputs=3, hidden=2) == 35 * roofline.flop(1, 1, 3, 2)


def test_shares_are_those_of_the_cache_that_holds_the_weights():
    small, large, huge = roofline.shares([row(32, inputs=1), row(128, inputs=1), row(512, inputs=1)], LIMIT, CACHES)
    assert [small["place"], large["place"], huge["place"]] == ["L1", "L2", "memory"]
    gbs = 128 * 128 * 12 * 100 / 100e-6 / 1e9
    assert large["gbs"] == pytest.approx(gbs)
    assert large["share_of_bandwidth"] == pytest.approx(gbs / 50)


def test_the_share_of_fma_is_of_the_best_run():
    (found,) = roofline.shares([row(256, batch=32, microseconds=30_000)], LIMIT, CACHES)
    assert found["gflops"] == pytest.approx(12 * 256 * 256 * 32 * 100 / 30_000e-6 / 1e9)
    assert found["share_of_fma"] == pytest.approx(found["gflops"] / 100)


def test_without_caches_there_is_no_share_of_bandwidth():
    (found,) = roofline.shares([row(32, inputs=1)], {**LIMIT, "bandwidth": {}}, {})
    assert found["share_of_bandwidth"] is None
    assert "| 32 |" in roofline.markdown([found, *roofline.shares([row(32), row(32, batch=8)], LIMIT, CACHES)], LIMIT)


@pytest.fixture
def limits_file(tmp_path):
    path = tmp_path / "limits.json"
    path.write_text(json.dumps({"limits": [LIMIT], "caches": CACHES}))
    return str(path)


def test_every_case_is_measured(limits_file, tmp_path, capsys):
    file = tmp_path / "roofline.json"
    asked = ["--hidden", "8", "16", "--batches", "2", "--seconds", "0.001"]
    roofline.main(["--limits", limits_file, *asked, "--json", str(file)])
    rows = json.loads(file.read_text())["rows"]
    found = [(each["batch"], each["inputs"], each["hidden"]) for each in rows]
    assert found == [(1, 1, 8), (1, 1, 16), (1, 8, 8), (1, 16, 16), (2, 8, 8), (2, 16, 16)]
    assert all(each["gflops"] > 0 for each in rows)
    printed = capsys.readouterr().out
    assert "batch 2" in printed and "| 16 |" in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--threads", "3"], "has none for 3 threads"), (["--plot", "a.jpg"], "wanted one of .png"),
     (["--limits", "/no/such/file"], "No such file")],
)  # fmt: skip
def test_what_cannot_be_done_is_one_line(limits_file, arguments, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        roofline.main(["--limits", limits_file, *arguments])
    assert stopped.value.code and said in capsys.readouterr().err


def test_the_plot_has_every_ceiling_and_every_engine():
    pytest.importorskip("matplotlib")
    from matplotlib.text import Text

    rows = roofline.shares([row(32, inputs=1), row(32), row(32, batch=8, microseconds=900)], LIMIT, CACHES)
    other = {"system": "torch", "lengths": "full", "layers": 1, "directions": 1, "scenario": "Offline"}
    others = {"versions": {"torch": "8.8"}, "results": [{**row(32, batch=8), **other}]}
    figure = roofline.picture(rows, LIMIT, {"cpu": "A CPU", "caches": "L2 512K"}, others)
    words = "\n".join(each.get_text() for each in figure.findobj(Text))
    for word in ("A CPU", "1 thread", "FMA 100", "L1 200", "L2 50", "memory 10", "32 units", "PyTorch 8.8"):
        assert word in words
    assert len(figure.axes) == 2
