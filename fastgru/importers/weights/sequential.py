"""``nn.Sequential`` as a model: each of PyTorch's modules on PyTorch's own axes, one function each, in one table.

A value is (batch, features), or (batch, a, b) where the modules say what a and b are: Linear, GRU and LayerNorm take
the last axis for features, Conv1d, pooling and BatchNorm1d axis 1. For those the value is turned round, once for
several in a row. A GRU that is not batch first is taken only where every module before it treats axes 0 and 1 alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import UnsupportedModelError
from ...layers import (
    AveragePooling1D,
    Dropout,
    Edge,
    Flatten,
    GRULayer,
    Input,
    Layer,
    Max,
    MaxPooling1D,
    Mean,
    ModelSpec,
    Node,
    Permute,
    PReLU,
    Reshape,
)
from ..activation_names import torch_activation
from .layers import batch_norm, checked_gru, conv, layers_of_kind
from .options import Options, short

__all__ = ["TorchSequence", "handler_of"]

Leaf = tuple[str, Mapping[str, Any]]

_NN = "torch.nn.modules."
_ALONG_AN_AXIS = ("GLU", "LogSoftmax", "Softmax", "Softmin")


class TorchSequence:
    """The model while it grows, module by module.

    Parameters
    ----------
    leaves : sequence of (path, node of the tree)
        In the order in which they run; ``handler_of`` knows the class of each.
    tensors : mapping of str to ndarray
        By dotted name.
    where : str
        The file, for messages.
    """

    def __init__(self, leaves: Sequence[Leaf], tensors: Mapping[str, np.ndarray], where: str) -> None:
        self.tensors, self.where = tensors, where
        self.rank = _rank(leaves, tensors)  # axes of the value behind the batch
        self.turned = False  # whether PyTorch's (batch, a, b) is (batch, b, a) here
        self.uneven = ""  # the path of the first module that does not treat axes 0 and 1 alike
        self.passed_on_whole = False  # whether a GRU's outputs and states are what the next module gets
        self._leaves = leaves
        self._taken = {path for path, _ in leaves}
        self._source = self._free_name("input")
        self._input: Input | None = None
        self._nodes: list[Node] = []
        self._outputs: tuple[Edge, ...] = (self._source,)

    def spec(self) -> ModelSpec:
        """The whole model."""
        for path, node in self._leaves:
            name = node["class_name"]
            handler = handler_of(name)
            if self.passed_on_whole and handler is not _identity:
                raise UnsupportedModelError(
                    f"{self.where}: {short(self._nodes[-1].name)} is a GRU within an nn.Sequential: it hands on its "
                    f"outputs and its states together, which {short(path)} cannot take; PyTorch cannot run it either"
                )
            assert handler is not None
            place = f"{self.where}: {short(path)} ({name.rpartition('.')[2]})"
            handler(self, path, Options(node["options"], place))
        if not self.passed_on_whole:
            self.turn(False)
        self.takes(*(None,) * self.rank)
        assert self._input is not None
        return ModelSpec((self._input,), tuple(self._nodes), self._outputs)

    def takes(self, *shape: int | None, integers: bool = False) -> None:
        """The shape of what the next module takes; the model's own input is what the first says that says something."""
        if self._input is None:
            missing = 0 if integers else self.rank - len(shape)
            self._input = Input(self._source, (None,) * missing + shape, integers)

    def add(self, path: str, layer: Layer, outputs: int = 1) -> None:
        """One more layer, behind the one before; the model gives its outputs unless another follows."""
        self._nodes.append(Node(path, layer, (self._outputs[0],)))
        self._outputs = (path, *((path, index) for index in range(1, outputs)))

    def add_beside(self, name: str, layer: Layer) -> None:
        """A layer that is no module of the file."""
        self.add(self._free_name(name), layer)

    def turn(self, turned: bool) -> None:
        """Swap the two axes behind the batch, unless they are so already."""
        if turned != self.turned:
            self.add_beside("permute", Permute((2, 1)))
            self.turned = turned

    def need_rank(self, rank: int, options: Options) -> None:
        """Raise unless the value has this number of axes behind the batch here."""
        if self.rank != rank:
            raise UnsupportedModelError(
                f"{options.place}: takes a value of {rank + 1} axes, and gets one of {self.rank + 1}"
            )

    def is_uneven(self, path: str) -> None:
        """Remember that this module takes axis 1 for something else than axis 0."""
        if self.rank == 2:
            self.uneven = self.uneven or path

    def _free_name(self, name: str) -> str:
        free, count = name, 0
        while free in self._taken:
            count += 1
            free = f"{name}_{count}"
        self._taken.add(free)
        return free


Handler = Callable[[TorchSequence, str, Options], None]


def handler_of(class_name: str) -> Handler | None:
    """What adds a module of that class, by its full name; None where it is not supported."""
    package, _, short = class_name.rpartition(".")
    if f"{package}." == f"{_NN}activation." and torch_activation(short, {"dim": -1}, "") is not None:
        return _along_an_axis(short) if short in _ALONG_AN_AXIS else _activation(short)
    return _HANDLERS.get(class_name)


