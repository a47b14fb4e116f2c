"""The public class ``Model``: layers around GRUs, run in the order of their graph.

Each layer of the spec becomes a function from values to a value; a value is an array with the lengths of its rows.
Every product goes through the engine, so that a row's bits do not depend on the batch it is in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import reference
from .arrays import as_integers, as_lengths, as_numbers, as_sequences
from .engine.affine import Affine
from .errors import ShapeError, UnsupportedModelError
from .gru import GRU, Backend, Precision, check_options, kernel_table
from .spec import (
    GATE_ACTIVATIONS,
    Activation,
    Dense,
    Dropout,
    Embedding,
    FinalState,
    GRULayer,
    Last,
    Layer,
    Mean,
    ModelSpec,
    Node,
    owned,
    validate,
)
from .stream import Stream

__all__ = ["Model", "ModelStream"]

Array = NDArray[Any]


class Value:
    """What flows between layers: (batch, steps, features) with the rows' lengths, or (batch, features)."""

    def __init__(
        self, array: Array, lengths: NDArray[np.intp] | None = None, final: Array | None = None
    ) -> None:
        self.array = array
        self.lengths = lengths
        self.final = final  # after a GRU: its last layer's final states, (batch, hidden * directions)

    @property
    def last_steps(self) -> NDArray[np.intp]:
        batch, steps = self.array.shape[:2]
        return np.full(batch, steps) - 1 if self.lengths is None else self.lengths - 1


Run = Callable[[Value], Value]
Step = Callable[[Array], Array]


class Model:
    """A trained network of GRUs and the layers around them.

    A model is immutable: any number of threads may call one at the same time.

    Parameters
    ----------
    spec : ModelSpec
        The graph of layers. Most callers get a model from ``fastgru.load`` instead.
    precision : {"float32", "float64"}
        What is computed with, and the dtype of the results.
    n_threads, backend
        As for ``GRU``, for every GRU of the model.

    Examples
    --------
    >>> import numpy as np, fastgru
    >>> tensors = {
    ...     "gru.weight_ih_l0": np.ones((6, 3), np.float32), "gru.weight_hh_l0": np.ones((6, 2), np.float32),
    ...     "fc.weight": np.ones((4, 2), np.float32), "fc.bias": np.zeros(4, np.float32),
    ... }
    >>> model = fastgru.from_torch(tensors, layers=["gru", fastgru.Last(), "fc"])
    >>> model(np.zeros((5, 7, 3))).shape
    (5, 4)
    """

    def __init__(
        self,
        spec: ModelSpec,
        *,
        precision: Precision = "float32",
        n_threads: int | None = None,
        backend: Backend | None = None,
    ) -> None:
        if not isinstance(spec, ModelSpec):
            raise ShapeError(f"Model takes a ModelSpec, got {type(spec).__name__}; use fastgru.load(path)")
        validate(spec)
        if len(spec.inputs) != 1 or len(spec.outputs) != 1:
            raise UnsupportedModelError(
                f"a model of {len(spec.inputs)} inputs and {len(spec.outputs)} outputs; one of each is supported"
            )
        check_options(precision, n_threads, backend)
        self._spec = spec = owned(spec)
        self._options = {"precision": precision, "n_threads": n_threads, "backend": backend}
        self._dtype = np.dtype(np.float32 if precision == "float32" else np.float64)
        self._layers = {node.name: _runner(node, self._dtype, self._options) for node in spec.nodes}

    spec = property(lambda self: self._spec, doc="The graph of layers, as given: a ``ModelSpec``.")
    precision = property(lambda self: self._options["precision"], doc='``"float32"`` or ``"float64"``.')

    def __call__(self, x: ArrayLike, lengths: ArrayLike | None = None) -> Array:
        """Run whole sequences.

        Parameters
        ----------
        x : array_like, (batch, steps, features), or (batch, steps) of integers where the first layer is an Embedding
            One sequence without its batch axis is taken too, and comes back without it.
        lengths : array_like of int, (batch,), optional
            How many steps of each row are real, 1 to ``steps``, in any order.

        Returns
        -------
        ndarray, (batch, steps, outputs) or (batch, outputs)
            (batch, outputs) where a layer such as ``Last()`` leaves one value a sequence. Steps beyond a row's length
            are zero.

        Raises
        ------
        ShapeError, DTypeError
            An argument does not fit; the message says got and wanted.
        """
        features = self._spec.inputs[0].features
        array, single = _as_ids(x) if features is None else as_sequences(x, features, self._dtype)
        batch, steps = array.shape[:2]
        ends = None if lengths is None else as_lengths(lengths, batch, steps, single)
        values = {self._spec.inputs[0].name: Value(array, ends)}
        for node in self._spec.nodes:
            values[node.name] = self._layers[node.name].run(values[node.inputs[0]])
        output = values[self._spec.outputs[0]]
        result = output.array
        if output.lengths is not None:
            result = np.where(_is_real(output), result, np.zeros((), result.dtype))
        return result[0] if single else result

    def stream(self, batch: int = 1) -> ModelStream:
        """A stream of single steps, where every layer needs only the steps so far.

        What it gives at each step is what the model gives for the sequence up to that step.

        Raises
        ------
        UnsupportedModelError
            A layer needs steps to come, or all steps at once; the message names it.
        """
        return ModelStream(self, batch)

    def __repr__(self) -> str:
        lines = [f"  {node.name}: {_described(node.layer)}" for node in self._spec.nodes]
        return "\n".join(["Model(", *lines, ")"])

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._spec, self._options)


