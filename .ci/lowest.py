"""The lowest versions that pyproject.toml allows of all that the base tests need, as arguments for pip, one a line.

``python .ci/lowest.py`` of the build, the package and its extra ``test``.
"""

from __future__ import annotations

import re
from pathlib import Path

import tomllib

NEEDED = re.compile(r"([\w-]+)>=([\d.]+)$")


def lowest(requirements: list[str], extras: dict[str, list[str]]) -> dict[str, str]:
    """Names and versions; what names an extra of this package is followed."""
    found: dict[str, str] = {}
    for requirement in requirements:
        if own := re.fullmatch(r"fastgru\[([\w,-]+)\]", requirement):
            for extra in own[1].split(","):
                found |= lowest(extras[extra], extras)
        elif needed := NEEDED.match(requirement):
            found[needed[1]] = needed[2]
        else:
            raise SystemExit(f"{requirement}: wanted name>=version, which has a lowest version")
    return found


if __name__ == "__main__":
    settings = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    project = settings["project"]
    wanted = [*settings["build-system"]["requires"], *project["dependencies"], "fastgru[test]"]
    for name, version in lowest(wanted, project["optional-dependencies"]).items():
        print(f"{name}=={version}")