def _rank(leaves: Sequence[Leaf], tensors: Mapping[str, np.ndarray]) -> int:
    """The axes of the input behind the batch: 2 where a module needs them, 1 where one does another thing with 2."""
    needs = [_rank_needed(node, tensors.get(f"{path}.weight")) for path, node in leaves]
    names = [node["class_name"] for _, node in leaves]
    before = needs[: names.index(_FLATTEN)] if _FLATTEN in names else needs
    return 1 if 1 in needs and 2 not in before else 2


def _rank_needed(node: Mapping[str, Any], weight: np.ndarray | None) -> int | None:
    """1 or 2 where a module is told apart by it, or would be another one; None where it works with both alike."""
    name = node["class_name"].rpartition(".")[2]
    if name in _ALONG_AN_AXIS:
        axis = node["options"].get("dim", -1 if name == "GLU" else None)
        return 2 if axis in (2, -2) else 1 if axis in (1, None) else None
    if name == "PReLU":  # of one weight, or one for each size of axis 1
        return 1 if weight is not None and weight.size > 1 else None
    return _RANKS.get(name)


_FLATTEN = f"{_NN}flatten.Flatten"
_RANKS = {
    **dict.fromkeys(("Embedding", "GRU", "Conv1d", "MaxPool1d", "AvgPool1d"), 2),
    **dict.fromkeys(("AdaptiveAvgPool1d", "AdaptiveMaxPool1d"), 2),
    **dict.fromkeys(("BatchNorm1d", "SyncBatchNorm", "Flatten", "GRUCell"), 1),
}


def _activation(short: str) -> Handler:
    def add(chain: TorchSequence, path: str, options: Options) -> None:
        activation = torch_activation(short, options.values, options.place)
        assert activation is not None
        chain.add(path, activation)

    return add


def _along_an_axis(short: str) -> Handler:
    def add(chain: TorchSequence, path: str, options: Options) -> None:
        chain.turn(False)
        given = options.value("dim", -1 if short == "GLU" else None)
        if given is None and chain.rank == 1:
            given = 1  # PyTorch's own choice for two axes
        axis = Options({**options.values, "dim": given}, options.place).whole("dim", -1, least=-3)
        axis = axis + chain.rank + 1 if axis < 0 else axis
        if not 1 <= axis <= chain.rank:
            raise UnsupportedModelError(
                f"{options.place}: dim is {given}, which is the batch or no axis of a value of {chain.rank + 1} axes"
            )
        if axis < chain.rank:
            chain.is_uneven(path)
        if short == "GLU":
            chain.takes(*(None,) * chain.rank)
        activation = torch_activation(short, {"dim": -1 if axis == chain.rank else axis}, options.place)
        assert activation is not None
        chain.add(path, activation)

    return add


def _identity(chain: TorchSequence, path: str, options: Options) -> None:
    if not chain.passed_on_whole:
        chain.add(path, Dropout())


def _dropout(chain: TorchSequence, path: str, options: Options) -> None:
    chain.add(path, Dropout())


def _gru(chain: TorchSequence, path: str, options: Options) -> None:
    """The last module: the outputs, and the final state of each layer and direction."""
    chain.turn(False)
    chain.need_rank(2, options)
    if chain.uneven and not options.flag("batch_first", False):
        raise UnsupportedModelError(
            f"{options.place}: it takes the steps first (batch_first=False), but {short(chain.uneven)} before it takes "
            "the batch first"
        )
    gru = checked_gru(chain.tensors, path, options, chain.where)
    chain.takes(None, gru.input_size)
    chain.add(path, GRULayer(gru, return_state=True), outputs=1 + gru.num_layers * gru.directions)
    chain.passed_on_whole = True


def _cell(chain: TorchSequence, path: str, options: Options) -> None:
    """One step from a state of zeros."""
    chain.need_rank(1, options)
    gru = checked_gru(chain.tensors, path, options, chain.where)
    chain.takes(gru.input_size)
    chain.add_beside("reshape", Reshape((1, gru.input_size)))
    chain.add(path, GRULayer(gru, return_sequences=False))


def _embedding(chain: TorchSequence, path: str, options: Options) -> None:
    chain.takes(None, integers=True)
    _add_kind(chain, "embedding", path, options)


def _linear(chain: TorchSequence, path: str, options: Options) -> None:
    chain.turn(False)
    (layer,) = layers_of_kind("linear", chain.tensors, path, options, chain.where)
    chain.takes(layer.input_features)
    chain.add(path, layer)


def _norm(kind: str) -> Handler:
    """A normalisation over the last one or two axes."""

    def add(chain: TorchSequence, path: str, options: Options) -> None:
        chain.turn(False)
        sizes = options.sizes("normalized_shape") or (None,)
        if len(sizes) > 1:
            chain.need_rank(2, options)
            chain.is_uneven(path)
        chain.takes(*sizes)
        _add_kind(chain, kind, path, options)

    return add