def _rebuild(spec: ModelSpec, options: dict[str, Any]) -> Model:
    return Model(spec, **options)


class ModelStream:
    """Single steps through a model; made by ``model.stream()``. It belongs to one caller at a time."""

    def __init__(self, model: Model, batch: int = 1) -> None:
        if as_integers(batch, "batch").ndim != 0 or batch < 1:
            raise ShapeError(f"batch: got {batch}, wanted a whole number of at least 1")
        self._model = model
        self.batch = int(batch)
        self._steps: list[Step] = []
        self._streams: list[Stream] = []
        for node in model.spec.nodes:
            layer = model._layers[node.name]
            if layer.step is None:
                raise UnsupportedModelError(
                    f"layer {node.name!r} ({type(node.layer).__name__}) needs more than the steps so far, so this "
                    "model cannot be streamed; call it on sequences instead"
                )
            step = layer.step
            if layer.gru is not None:
                stream = layer.gru.stream(self.batch)
                self._streams.append(stream)
                step = stream.step
            self._steps.append(step)

    def step(self, x: ArrayLike) -> Array:
        """Take one step and keep the new states.

        Parameters
        ----------
        x : array_like, (batch, features), or (features,) for one stream
            Where the first layer is an Embedding, (batch,) integers, or one integer.

        Returns
        -------
        ndarray, (batch, outputs) or (outputs,)

        Raises
        ------
        ShapeError, DTypeError
            The argument does not fit. The states are as they were.
        """
        features = self._model.spec.inputs[0].features
        if features is None:
            value: Array = as_integers(x, "x")
            single = value.ndim == 0
            wanted: tuple[int, ...] = (self.batch,)
        else:
            value, wanted = as_numbers(x, "x", self._model._dtype), (self.batch, features)
            single = value.ndim == 1
        if single and self.batch == 1:
            value = value[None]
        if value.shape != wanted:
            raise ShapeError(f"x: got shape {np.shape(x)}, wanted {wanted}: one step of every stream")
        for step in self._steps:
            value = step(value)
        return value[0] if single else value

    @property
    def state(self) -> list[Array]:
        """The states of every GRU of the model, in order: copies, which can be set again later."""
        return [stream.state for stream in self._streams]

    @state.setter
    def state(self, states: list[Array]) -> None:
        if not isinstance(states, (list, tuple)) or len(states) != len(self._streams):
            raise ShapeError(f"state: wanted a list of {len(self._streams)} arrays, one for every GRU of the model")
        before = self.state
        try:
            for stream, state in zip(self._streams, states, strict=True):
                stream.state = state
        except Exception:
            for stream, state in zip(self._streams, before, strict=True):
                stream.state = state
            raise

    def reset(self) -> None:
        """Set every state to zero, as at the start."""
        for stream in self._streams:
            stream.reset()

    def copy(self) -> ModelStream:
        """A stream of its own that goes on from the same states."""
        return _rebuild_stream(self._model, self.batch, self.state)

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, Any]) -> ModelStream:
        return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_stream, (self._model, self.batch, self.state)

    def __repr__(self) -> str:
        return f"ModelStream({self._model!r}, batch={self.batch})"


