"""A case of ``keras_cases`` as the Python text that builds its model, and as a chain of its weights alone."""

from __future__ import annotations

from typing import Any

from keras_layers import MERGING, text_of

__all__ = ["PREAMBLE", "chain_text", "model_text"]

PREAMBLE = """\
import os
os.environ["KERAS_BACKEND"] = "torch"
import keras
import numpy as np
import fastgru
from keras import layers as L


def randomised(model, seed):
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        positive = weight.name in ("moving_variance", "gamma", "scale")
        low, high = (0.5, 1.5) if positive else (-0.7, 0.7)
        weight.assign(generator.uniform(low, high, weight.shape).astype(np.float32))
    return model


"""


def model_text(case: Any) -> str:
    """The model as Python."""
    graph = case["graph"]
    batch = f", batch_size={case['batch']}" if "'stateful'" in str(graph) else ""  # Keras has to know it
    if case["sequential"]:
        ((_, shape, dtype),) = graph["inputs"]
        lines = [f"l_{call[0]} = {_layer_text(call[1])}" for call in graph["calls"]]
        layers = ", ".join(f"l_{call[0]}" for call in graph["calls"])
        lines.append(f"model = keras.Sequential([keras.Input({tuple(shape)}, dtype={dtype!r}{batch}), {layers}])")
    else:
        lines = _graph_lines("model", graph, batch)
    called = {call[0] for call in graph["calls"]}
    lines += [f"l_{name}.trainable = False" for name in case["frozen"] if name.split(".")[0] in called]
    return "\n".join([*lines, f"randomised(model, {case['seed']})"])


def _graph_lines(name: str, graph: Any, batch: str = "") -> list[str]:
    lines = [f"{name} = keras.Input({tuple(shape)}, dtype={dtype!r}, name={name!r}{batch})"
             for name, shape, dtype in graph["inputs"]]  # fmt: skip
    for call in graph["calls"]:
        lines += _call_lines(*call, batch)
    names = [source[0] for source in graph["inputs"]]
    inputs = f"[{', '.join(names)}]"
    if graph.get("keys"):
        inputs = "{" + ", ".join(f"{key!r}: {each}" for key, each in zip(graph["keys"], names, strict=True)) + "}"
    outputs = [_edge_text(edge) for edge in graph["outputs"]]
    made = "{" + ", ".join(f"'y{9 - at}': {each}" for at, each in enumerate(outputs)) + "}"
    made = made if graph["dict"] else f"[{', '.join(outputs)}]"
    return [*lines, f"{name} = keras.Model({inputs}, {made if graph['dict'] or len(outputs) > 1 else outputs[0]})"]


def _layer_text(layer: Any) -> str:
    return text_of(layer[1]) if layer[0] == "Sequential" else text_of({"layer": layer})


def _call_lines(name: str, layer: Any, inputs: list[Any], states: list[Any], mask: Any, batch: str) -> list[str]:
    edges = [_edge_text(edge) for edge in inputs]
    if isinstance(layer, str):
        return [f"{name} = {layer.format(*edges)}"]
    if layer[0] == "Graph":
        lines = _graph_lines(f"l_{name}", layer[1], batch)
    else:
        lines = [f"l_{name} = " + (f"l_{layer[1]}" if layer[0] == "again" else _layer_text(layer))]
    given = f"[{', '.join(edges)}]" if layer[0] in MERGING or len(edges) > 1 else edges[0]
    given += f", initial_state=[{', '.join(map(_edge_text, states))}]" if states else ""
    given += f", mask=keras.ops.not_equal({mask}, 0)" if mask else ""
    return [*lines, f"{name} = l_{name}({given})"]


def _edge_text(edge: Any) -> str:
    return edge if isinstance(edge, str) else f"{edge[0]}[{edge[1]}]"


def chain_text(case: Any) -> str | None:
    """``layers=`` for a chain of which the weights are in a file without any more; None where it takes more words."""
    counts: dict[str, int] = {}
    named = []
    for _, (kind, options), *_ in case["graph"]["calls"]:
        if kind in _WITHOUT_WEIGHTS and "data_format" not in options:
            named.append(_WITHOUT_WEIGHTS[kind].format(**options))
            continue
        if kind not in _OF_WEIGHTS or (kind == "Bidirectional" and options["layer"]["layer"][0] != "GRU"):
            return None
        prefix, words = _OF_WEIGHTS[kind]
        given = {**options, **(options["layer"]["layer"][1] if kind == "Bidirectional" else {})}
        if "backward_layer" in given or (kind == "Bidirectional" and given.get("go_backwards")):
            return None
        count = counts[prefix] = counts.get(prefix, -1) + 1
        said = {word: given[word] for word in words if word in given}
        if kind in ("GRU", "Bidirectional"):
            said["return_sequences"] = given.get("return_sequences", False)
        glu = kind == "Dense" and given.get("activation") == "glu"
        if {"zero_output_for_mask", "data_format", "axis"} & {*given} or glu:
            return None
        text = ", ".join(f"{word}={value!r}" for word, value in said.items())
        kinds = f", kind={kind!r}" if kind in ("BatchNormalization", "Dense", "LayerNormalization") else ""
        named.append(f"fastgru.Named({prefix + (f'_{count}' if count else '')!r}{kinds}{', ' * bool(text)}{text})")
    return f"[{', '.join(named)}]".replace("'sparsemax'", "'sparsemax_keras315'")  # the word of Keras 3.16


_GRU_WORDS = ("go_backwards", "activation", "recurrent_activation", "reset_after")

_OF_WEIGHTS = {
    "BatchNormalization": ("batch_normalization", ("epsilon",)),
    "Bidirectional": ("bidirectional", ("merge_mode", "activation", "recurrent_activation", "reset_after")),
    "Conv1D": ("conv1d", ("activation", "strides", "padding", "dilation_rate", "groups")),
    "Dense": ("dense", ("activation",)),
    "Embedding": ("embedding", ("mask_zero",)),
    "GRU": ("gru", _GRU_WORDS),
    "LayerNormalization": ("layer_normalization", ("epsilon",)),
}

_WITHOUT_WEIGHTS = {
    "Activation": "fastgru.Activation('{activation}')",
    "Dropout": "fastgru.Dropout()",
    "Flatten": "fastgru.Flatten()",
    "Identity": "fastgru.Dropout()",
    "RepeatVector": "fastgru.RepeatVector({n})",
    "UpSampling1D": "fastgru.UpSampling1D({size})",
}
