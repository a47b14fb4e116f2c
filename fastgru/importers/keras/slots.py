"""What the weights of each Keras layer are called, in the order in which the layer makes them."""

from __future__ import annotations

from .config import Entry

__all__ = ["NINE", "NOT_TRAINED", "slots"]

NOT_TRAINED = ("moving_mean", "moving_variance", "moving_stddev", "renorm_mean", "renorm_stddev")
NINE = tuple(f"{matrix}_{gate}" for gate in "zrh" for matrix in "WUb")  # of a GRU of Keras 1


def slots(entry: Entry) -> tuple[str, ...]:
    """What a layer's weights are called, in the order in which it makes them."""
    kind = entry.class_name
    if entry.operation:
        return ()
    if kind == "GRU" and entry.era == 1 and entry.get("consume_less") != "gpu" and "output_dim" in entry.config:
        return NINE
    if kind in ("GRU", "GRUCell", "CuDNNGRU"):
        return ("kernel", "recurrent_kernel", *_if(kind == "CuDNNGRU" or entry.flag("use_bias", True), "bias"))
    if kind in ("Dense", "Conv1D"):
        return ("kernel", *_if(entry.flag("use_bias", True), "bias"))
    if kind in ("BatchNormalization", "LayerNormalization"):
        rms = kind == "LayerNormalization" and entry.flag("rms_scaling", False)
        scale = _if(entry.flag("scale", True) or rms, "gamma")
        center = _if(entry.flag("center", True) and not rms, "beta")
        if kind == "LayerNormalization":
            return (*scale, *center)
        return (*scale, *center, *NOT_TRAINED[: 5 if entry.flag("renorm", False) else 2])
    return {"Embedding": ("embeddings",), "PReLU": ("alpha",), "RMSNormalization": ("scale",)}.get(kind, ())


def _if(condition: bool, slot: str) -> tuple[str, ...]:
    return (slot,) if condition else ()
