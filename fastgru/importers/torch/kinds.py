"""PyTorch's types of numbers as the kinds of a graph: by their names, and by the numbers that files have for them."""

from __future__ import annotations

from ...graph.graph import BOOLEAN, FLOAT, INTEGER

__all__ = ["KINDS", "KINDS_IN_FILES"]

# "half" is rounded to by a conversion; "narrow" integers begin anew beyond their largest.
KINDS = {
    "torch.float32": FLOAT, "torch.float64": FLOAT, "torch.float16": "half", "torch.bfloat16": "half",
    **dict.fromkeys(("torch.int32", "torch.int64"), INTEGER),
    **dict.fromkeys(("torch.int8", "torch.int16", "torch.uint8"), "narrow"),
    "torch.bool": BOOLEAN,
}  # fmt: skip
KINDS_IN_FILES = {
    **dict.fromkeys((1, 2, 3), "narrow"), **dict.fromkeys((4, 5), INTEGER), **dict.fromkeys((7, 8), FLOAT),
    **dict.fromkeys((6, 13), "half"), 12: BOOLEAN,
}  # fmt: skip
