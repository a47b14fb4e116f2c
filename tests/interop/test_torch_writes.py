"""What a module writes in place is what PyTorch writes, or the module is refused: live, exported, traced and scripted.

Each is compared at its example's sizes and at others, with what PyTorch computes of the same module or file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.utils import _pytree as pytree  # noqa: E402 - only where torch is installed
from torch_writes import made  # noqa: E402
from torch_writes_shared import FORWARDS  # noqa: E402
from torch_zoo_checks import agree, flat, plain  # noqa: E402

import fastgru  # noqa: E402
from fastgru.errors import FastGRUError  # noqa: E402

pytestmark = pytest.mark.usefixtures("quiet_torch")

SIZES = ((3, 7), (1, 7), (5, 7), (3, 4), (2, 11), (1, 5))  # the first is the example's
FAST = (
    "a_slice_added_to", "a_mask", "views_of_views", "chunks", "reshaped_and_base", "shifted_within_itself",
    "one_tensor_in_a_list", "into_its_own_input", "axes_in_place",
)  # fmt: skip
# What is not certain, by the words of the refusal: in every way, or in one.
_UNCERTAIN, _OVERLAPS = "may have been changed in place", "an order that PyTorch does not promise"
REFUSED = {
    "reshaped_and_base": _UNCERTAIN, "base_of_a_reshape": _UNCERTAIN, "contiguous_and_base, scripted": _UNCERTAIN,
    "added_within_itself": _OVERLAPS, "shifted_within_itself": _OVERLAPS, "added_to_its_own_part": _OVERLAPS,
    "written_into_an_expanded": "of which several places may be one",
    "writes_to_parts_that_overlap": "of which several places may be one",
    "index_put": "writes to the places that integers name", "into_a_buffer": "changes its own 'total'",
}  # fmt: skip
NOT_MADE = ("written_into_an_expanded", "shifted_within_itself", "added_to_its_own_part")
WAYS = ("live", "exported", "exported open", "traced", "scripted")


def sequence(batch: int, steps: int) -> Any:
    return torch.randn(batch, steps, 6, generator=torch.Generator().manual_seed(batch + 10 * steps))


def source(module: Any, way: str, path: Path) -> Any:
    """What PyTorch runs, with its file written; the exporter's or compiler's exception where it makes none."""
    x = sequence(*SIZES[0])
    if way == "traced":
        computes = torch.jit.trace(module, x.clone(), strict=False, check_trace=False)
    elif way == "scripted":
        computes = torch.jit.script(module)
    else:
        dims = {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO} if way.endswith("open") else None
        if way != "live":
            program = torch.export.export(module, (x.clone(),), dynamic_shapes=(dims,) if dims else None)
            torch.export.save(program, path)
        return module
    torch.jit.save(computes, path)
    return torch.jit.load(path)


def outcome(name: str, way: str, path: Path) -> str:
    """``right``, ``not made by PyTorch``, or the reason of a refusal; a wrong number is an AssertionError."""
    module = made(name)
    try:
        computes = source(module, way, path)
    except Exception:  # of many kinds
        return "not made by PyTorch"
    computes = computes if way in ("traced", "scripted") else made(name)  # a call may have changed a buffer
    try:
        model = fastgru.from_torch(module, sequence(*SIZES[0])) if way == "live" else fastgru.load(path, strict=False)
    except FastGRUError as error:
        return str(error).rpartition("cannot be followed: ")[2]
    for at, size in enumerate(SIZES):
        x = sequence(*size)
        try:
            got = model(x.numpy().copy())
        except FastGRUError as error:
            if at == 0:
                return f"its example is refused: {error}"
            continue
        try:
            wanted = computes(x.clone())
        except Exception as error:  # what PyTorch refuses
            pytest.fail(f"PyTorch refuses {size}, where a number is given: {error}")
        assert pytree.tree_structure(plain(got)) == pytree.tree_structure(plain(wanted))
        for one, other in zip(flat(got), flat(wanted), strict=True):
            agree(np.asarray(one), other.detach().numpy())
    return "right"


def check(name: str, way: str, path: Path) -> None:
    """Assert that a module is right, or refused for the reason that is known, or not made by PyTorch itself."""
    found = outcome(name, way, path)
    wanted = REFUSED.get(f"{name}, {way}", REFUSED.get(name, "right"))
    if found == "not made by PyTorch":
        assert name in NOT_MADE
    else:
        assert wanted in found


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("way", WAYS)
def test_what_is_written_in_place_is_right_or_refused(tmp_path, name, way):
    check(name, way, tmp_path / "model.pt2")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FORWARDS if name not in FAST])
@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_writing_in_place_is_right_or_refused(tmp_path, name, way):
    check(name, way, tmp_path / "model.pt2")
