"""From a checkpoint to a specification: what the tensors of a file mean, one package per kind of description.

* ``weights``: names of tensors alone, or a tree of PyTorch's classes; the order of the layers is a person's to say.
* ``keras``: configurations and weights of every version of Keras.
* ``whole``: files that say all of their layers in their own words.
* ``torch``: programs of PyTorch, as calls of its operations.
* ``description``: what is in any of these, for a person to read.

``spec_of`` is the way in, ``describe`` tells a person what is there. Nothing here opens a file or runs a model, and
everything in a file is taken for data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import attach

if TYPE_CHECKING:
    from .description.file import describe, described
    from .resolve import spec_of

__all__ = ["describe", "described", "spec_of"]

if not TYPE_CHECKING:  # who loads a file does not import what describes every kind of file to a person, which is 25 ms
    __getattr__, __dir__ = attach(
        __name__, {"describe": ".description.file", "described": ".description.file", "spec_of": ".resolve"}
    )
