"""What a build cannot have it says, in one line each, and goes on without it where it can."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from fastgru.engine import plan

SETUP = Path(__file__).resolve().parents[2] / "setup.py"
FAULT = 'cdef extern from *:\n    """\n    #error a fault\n    """\n'
# setup.py with small modules in the place of the engine's, and two levels that no compiler takes.
SMALL = """
import runpy, setuptools, sys
real = setuptools.setup
def setup(cmdclass, ext_modules):
    levels = cmdclass["build_ext"].build_extensions.__globals__["LEVELS"]
    levels.clear()
    levels.update(baseline=("1", []), refused=("1", []), unknown=("1", ["-mno-such-flag"]), other=("0", []))
    names = ["cpu", *(f"kernels_{level}" for level in levels)]
    real(name="small", cmdclass=cmdclass, ext_modules=[setuptools.Extension(name, [f"{name}.pyx"]) for name in names])
setuptools.setup = setup
sys.argv[:] = ["setup.py", "-q", "build_ext", "--inplace"]
runpy.run_path(SETUP)
"""


def run(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=os.environ | environment, text=True, timeout=300,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def build_small(folder: Path, baseline: str = "", cpu: str = "") -> subprocess.CompletedProcess[str]:
    sources = {"cpu": f'include "built.pxi"\n{cpu}', "kernels_baseline": baseline, "kernels_refused": FAULT}
    for name in ("cpu", "kernels_baseline", "kernels_refused", "kernels_unknown", "kernels_other"):
        (folder / f"{name}.pyx").write_text(sources.get(name, ""))
    return run(folder, "-c", f"SETUP = {str(SETUP)!r}\n{SMALL}")


@pytest.mark.parametrize("missing", [{"CC": "/nonexistent/cc"}, {"PATH": "", "CC": "cc"}], ids=["CC", "PATH"])
def test_a_missing_compiler_is_one_line_that_says_what_to_install(missing: dict[str, str], tmp_path: Path) -> None:
    folders = ["--build-temp", str(tmp_path), "--build-lib", str(tmp_path)]
    done = run(SETUP.parent, str(SETUP), "-q", "build_ext", *folders, **missing)
    assert done.returncode == 1 and "Traceback" not in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.startswith("error: fastgru needs a C compiler and found none that works (")
    assert missing["CC"] in last and "apt install build-essential" in last


def test_a_level_that_the_compiler_refuses_is_left_out_aloud(tmp_path: Path) -> None:
    earlier = tmp_path / f"kernels_refused{sysconfig.get_config_var('EXT_SUFFIX')}"
    earlier.touch()
    done = build_small(tmp_path)
    assert done.returncode == 0, done.stdout
    said = [line.partition("warning: BuildEngine: ")[2] for line in done.stdout.splitlines() if "left out" in line]
    unknown, refused = said
    assert unknown == "kernel level unknown is left out, the compiler does not know -mno-such-flag"
    assert refused.startswith("kernel level refused is left out, the compiler refused it: ") and "a fault" in refused
    assert not earlier.exists()
    kept = run(tmp_path, "-c", "import cpu, kernels_baseline; print(*cpu.LEFT_OUT, cpu.NO_VECTORS == '')").stdout
    assert kept.split() == ["unknown", "refused", "True"]


def test_every_module_but_kernels_is_compiled_for_threads(tmp_path: Path) -> None:
    """Or what several threads count together is no atomic."""
    ours = '''
cdef extern from *:
    """
    #ifdef FASTGRU_THREADS
    #define OURS FASTGRU_THREADS
    #else
    #define OURS 0
    #endif
    """
    int OURS
THREADS = OURS
'''
    done = build_small(tmp_path, ours, ours)
    assert done.returncode == 0, done.stdout
    found = run(tmp_path, "-c", "import cpu, kernels_baseline; print(cpu.THREADS, kernels_baseline.THREADS)").stdout
    assert found.split() == [str(int(plan.THREADS == "POSIX")), "0"]


def test_without_a_baseline_there_is_no_package(tmp_path: Path) -> None:
    done = build_small(tmp_path, FAULT)
    assert done.returncode == 1 and "Traceback" not in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.startswith("error: the compiler refused kernels_baseline: ") and "a fault" in last


def test_a_compiler_without_vector_types_is_said(setup_script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTGRU_BUILD_SCALAR", raising=False)
    said: list[str] = []
    command = SimpleNamespace(compiles=lambda source, flags: False, warn=said.append)
    assert setup_script.BuildEngine.why_no_vectors(command) == "the compiler has none; GCC and clang do"
    assert len(said) == 1 and "no vector types" in said[0] and "MinGW-w64" in said[0]


def test_each_half_of_a_file_for_two_processors_has_its_own_flags(setup_script: ModuleType) -> None:
    def half(level: str, *architectures: str) -> tuple[str, list[str]]:
        command = ["clang", "-O3", *(word for name in architectures for word in ("-arch", name))]
        builder = SimpleNamespace(compiler=SimpleNamespace(compiler_so=command))
        return setup_script.BuildEngine.for_its_half(builder, *setup_script.LEVELS[level])

    for architectures in ((), ("arm64",), ("x86_64",)):
        assert half("avx2", *architectures) == setup_script.LEVELS["avx2"]
    x86 = ["-Xarch_x86_64", "-mavx2", "-Xarch_x86_64", "-mfma", "-Xarch_x86_64", "-mf16c"]
    assert half("avx2", "arm64", "x86_64") == ("1", x86)
    assert half("neon_dotprod", "x86_64", "arm64") == ("1", ["-Xarch_arm64", "-march=armv8.2-a+dotprod"])
    assert half("baseline", "arm64", "x86_64") == ("1", [])
    assert half("neon", "i386", "x86_64")[0] == "0"
