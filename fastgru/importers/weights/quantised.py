"""Weights that ``torch.ao.quantization.quantize_dynamic`` packed, under the names that the float modules have.

Owns those names. The reader has dequantised the numbers already; PyTorch would quantise what flows between layers as
well, which fastgru does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

__all__ = ["unclear", "unpack"]

_CELLS = re.compile(r"(.*?)_all_weight_values\.([0-9]{1,4})\.param\.((?:weight|bias)_(?:ih|hh))")
_CELL = re.compile(r"(.*?)_packed_weight_(ih|hh)\.(weight|bias)")
_LINEAR = re.compile(r"(.*?)(?:_packed_params\.){1,2}(weight|bias)")


def unpack(
    tensors: Mapping[str, np.ndarray], options: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, ...]]]:
    """The tensors by the names of ``nn.GRU``, ``nn.GRUCell`` and ``nn.Linear``, and what each was called in the file.

    ``options`` are those of modules by prefix, of which ``bidirectional`` is looked at. Cells of which it cannot be
    told whether they are layers or directions are left as they are; see ``unclear``.
    """
    directions = {
        prefix: _directions(cells, options.get(prefix.removesuffix("."), {}))
        for prefix, cells in _stacks(tensors).items()
    }
    plain: dict[str, np.ndarray] = {}
    sources: dict[str, tuple[str, ...]] = {}
    for name, tensor in tensors.items():
        short = _float_name(name, directions)
        if short is None or short in tensors or short in plain:
            plain[name] = tensor
        else:
            plain[short] = tensor
            sources[short] = (name,)
    for name in [name for name in sources if name.endswith("weight")]:
        for beside, value in (("scale", 1.0), ("zero_point", 0)):  # of the output; a dynamic layer's has none
            extra = name.removesuffix("weight") + beside
            if extra in plain and plain[extra].size == 1 and plain[extra].item() == value:
                del plain[extra]
                sources[name] += (extra,)
    return plain, sources


def unclear(tensors: Mapping[str, np.ndarray]) -> list[str]:
    """The prefixes of packed GRUs whose two cells may be two layers or two directions."""
    return [prefix.removesuffix(".") for prefix in _stacks(tensors)]


def _stacks(tensors: Mapping[str, np.ndarray]) -> dict[str, list[dict[str, np.ndarray]]]:
    """The tensors of the cells of each packed GRU, by the prefix of the GRU; of those whose cells are all there."""
    found: dict[str, dict[int, dict[str, np.ndarray]]] = {}
    for name, tensor in tensors.items():
        match = _CELLS.fullmatch(name)
        if match:
            found.setdefault(match[1], {}).setdefault(int(match[2]), {})[match[3]] = tensor
    return {
        prefix: [cells[index] for index in range(len(cells))]
        for prefix, cells in found.items()
        if sorted(cells) == list(range(len(cells)))
    }


def _directions(cells: list[dict[str, np.ndarray]], options: Mapping[str, Any]) -> int | None:
    """1 or 2; None where both fit the sizes and no option tells."""
    told = options.get("bidirectional")
    if isinstance(told, bool):
        return 2 if told else 1
    weights = [(cell.get("weight_ih"), cell.get("weight_hh")) for cell in cells]
    if any(w_ih is None or w_hh is None or w_ih.ndim != 2 or w_hh.ndim != 2 for w_ih, w_hh in weights):
        return 1
    inputs = [w_ih.shape[1] for w_ih, _ in weights if w_ih is not None]
    hidden = next(w_hh.shape[1] for _, w_hh in weights if w_hh is not None)
    one = _all_are(hidden, inputs[1:])
    two = len(cells) % 2 == 0 and inputs[0] == inputs[1] and _all_are(2 * hidden, inputs[2:])
    return None if one and two else 2 if two else 1


def _all_are(wanted: int, sizes: Iterable[int]) -> bool:
    return all(size == wanted for size in sizes)


def _float_name(name: str, directions: Mapping[str, int | None]) -> str | None:
    """What the float module calls a packed tensor; None of any other."""
    match = _CELLS.fullmatch(name)
    if match:
        ways = directions.get(match[1])
        if ways is None:
            return None
        layer, way = divmod(int(match[2]), ways)
        return f"{match[1]}{match[3]}_l{layer}{'_reverse' if way else ''}"
    match = _CELL.fullmatch(name)
    if match:
        return f"{match[1]}{match[3]}_{match[2]}"
    match = _LINEAR.fullmatch(name)
    return f"{match[1]}{match[2]}" if match else None