def _batch_norm(chain: TorchSequence, path: str, options: Options) -> None:
    axis = 1 if chain.rank == 2 and not chain.turned else -1
    layer = batch_norm(chain.tensors, path, options, chain.where, axis)
    _takes_channels(chain, path, len(layer.mean))
    chain.add(path, layer)


def _prelu(chain: TorchSequence, path: str, options: Options) -> None:
    """One weight, or one for each size of axis 1."""
    (layer,) = layers_of_kind("prelu", chain.tensors, path, options, chain.where)
    assert isinstance(layer, PReLU)
    if len(layer.weight) > 1:
        _takes_channels(chain, path, len(layer.weight))
        if chain.rank == 2 and not chain.turned:
            layer = PReLU(layer.weight[:, np.newaxis])
    chain.add(path, layer)


def _conv(chain: TorchSequence, path: str, options: Options) -> None:
    chain.need_rank(2, options)
    layers = conv(chain.tensors, path, options, chain.where)
    _takes_channels(chain, path, layers[-1].input_features)
    chain.turn(True)
    for layer in layers[:-1]:
        chain.add_beside(f"{path}_padding", layer)
    chain.add(path, layers[-1])


def _pooling(kind: type[MaxPooling1D] | type[AveragePooling1D]) -> Handler:
    def add(chain: TorchSequence, path: str, options: Options) -> None:
        options.must_be("padding", 0)
        options.must_be("dilation", 1)
        options.must_be("ceil_mode", False)
        options.must_be("return_indices", False)
        size = options.whole("kernel_size", 0)
        stride = size if options.value("stride", None) is None else options.whole("stride", size)
        _over_steps(chain, path, kind(size, stride), options)

    return add


def _adaptive_pooling(kind: type[Mean] | type[Max]) -> Handler:
    def add(chain: TorchSequence, path: str, options: Options) -> None:
        options.must_be("output_size", 1)
        options.must_be("return_indices", False)
        _over_steps(chain, path, kind(keepdims=True), options)

    return add


def _over_steps(chain: TorchSequence, path: str, layer: Layer, options: Options) -> None:
    chain.need_rank(2, options)
    chain.takes(None, None)
    chain.is_uneven(path)
    chain.turn(True)
    chain.add(path, layer)


def _flatten(chain: TorchSequence, path: str, options: Options) -> None:
    chain.turn(False)
    if options.whole("start_dim", 1, least=-9) != 1 or options.whole("end_dim", -1, least=-9) not in (-1, chain.rank):
        raise UnsupportedModelError(f"{options.place}: supported are start_dim=1 and end_dim=-1, all but the batch")
    if chain.rank == 2:
        chain.takes(None, None)
        chain.is_uneven(path)
    chain.add(path, Flatten() if chain.rank == 2 else Dropout())
    chain.rank = 1


def _takes_channels(chain: TorchSequence, path: str, channels: int | None) -> None:
    """The next module takes this number of places along axis 1."""
    chain.takes(*((channels, None) if chain.rank == 2 else (channels,)))
    chain.is_uneven(path)


def _add_kind(chain: TorchSequence, kind: str, path: str, options: Options) -> None:
    for layer in layers_of_kind(kind, chain.tensors, path, options, chain.where):
        chain.add(path, layer)


_DYNAMIC = ("torch.ao.nn.quantized.dynamic.modules.", "torch.nn.quantized.dynamic.modules.")
_HANDLERS: dict[str, Handler] = {
    **{f"{package}rnn.GRU": _gru for package in (_NN, *_DYNAMIC)},
    **{f"{package}rnn.GRUCell": _cell for package in (_NN, *_DYNAMIC)},
    **{f"{package}linear.Linear": _linear for package in (_NN, *_DYNAMIC)},
    f"{_NN}linear.NonDynamicallyQuantizableLinear": _linear,
    f"{_NN}linear.Identity": _identity,
    f"{_NN}sparse.Embedding": _embedding,
    f"{_NN}conv.Conv1d": _conv,
    f"{_NN}normalization.LayerNorm": _norm("layer_norm"),
    f"{_NN}normalization.RMSNorm": _norm("rms_norm"),
    f"{_NN}batchnorm.BatchNorm1d": _batch_norm,
    f"{_NN}batchnorm.SyncBatchNorm": _batch_norm,
    f"{_NN}activation.PReLU": _prelu,
    _FLATTEN: _flatten,
    f"{_NN}pooling.MaxPool1d": _pooling(MaxPooling1D),
    f"{_NN}pooling.AvgPool1d": _pooling(AveragePooling1D),
    f"{_NN}pooling.AdaptiveAvgPool1d": _adaptive_pooling(Mean),
    f"{_NN}pooling.AdaptiveMaxPool1d": _adaptive_pooling(Max),
    **{
        f"{_NN}dropout.{name}": _dropout
        for name in ("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout")
    },
}
