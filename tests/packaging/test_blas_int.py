"""SciPy's BLAS may take 32 or 64-bit integers; ``setup.py`` looks which, and ``engine/blas.pyx`` compiles against both.

SciPy itself is not needed: a stand-in declares the four functions used, as SciPy 1.17 and a 64-bit SciPy 1.18 do.
Where the integers do not match, Cython casts the pointers in silence and BLAS reads past them; so casts are looked for.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy
import pytest

ROOT = Path(__file__).resolve().parents[2]
ENGINE = ROOT / "fastgru" / "engine"

# kind of SciPy: (how its header begins, its integer, the line that setup.py must write)
KINDS = {
    "32 bits, before 1.18": ("", "int", "ctypedef int blas_int"),
    "32 bits": ("ctypedef int blas_int\n", "int", "from scipy.linalg.cython_blas cimport blas_int"),
    "64 bits": (
        "from libc.stdint cimport int64_t\nctypedef int64_t blas_int\n",
        "blas_int",
        "from scipy.linalg.cython_blas cimport blas_int",
    ),
}
MATRIX_MATRIX = (
    "cdef void {t}gemm(char *transa, char *transb, {i} *m, {i} *n, {i} *k, {r} *alpha, {r} *a, {i} *lda, {r} *b, "
    "{i} *ldb, {r} *beta, {r} *c, {i} *ldc) noexcept nogil\n"
)
MATRIX_VECTOR = (
    "cdef void {t}gemv(char *trans, {i} *m, {i} *n, {r} *alpha, {r} *a, {i} *lda, {r} *x, {i} *incx, {r} *beta, "
    "{r} *y, {i} *incy) noexcept nogil\n"
)


WRONG = "32 bits for 64"  # what setup.py must not write


@pytest.fixture(scope="module")
def compiled(setup_script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The C of ``blas.pyx`` for each kind, and for a wrong choice; made at once, because each takes seconds."""
    folders = {}
    for kind in KINDS:
        folders[kind] = stand_in(tmp_path_factory.mktemp("scipy"), kind)
        origin = str(folders[kind] / "scipy" / "__init__.py")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(setup_script, "find_spec", lambda name, origin=origin: SimpleNamespace(origin=origin))
            setup_script.BuildEngine.write_blas_int(SimpleNamespace(build_temp=str(folders[kind])))
    folders[WRONG] = stand_in(tmp_path_factory.mktemp("scipy"), "64 bits")
    (folders[WRONG] / "blas_int.pxi").write_text("ctypedef int blas_int\n")
    with ThreadPoolExecutor() as pool:
        return dict(zip(folders, pool.map(compiled_to_c, folders.values()), strict=True))


def stand_in(folder: Path, kind: str) -> Path:
    """A folder to find ``scipy.linalg.cython_blas`` in."""
    first, integer, _ = KINDS[kind]
    linalg = folder / "scipy" / "linalg"
    linalg.mkdir(parents=True)
    for package in (linalg.parent, linalg):
        (package / "__init__.py").touch()
        (package / "__init__.pxd").touch()
    functions = [
        template.format(t=letter, r=real, i=integer)
        for letter, real in (("s", "float"), ("d", "double"))
        for template in (MATRIX_MATRIX, MATRIX_VECTOR)
    ]
    (linalg / "cython_blas.pxd").write_text(first + "".join(functions))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_blas_compiles_against_it(kind: str, compiled: dict[str, Path]) -> None:
    source = compiled[kind]
    (written,) = source.parent.rglob("blas_int.pxi")
    assert written.read_text() == KINDS[kind][2] + "\n"
    declared = re.findall(r"cython_blas_([sd]gem[mv])\)\(([^)]*)\);", source.read_text())
    assert sorted(name for name, _ in declared) == ["dgemm", "dgemv", "sgemm", "sgemv"]
    for _, arguments in declared:
        assert ("blas_int *" in arguments) == (kind == "64 bits")
        assert ("int *" in arguments.replace("blas_int *", "")) == (kind != "64 bits")
    assert calls_with_casts(source) == []

    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")
    includes = [sysconfig.get_path("include"), numpy.get_include(), str(ENGINE)]
    run(*compiler, "-fsyntax-only", *(f"-I{include}" for include in includes), str(source))


def test_a_wrong_choice_would_be_found(compiled: dict[str, Path]) -> None:
    """The check for casts above can fail."""
    assert len(calls_with_casts(compiled[WRONG])) > 0


def compiled_to_c(folder: Path) -> Path:
    """``blas.pyx`` with the SciPy and the ``blas_int.pxi`` of a folder."""
    (written,) = folder.rglob("blas_int.pxi")
    include, source = ("-I", str(folder), "-I", str(written.parent)), folder / "blas.c"
    run(sys.executable, "-m", "cython", "-3", *include, str(ENGINE / "blas.pyx"), "-o", str(source))
    return source


def calls_with_casts(source: Path) -> list[str]:
    """Calls of BLAS in which Cython had to cast a pointer to an integer."""
    calls = re.findall(r"cython_blas_[sd]gem[mv]\(\(.*;", source.read_text())
    assert len(calls) >= 4
    return [call for call in calls if re.search(r"\((\w*_blas_int|int) \*\)", call)]


def run(*command: str) -> None:
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr
