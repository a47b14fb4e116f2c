"""What is in the wheel and in the source distribution, and what is not.

They are taken from the folder that ``FASTGRU_DIST`` names, or built here, which is slow.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import fastgru
from fastgru.engine import dispatch

ROOT = Path(__file__).resolve().parents[2]
GIVEN = os.environ.get("FASTGRU_DIST")
pytestmark = [] if GIVEN else pytest.mark.slow

BUILT = {".so", ".pyd", ".pyc", ".pyo", ".o", ".c"}
BY_HAND = {"benchmarks/limits.c", "tests/sanitizers/team.c"}  # the only C that Cython did not write
SOURCES_OF_MODULES = {".pyx", ".pxi", ".h"}
DEMO_DATA = {"digits.pt", "digits.npz", "sunspots.keras", "sunspots.npz"}


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one source distribution, and one wheel that was built from it."""
    if GIVEN:
        return Path(GIVEN)
    tree = tmp_path_factory.mktemp("source") / "fastgru"
    left_out = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "*.so")
    shutil.copytree(ROOT, tree, ignore=left_out)
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "build", "--outdir", str(folder), str(tree)], check=True, timeout=900)
    return folder


def only(paths: list[Path]) -> Path:
    (path,) = paths
    return path


@pytest.fixture(scope="module")
def wheel(dist: Path) -> set[str]:
    with zipfile.ZipFile(only(list(dist.glob("*.whl")))) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


@pytest.fixture(scope="module")
def sdist(dist: Path) -> set[str]:
    """Names below the archive's one folder."""
    with tarfile.open(only(list(dist.glob("*.tar.gz")))) as archive:
        names = [member.name.partition("/") for member in archive if member.isfile()]
    assert len({root for root, _, _ in names}) == 1
    return {name for _, _, name in names}


def tree(*folders: str) -> set[str]:
    """The files of this repository in these folders, but for what was built."""
    found = {path.relative_to(ROOT) for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()}
    return {
        path.as_posix()
        for path in found
        if path.suffix not in BUILT and not any(part.startswith(".") or part == "__pycache__" for part in path.parts)
    }


def with_suffix(names: set[str], *suffixes: str) -> set[str]:
    return {name for name in names if Path(name).suffix in suffixes}


def test_the_wheel_holds_the_package_and_no_source_of_its_modules(wheel: set[str]) -> None:
    package = {name for name in wheel if ".dist-info/" not in name}
    assert {name.partition("/")[0] for name in package} == {"fastgru", "fastgru_command.py"}
    assert with_suffix(package, ".c", ".cpp", ".pyc", ".o", *SOURCES_OF_MODULES) == set()
    wanted = {name for name in tree("fastgru") if Path(name).suffix not in SOURCES_OF_MODULES}
    assert package - with_suffix(package, ".so", ".pyd") == wanted | {"fastgru_command.py"}


def test_the_wheel_holds_its_types_its_declarations_and_the_demos_data(wheel: set[str]) -> None:
    assert "fastgru/py.typed" in wheel
    assert with_suffix(wheel, ".pyi") == with_suffix(tree("fastgru"), ".pyi") != set()
    assert with_suffix(wheel, ".pxd") == with_suffix(tree("fastgru"), ".pxd") != set()
    assert {f"fastgru/demo/{name}" for name in DEMO_DATA} <= wheel


def test_the_wheel_holds_every_module_that_this_compiler_can_build(wheel: set[str]) -> None:
    built = {Path(name).name.partition(".")[0] for name in with_suffix(wheel, ".so", ".pyd")}
    x86 = {"avx2", "avx2_vnni", "avx512", "avx512_vnni", "avx512_bf16", "amx"}
    levels = {"x86_64": x86, "AMD64": x86, "aarch64": {"neon", "neon_dotprod"}}
    wanted = {path.stem for path in (ROOT / "fastgru" / "engine").glob("*.pyx") if "kernels_" not in path.stem}
    wanted |= {f"kernels_{level}" for level in {"baseline"} | levels.get(platform.machine(), set())}
    assert built == wanted
    assert {f"kernels_{level}" for level in dispatch.available()} <= built


def test_the_wheel_says_what_it_needs(dist: Path) -> None:
    with zipfile.ZipFile(only(list(dist.glob("*.whl")))) as archive:
        folder = f"fastgru-{fastgru.__version__}.dist-info"
        metadata = Parser().parsestr(archive.read(f"{folder}/METADATA").decode())
        assert "fastgru = fastgru_command:main" in archive.read(f"{folder}/entry_points.txt").decode()
        assert f"{folder}/licenses/LICENSE" in archive.namelist()
    assert (metadata["Name"], metadata["Version"]) == ("fastgru", fastgru.__version__)
    always = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    names = sorted(re.split(r"[^\w-]", line)[0] for line in always)
    assert names == ["numpy", "scipy", "threadpoolctl"]


def test_the_source_distribution_holds_every_source_and_nothing_built(sdist: set[str]) -> None:
    assert with_suffix(sdist, *BUILT) == BY_HAND
    assert tree("fastgru", "tests", "examples", "benchmarks") | {"fastgru_command.py"} <= sdist
    assert {"setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"} <= sdist


def test_the_source_distribution_holds_nothing_that_is_not_in_the_tree(sdist: set[str]) -> None:
    made = {"PKG-INFO", "setup.cfg"}
    rest = {name for name in sdist if not name.startswith("fastgru.egg-info/")} - made
    assert {name for name in rest if not (ROOT / name).is_file()} == set()
