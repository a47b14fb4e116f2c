"""Pictures of results: which are drawn follows from the results, and a file is written whole or not at all."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from benchmark_scripts import script

from fastgru.bench.plots import charts, plot_results, save
from fastgru.bench.results import figure_text
from fastgru.errors import FastGRUError, MissingDependencyError

SYSTEMS = {"fastgru": 1.0, "torch": 5.0, "onnxruntime": 1.5}
PRECISIONS = {"fastgru-float16": 0.9, "fastgru-bfloat16": 0.8, "fastgru-int8": 0.5, "torch-int8": 3.0}
MODELS = ("text", "tag", "conv", "ts")
BEGINNINGS = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}


def row(system, hidden=128, batch=1, steps=100, threads=1, **more):
    microseconds = {**SYSTEMS, **PRECISIONS}[system] * hidden * batch * steps / threads
    return {
        "scenario": "SingleStream" if batch == 1 else "Offline",
        "case": f"{steps} steps, batch {batch}, H {hidden}",
        "steps": steps, "batch": batch, "inputs": hidden, "hidden": hidden, "layers": 1, "directions": 1,
        "lengths": "full", "threads": threads, "system": system,
        "p50": microseconds, "p90": 1.1 * microseconds, "p99": 1.4 * microseconds, "min": microseconds,
        "mean": microseconds, "n": 100, "warmup": 10, "largest_difference": 1e-7, "skipped": None,
        **more,
    }  # fmt: skip


def results(*rows):
    machine = {"cpu": "A CPU", "cores": 2, "caches": "L2 1M", "os": "Linux", "python": "3.12", "isa": "avx2"}
    return {"schema": 1, "date": "2026-01-02T03:04:05", "machine": machine,
            "versions": {"fastgru": "9.9", "torch": "8.8", "onnxruntime": "7.7"}, "results": list(rows)}  # fmt: skip


def sweep(**sizes):
    (name, values) = next(iter(sizes.items()))
    return [row(system, **{name: value}) for value in values for system in SYSTEMS]


ONE = results(*(row(system) for system in SYSTEMS))


def words(figure):
    """All that stands in a picture."""
    from matplotlib.text import Text

    return "\n".join(each.get_text() for each in figure.findobj(Text))


def test_lines_where_a_size_varies_and_bars_where_none_does():
    assert list(charts(results(*sweep(hidden=[32, 64, 128])))) == ["latency_by_hidden", "tail"]
    assert list(charts(results(*sweep(batch=[1, 8, 32])))) == ["latency_by_batch", "tail"]
    assert list(charts(results(*sweep(batch=[1, 32])))) == ["latency", "tail"]
    assert list(charts(ONE)) == ["latency"]


def test_each_number_of_threads_and_steps_has_its_own_panel():
    pytest.importorskip("matplotlib")
    rows = [row(system, hidden, steps=steps, threads=threads) for system in SYSTEMS for hidden in (32, 64, 128)
            for steps in (1, 100) for threads in (1, 2)]  # fmt: skip
    figure = charts(results(*rows))["latency_by_hidden"]()
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["one step, batch 1, 1 thread", "100 steps, batch 1, 1 thread",
                      "one step, batch 1, 2 threads", "100 steps, batch 1, 2 threads"]  # fmt: skip
    assert [len(axes.lines) for axes in figure.axes] == [3] * 4
    assert all("(us)" in axes.get_ylabel() and axes.get_xlabel() for axes in figure.axes)


def test_each_whole_model_has_its_own_panel_of_its_name():
    pytest.importorskip("matplotlib")
    rows = [row(system, batch=batch, threads=threads, model=model) for system in SYSTEMS
            for batch in (1, 16, 128) for threads in (1, 2) for model in MODELS]  # fmt: skip
    for each in rows:
        each.update(inputs=None, hidden=None, layers=None, directions=None)
    found = charts(results(*rows))
    assert list(found) == ["latency_by_batch", "tail"]
    figure = found["latency_by_batch"]()
    assert [axes.get_title() for axes in figure.axes] == [
        f"{model}, 100 steps, {threads}" for threads in ("1 thread", "2 threads") for model in sorted(MODELS)
    ]
    assert {len(axes.lines) for axes in figure.axes} == {len(SYSTEMS)}
    assert "of whole models" in words(figure) and "None" not in words(figure)


def test_the_title_names_machine_and_threads_and_the_legend_versions():
    pytest.importorskip("matplotlib")
    rows = sweep(hidden=[32, 64, 128]) + [row(system, hidden, threads=2) for system in SYSTEMS for hidden in (1, 2, 4)]
    said = words(charts(results(*rows))["latency_by_hidden"]())
    for word in ("A CPU", "1 and 2 threads", "avx2", "fastgru 9.9", "PyTorch 8.8", "ONNX Runtime 7.7"):
        assert word in said


def test_ticks_are_plain_numbers_and_more_of_them_where_latencies_are_near_each_other():
    pytest.importorskip("matplotlib")
    near = [row(system, hidden, p50=value) for system, value in (("fastgru", 3), ("torch", 40)) for hidden in (1, 2, 4)]
    far = [{**each, "p50": 100 * each["p50"] ** 2} for each in near]
    for rows, wanted in ((near, ["5", "10", "20"]), (far, ["1,000", "10,000", "100,000"])):
        axis = charts(results(*rows))["latency_by_hidden"]().axes[0].yaxis
        low, high = axis.get_view_interval()
        ticks = [tick for tick in axis.get_majorticklocs() if low <= tick <= high]
        assert axis.get_major_formatter().format_ticks(ticks) == wanted
        assert not any(axis.get_minor_formatter().format_ticks(axis.get_minorticklocs()))


def test_no_two_systems_look_alike():
    pytest.importorskip("matplotlib")
    lines = charts(results(*sweep(hidden=[32, 64, 128])))["latency_by_hidden"]().axes[0].lines
    assert len({line.get_color() for line in lines}) == len({line.get_marker() for line in lines}) == len(SYSTEMS)


def test_an_engine_s_precisions_are_told_apart_by_their_lines():
    pytest.importorskip("matplotlib")
    rows = [row(system, hidden) for hidden in (32, 64, 128) for system in (*SYSTEMS, *PRECISIONS)]
    figure = charts(results(*rows))["latency_by_hidden"]()
    lines = figure.axes[0].lines
    looks = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in lines}
    assert len(looks) == len(lines) == len(SYSTEMS) + len(PRECISIONS)
    assert len({line.get_color() for line in lines}) == len(SYSTEMS)
    (legend,) = figure.legends
    drawn = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in legend.get_lines()}
    assert drawn == looks and "fastgru int8" in words(figure)


def test_what_was_skipped_is_not_drawn():
    pytest.importorskip("matplotlib")
    skipped = row("torch", p50=None, p90=None, p99=None, skipped="not installed")
    figure = charts(results(row("fastgru"), skipped))["latency"]()
    assert len(figure.axes[0].patches) == 1


def test_a_server_is_drawn_by_its_rate():
    pytest.importorskip("matplotlib")
    figure = charts(results(row("fastgru", scenario="Server", rate=1234.0, bound=5000)))["server"]()
    assert figure.axes[0].patches[0].get_width() == 1234
    assert "5,000 us" in words(figure) and "1,234" in words(figure)


def test_the_tail_is_p99_over_p50():
    pytest.importorskip("matplotlib")
    figure = charts(results(row("fastgru"), row("fastgru", hidden=64)))["tail"]()
    assert list(figure.axes[0].lines[0].get_xdata()) == pytest.approx([1.4, 1.4])


@pytest.mark.parametrize("suffix", BEGINNINGS)
def test_the_suffix_gives_the_format(tmp_path, suffix):
    pytest.importorskip("matplotlib")
    path = tmp_path / f"picture{suffix}"
    plot_results(ONE, path)
    assert path.read_bytes().startswith(BEGINNINGS[suffix])
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["picture", "picture.jpg", "picture.json"])
def test_another_suffix_is_refused(tmp_path, name):
    with pytest.raises(FastGRUError, match=r"wanted one of \.png, \.svg, \.pdf"):
        plot_results(ONE, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_nothing_to_draw_is_an_error(tmp_path):
    with pytest.raises(FastGRUError, match="nothing to draw"):
        plot_results(results(row("torch", p50=None, skipped="not installed")), tmp_path / "a.png")


def test_a_file_that_cannot_be_written_is_an_error(tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(FastGRUError, match=r"a\.png: cannot be written"):
        plot_results(ONE, tmp_path / "no folder" / "a.png")


def test_what_fails_in_the_middle_leaves_the_old_file(tmp_path):
    class Broken:
        def savefig(self, file, **_):
            file.write(b"half of a picture")
            raise RuntimeError("no more")

    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="no more"):
        save(Broken(), path)
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_without_matplotlib_the_error_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.figure", raising=False)
    with pytest.raises(MissingDependencyError, match="pip install matplotlib"):
        plot_results(ONE, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_matplotlib_is_not_imported_before_it_draws():
    code = "import sys, fastgru.bench.plots; assert not [name for name in sys.modules if name.startswith('matplotlib')]"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_script_writes_every_picture(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    file = tmp_path / "results.json"
    file.write_text(json.dumps(results(*sweep(hidden=[32, 64, 128]))))
    script("plots").main([str(file), "-o", str(tmp_path / "new"), "--format", "svg"])
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["latency_by_hidden.svg", "tail.svg"]
    assert "tail.svg" in capsys.readouterr().out


def test_the_script_says_what_is_wrong_with_its_file(tmp_path, capsys):
    file = tmp_path / "results.json"
    file.write_text("{")
    with pytest.raises(SystemExit) as stopped:
        script("plots").main([str(file)])
    assert stopped.value.code == 1 and len(capsys.readouterr().err.strip().splitlines()) == 1


def test_figures_have_four_digits_or_all_before_the_point_and_no_exponent():
    shown = [figure_text(each) for each in (0.01234, 5.5, 1234.4, 9999.4, 9999.6, 19860, 1.2e7)]
    assert shown == ["0.01234", "5.5", "1,234", "9,999", "10,000", "19,860", "12,000,000"]
