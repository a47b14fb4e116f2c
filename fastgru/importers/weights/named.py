"""``Named``: one module in ``layers=[...]``, with what a state dict does not say of it.

Owns that record and its words. What the options mean is for ``layers``.
"""

from __future__ import annotations

from types import EllipsisType
from typing import Any

from ...errors import DTypeError
from .layers import OPTION_NAMES
from .modules import Known

__all__ = ["KERAS_KINDS", "KERAS_OPTIONS", "KINDS", "Named"]

# The kinds of module by the class that a person knows them by.
KINDS = {
    "GRU": "gru",
    "Linear": "linear",
    "Embedding": "embedding",
    "Conv1d": "conv",
    "ConvTranspose1d": "other",  # which it may be said to be, and which is not supported
    "LayerNorm": "layer_norm",
    "RMSNorm": "rms_norm",
    "GroupNorm": "group_norm",
    "InstanceNorm1d": "instance_norm",
    "BatchNorm1d": "batch_norm",
    "PReLU": "prelu",
}


# What a person can say of a layer in a file of Keras weights: its class, and its options as Keras calls them.
KERAS_KINDS = {
    "BatchNormalization": "batch_norm",
    "Conv1D": "conv",
    "Dense": "linear",
    "LayerNormalization": "layer_norm",
    "RMSNormalization": "rms_norm",
}
KERAS_OPTIONS: dict[str, tuple[str, ...]] = {
    "BatchNormalization": ("axis", "epsilon"),
    "Bidirectional": ("merge_mode", "return_sequences", "activation", "recurrent_activation", "reset_after"),
    "Conv1D": ("activation", "strides", "padding", "dilation_rate", "groups"),
    "CuDNNGRU": ("return_sequences", "go_backwards"),
    "Dense": ("activation",),
    "Embedding": ("mask_zero",),
    "GRU": ("return_sequences", "go_backwards", "activation", "recurrent_activation", "reset_after"),
    "LayerNormalization": ("axis", "epsilon"),
    "RMSNormalization": ("axis", "epsilon"),
    "RNN": ("return_sequences", "go_backwards", "activation", "recurrent_activation", "reset_after"),
}


_KINDS = (*KINDS, *KERAS_KINDS)
_OPTIONS = frozenset(name for names in (*OPTION_NAMES.values(), *KERAS_OPTIONS.values()) for name in names)


class Named:
    """A module of a file by its prefix, and its options where they are not the defaults of its framework.

    Weights alone do not say how a convolution is padded or which epsilon a normalisation has; the framework's defaults
    are taken where nothing else is said.

    Parameters
    ----------
    prefix : str
        What the names of its tensors begin with, as a string alone in ``layers=[...]``.
    kind : str, optional
        Its class, where the tensors leave it open: ``"Linear"`` or ``"Embedding"`` for a matrix, ``"LayerNorm"``,
        ``"RMSNorm"`` or ``"PReLU"`` for one vector, ``"LayerNorm"``, ``"GroupNorm"`` or ``"InstanceNorm1d"`` for a
        vector and a bias, ``"Conv1d"`` for what may be a transposed convolution as well. The latter two normalisations
        are over all steps, as PyTorch has them for (batch, features, steps).
    **options
        As PyTorch calls them: ``stride``, ``padding``, ``dilation`` and ``groups`` of a Conv1d, ``groups`` of a
        GroupNorm, ``eps`` of a normalisation, ``bidirectional`` of a GRU that was quantised. For a file of Keras
        weights as Keras calls them: ``activation``, ``recurrent_activation``, ``merge_mode``, ``epsilon``, ``strides``
        and the like. ``...`` for a kind or an option is a blank in a suggested line, and loading asks for it.

    Examples
    --------
    >>> Named("conv", padding=1)
    Named('conv', padding=1)
    """

    __slots__ = ("kind", "options", "prefix")

    def __init__(self, prefix: str, kind: str | EllipsisType | None = None, **options: Any) -> None:
        if not isinstance(prefix, str):
            raise DTypeError(f"Named: got {type(prefix).__name__} as a prefix, wanted the name of a module")
        if kind is not None and kind is not ... and kind not in _KINDS:
            raise DTypeError(f"Named({prefix!r}): kind is {kind!r}, wanted one of {', '.join(_KINDS)}")
        for name in options:
            if name not in _OPTIONS:
                raise DTypeError(
                    f"Named({prefix!r}): there is no option {name!r}; known are {', '.join(sorted(_OPTIONS))}"
                )
        self.prefix, self.kind, self.options = prefix, kind, options

    def __repr__(self) -> str:
        named = {**({} if self.kind is None else {"kind": self.kind}), **self.options}
        words = (f"{name}={'...' if value is ... else repr(value)}" for name, value in named.items())
        return f"Named({', '.join([repr(self.prefix), *words])})"

    def known(self, other: Known | None) -> Known:
        """What this and the file say of the module together; a person is right where both do."""
        options = {**(other.options if other else {}), **self.options}
        if isinstance(self.kind, str):
            return Known({**KINDS, **KERAS_KINDS}[self.kind], self.kind, options)
        return Known(other.kind if other else None, other.looks_like if other else "", options)
