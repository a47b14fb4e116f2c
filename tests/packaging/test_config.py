"""``fastgru config`` says how the package was built, and what no processor has run yet."""

from __future__ import annotations

import pytest

from fastgru.config import configuration, show_config
from fastgru.engine import cpu, dispatch


def lines(capsys: pytest.CaptureFixture[str]) -> list[tuple[str, str]]:
    show_config()
    return [(line[:28].strip(), line[28:]) for line in capsys.readouterr().out.splitlines()]


def test_it_names_the_compiler() -> None:
    assert any(name in configuration()["compiled by"] for name in ("GCC", "lang", "LLVM", "MSVC"))


def test_it_says_which_levels_were_left_out_and_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cpu, "LEFT_OUT", {"amx": "the compiler refused it: amx.h:1: error", "avx2": "of no use"})
    shown = [value for name, value in lines(capsys) if name == "kernels left out"]
    assert shown == ["amx: the compiler refused it: amx.h:1: error", "avx2: of no use"]
    monkeypatch.setattr(cpu, "LEFT_OUT", {})
    assert "kernels left out" not in dict(lines(capsys))


def test_it_says_why_there_are_no_vector_types(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cpu, "NO_VECTORS", "")
    assert dict(lines(capsys))["vector types"] == "yes"
    monkeypatch.setattr(cpu, "NO_VECTORS", "the compiler has none")
    assert dict(lines(capsys))["vector types"] == "no: the compiler has none"


def test_it_says_what_no_processor_has_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert set(dispatch.UNTRIED) <= set(dispatch.NEVER_ON_HARDWARE) <= set(dispatch.LEVELS)
    monkeypatch.setattr(dispatch, "chosen", lambda: "amx")
    monkeypatch.setattr(dispatch, "available", lambda: ("amx", "avx512", "avx2_vnni", "baseline"))
    shown = dict(lines(capsys))
    assert shown["kernels"] == "amx (tried in emulation only)"
    assert shown["kernels available"] == "amx (tried in emulation only), avx512, avx2_vnni (never tried), baseline"
