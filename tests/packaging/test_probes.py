"""The probes of setup.py say what the compiler takes, and print nothing."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
from setuptools import Distribution
from setuptools.command import build_ext  # noqa: F401 - so that setuptools' own distutils is what is imported below

SETUP = Path(__file__).resolve().parents[2] / "setup.py"


@pytest.mark.filterwarnings("ignore")  # of setuptools, about its own options
def test_what_the_compiler_says_of_a_probe_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from distutils.ccompiler import new_compiler
    from distutils.sysconfig import customize_compiler

    monkeypatch.chdir(SETUP.parent)
    monkeypatch.setattr(sys, "argv", ["setup.py", "-q", "--name"])
    command = runpy.run_path(str(SETUP))["BuildEngine"](Distribution())
    command.compiler = new_compiler()
    customize_compiler(command.compiler)
    capfd.readouterr()
    assert command.compiles("int main(void) { return 0; }", [], link=True)
    assert not command.compiles("#error\nint main(void) { return 0; }", [])
    assert not command.compiles("int main(void) { return missing(); }", ["-Werror"], link=True)
    assert capfd.readouterr() == ("", "")
    print("still there", file=sys.stderr)
    assert capfd.readouterr().err == "still there\n"
