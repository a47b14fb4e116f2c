"""What a word on the command line must be, for ``argparse``: each function gives its value, or says what is wrong."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..options import PRECISIONS

if TYPE_CHECKING:
    from ..importers.weights.chain import LayerItem

__all__ = ["at_least_one", "layer_chain", "not_negative", "one_word", "precision_names"]


def one_word(text: str) -> str:
    if "," in text:
        raise argparse.ArgumentTypeError(f"{text!r} are several, and this command takes one")
    return text


def at_least_one(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return number


def precision_names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    wrong = [name for name in names if name not in PRECISIONS]
    if wrong:
        raise argparse.ArgumentTypeError(f"{', '.join(map(repr, wrong))}: wanted some of {','.join(PRECISIONS)}")
    return names


def not_negative(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 0")
    return number


def layer_chain(text: str) -> list[LayerItem]:
    from .chain_text import parse_chain

    try:
        return parse_chain(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