def _rebuild_stream(model: Model, batch: int, state: list[Array]) -> ModelStream:
    stream = ModelStream(model, batch)
    stream.state = state
    return stream


class Runner:
    """A layer ready to run: on whole sequences, and on one step where it needs no more."""

    def __init__(self, run: Run, step: Step | None = None, gru: GRU | None = None) -> None:
        self.run = run
        self.step = step
        self.gru = gru  # a layer with a state, which every stream keeps for itself


def _runner(node: Node, dtype: np.dtype[Any], options: dict[str, Any]) -> Runner:
    layer = node.layer
    if isinstance(layer, GRULayer):
        return _gru_runner(layer, options)
    if isinstance(layer, Dense):
        return _each_step(_dense(layer, dtype, options["backend"]))
    if isinstance(layer, Embedding):
        return _each_step(_embedding(layer, dtype, node.name))
    if isinstance(layer, Activation):
        return _each_step(_activation(layer.name, dtype))
    if isinstance(layer, Dropout):
        return Runner(lambda value: value, lambda x: x)
    if isinstance(layer, Last):
        return Runner(_last, lambda x: x)
    if isinstance(layer, FinalState):
        return Runner(_final_state, lambda x: x)
    return Runner(_mean if isinstance(layer, Mean) else _max)


def _each_step(function: Step) -> Runner:
    """A layer that treats every step alike."""
    return Runner(lambda value: Value(function(value.array), value.lengths), function)


def _gru_runner(layer: GRULayer, options: dict[str, Any]) -> Runner:
    gru = GRU(layer.gru, **options)
    directions = layer.gru.directions

    def run(value: Value) -> Value:
        x = _reversed(value) if layer.go_backwards else value.array
        y, h = gru._run(x, None, value.lengths, sequences=layer.return_sequences)
        final = np.concatenate(list(h[-directions:]), axis=-1)
        merged = _merged(final if y is None else y, layer.merge, directions)
        return Value(merged, value.lengths if layer.return_sequences else None, final)

    causal = directions == 1 and not layer.go_backwards
    return Runner(run, (lambda x: x) if causal else None, gru if causal else None)


def _reversed(value: Value) -> Array:
    """Every row from its own last step to its first; the steps beyond its length stay behind."""
    steps = np.arange(value.array.shape[1])
    order = value.last_steps[:, None] - steps
    order = np.where(order < 0, steps, order)
    return np.take_along_axis(value.array, order[..., None], axis=1)


def _merged(y: Array, merge: str, directions: int) -> Array:
    if merge == "concat" or directions == 1:
        return y
    forward, reverse = np.split(y, 2, axis=-1)
    if merge == "mul":
        return np.asarray(forward * reverse)
    return np.asarray((forward + reverse) / (2 if merge == "ave" else 1))


def _dense(layer: Dense, dtype: np.dtype[Any], backend: str | None) -> Step:
    weight = np.ascontiguousarray(layer.weight, dtype=dtype)
    bias = np.zeros(len(weight), dtype) if layer.bias is None else np.ascontiguousarray(layer.bias, dtype=dtype)
    activate = _activation(layer.activation, dtype)
    if dtype == np.float32 and backend != "blas":
        affine = Affine(kernel_table(), weight, bias)

        def run(x: Array) -> Array:
            flat = np.ascontiguousarray(x, dtype=np.float32).reshape(-1, weight.shape[1])
            return activate(affine(flat).reshape(*x.shape[:-1], len(weight)))
    else:

        def run(x: Array) -> Array:
            return activate(np.asarray(x @ weight.T + bias, dtype))

    return run


def _activation(name: str, dtype: np.dtype[Any]) -> Step:
    if name == "linear":
        return lambda x: x
    if name in GATE_ACTIVATIONS and dtype == np.float32:
        code, table = GATE_ACTIVATIONS.index(name), kernel_table()

        def run(x: Array) -> Array:
            flat = np.ascontiguousarray(x, dtype=np.float32).reshape(-1)
            return table.activate(code, flat).reshape(x.shape)

        return run
    function = reference.ACTIVATIONS[name]

    def run_reference(x: Array) -> Array:
        with np.errstate(all="ignore"):  # an underflow of exp is zero, as it should be
            return np.asarray(function(x), dtype)

    return run_reference


def _embedding(layer: Embedding, dtype: np.dtype[Any], name: str) -> Step:
    table = np.ascontiguousarray(layer.weight, dtype=dtype)

    def run(ids: Array) -> Array:
        if ids.size and (ids.min() < 0 or ids.max() >= len(table)):
            wrong = int(ids.min()) if ids.min() < 0 else int(ids.max())
            raise ShapeError(f"x: got the integer {wrong}, but layer {name!r} knows 0 to {len(table) - 1}")
        return np.asarray(table[ids])

    return run


def _last(value: Value) -> Value:
    return Value(value.array[np.arange(len(value.array)), value.last_steps])


def _final_state(value: Value) -> Value:
    assert value.final is not None
    return Value(value.final)


def _mean(value: Value) -> Value:
    """Summed step by step in float64, so that a row's bits do not depend on what is behind its end."""
    real = value.array if value.lengths is None else np.where(_is_real(value), value.array, 0)
    total = np.cumsum(real, axis=1, dtype=np.float64)[:, -1]
    return Value((total / (value.last_steps[:, None] + 1)).astype(value.array.dtype))


def _max(value: Value) -> Value:
    if value.lengths is None:
        return Value(value.array.max(axis=1))
    return Value(np.where(_is_real(value), value.array, -np.inf).max(axis=1).astype(value.array.dtype))


def _is_real(value: Value) -> NDArray[np.bool_]:
    return (np.arange(value.array.shape[1]) <= value.last_steps[:, None])[..., None]


def _as_ids(x: ArrayLike) -> tuple[NDArray[np.intp], bool]:
    ids = as_integers(x, "x")
    single = ids.ndim == 1
    ids = ids[None] if single else ids
    if ids.ndim != 2 or ids.shape[1] == 0:
        raise ShapeError(f"x: got shape {np.shape(x)}, wanted (batch, steps) integers, with at least one step")
    return ids, single


def _described(layer: Layer) -> str:
    if isinstance(layer, GRULayer):
        gru = layer.gru
        shape = f"{gru.input_size}, {gru.hidden_size}"
        options = "" if gru.num_layers == 1 else f", num_layers={gru.num_layers}"
        options += ", bidirectional=True" if gru.directions == 2 else ""
        options += "" if layer.return_sequences else ", return_sequences=False"
        return f"GRU({shape}{options})"
    if isinstance(layer, Dense):
        named = "" if layer.activation == "linear" else f", activation={layer.activation!r}"
        return f"Dense({layer.weight.shape[1]}, {layer.weight.shape[0]}{named})"
    if isinstance(layer, Embedding):
        return f"Embedding({layer.weight.shape[0]}, {layer.weight.shape[1]})"
    return repr(layer)
