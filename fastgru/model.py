"""The public class ``Model``: layers around GRUs, run in the order of their graph.

It checks what it is given and hands it to the layers in ``ops``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import as_integers, as_lengths, as_numbers
from .errors import ShapeError
from .gru import Backend, Precision, check_options, dtype_of
from .model_stream import ModelStream
from .ops.graph import Graph
from .ops.value import Value
from .spec import Input, ModelSpec, owned, validate, with_any_size

__all__ = ["Model", "ModelStream"]

Array = NDArray[Any]


class Model:
    """A trained network of GRUs and the layers around them.

    A model is immutable: any number of threads may call one at the same time.

    Parameters
    ----------
    spec : ModelSpec
        The graph of layers. Most callers get a model from ``fastgru.load`` instead.
    precision : {"float32", "float64", "float16", "bfloat16", "int8"}
        What is computed with, and the dtype of the results. The last three are for the weights of GRUs, as in ``GRU``;
        other layers compute in float32.
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
        check_options(precision, n_threads, backend)
        self._spec = spec = owned(spec)
        self._options = {"precision": precision, "n_threads": n_threads, "backend": backend}
        self._dtype = dtype_of(precision)
        self._graph = Graph(spec, self._dtype, self._options)

    spec = property(lambda self: self._spec, doc="The graph of layers, as given: a ``ModelSpec``.")
    precision = property(lambda self: self._options["precision"], doc="What the weights of GRUs are kept in.")
    dtype = property(lambda self: self._dtype, doc="Of inputs and results: float64, or else float32.")
    nbytes = property(
        lambda self: self._graph.nbytes,
        doc="""Bytes of the weights and biases of all GRUs as the engine has them; other layers do not count.

        >>> import numpy as np, fastgru
        >>> weights = {"gru.weight_ih": np.ones((96, 32), np.float32), "gru.weight_hh": np.ones((96, 32), np.float32)}
        >>> model = fastgru.from_torch(weights, layers=["gru", fastgru.Last()])
        >>> model.nbytes < model.astype("float64").nbytes
        True
        """,
    )

    def __call__(self, x: Any, lengths: ArrayLike | Mapping[str, ArrayLike] | None = None) -> Any:
        """Run whole sequences.

        Parameters
        ----------
        x : array_like, (batch, steps, features), or (batch, steps) of integers where the first layer is an Embedding
            Without its batch axis it is taken too, and comes back without it. For a model of several inputs a list or
            tuple of arrays in the order of ``spec.inputs``, or a dict by their names.
        lengths : array_like of int, (batch,), optional
            How many steps of each row are real, 1 to ``steps``, in any order. For a model of several inputs with steps
            a dict by their names may be given; an array holds for all of them.

        Returns
        -------
        ndarray, or tuple of ndarray where the model has several outputs, or a dict of them where it names them
            (batch, steps, outputs), or (batch, outputs) where a layer such as ``Last()`` leaves one value a sequence.
            Steps beyond a row's length are zero.

        Raises
        ------
        ShapeError, DTypeError
            An argument does not fit; the message says got and wanted.
        UnsupportedModelError
            ``lengths`` with a layer that mixes the steps of a row; the message names it.
        """
        values, single = self._run(x, lengths)
        results = [value.zero_beyond() for value in values]
        outputs = [result[0] if single else result for result in results]
        if self._spec.output_names is not None:
            return dict(zip(self._spec.output_names, outputs, strict=True))
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _run(self, x: Any, lengths: ArrayLike | Mapping[str, ArrayLike] | None) -> tuple[list[Value], bool]:
        """``__call__``, whose outputs still know their lengths, and whether x came without a batch axis."""
        arrays, single = self._inputs(x)
        values = {name: Value(array) for name, array in arrays.items()}
        if lengths is not None:
            self._set_lengths(values, lengths, single)
        return _apart(self._graph.run(values), list(arrays.values())), single

    def _inputs(self, x: Any) -> tuple[dict[str, Array], bool]:
        """Every input by name with a batch axis, and whether they came without one."""
        sources = self._spec.inputs
        given = self._by_name(x)
        ready = [_ready(given[source.name], source, len(sources) > 1, self._dtype) for source in sources]
        if len({single for _, single in ready}) > 1:
            raise ShapeError("x: some inputs have a batch axis and some have not; give all of them one, or none")
        arrays = {source.name: array for source, (array, _) in zip(sources, ready, strict=True)}
        batches = {name: len(array) for name, array in arrays.items()}
        if len(set(batches.values())) > 1:
            raise ShapeError(f"x: the inputs have different batch sizes: {batches}")
        return arrays, ready[0][1]

    def _by_name(self, x: Any) -> dict[str, Any]:
        names = [source.name for source in self._spec.inputs]
        if isinstance(x, Mapping):
            if set(x) != set(names):
                raise ShapeError(f"x: got inputs {sorted(map(str, x))}, wanted {names}")
            return dict(x)
        if len(names) == 1:
            return {names[0]: x}
        if not isinstance(x, (list, tuple)) or len(x) != len(names):
            got = f"{len(x)} arrays" if isinstance(x, (list, tuple)) else type(x).__name__
            raise ShapeError(f"x: got {got}, wanted a list of {len(names)} arrays, or a dict by name, of {names}")
        return dict(zip(names, x, strict=True))

    def _set_lengths(self, values: dict[str, Value], lengths: Any, single: bool) -> None:
        """Give the lengths to the inputs that have steps."""
        sources = {source.name: source for source in self._spec.inputs}
        stepped = [name for name, source in sources.items() if source.has_steps]
        given = dict(lengths) if isinstance(lengths, Mapping) else dict.fromkeys(stepped, lengths)
        wrong = [str(name) for name in given if name not in stepped]
        if wrong or not stepped:
            got = ", ".join(wrong) or "lengths"
            raise ShapeError(f"lengths: got {got}, but the inputs with steps on their first axis are {stepped}")
        for name, ends in given.items():
            batch, steps = values[name].array.shape[:2]
            values[name].lengths = own = as_lengths(ends, batch, steps, single)
            for length in {int(own.min()), int(own.max())} if own.size else ():
                sources[name].check_sizes((length,), "lengths", 1)

    def astype(self, precision: Precision) -> Model:
        """The same layers with weights of another precision, rounded from those that were given; see ``GRU.astype``."""
        backend = None if precision == "float64" else self._options["backend"]
        return _rebuild(self._spec, {**self._options, "precision": precision, "backend": backend})

    def with_any_size(self) -> Model:
        """The same model for any batch and any number of steps, where a torch.export file was written for one.

        Such a file fixes the sizes of its example. No number in the graph of this model was computed from them; that no
        ``if``, no loop and no cut in the code it was made of depends on them, the file cannot say and you must know.

        Raises
        ------
        UnsupportedModelError
            The model may have numbers that were computed from a size, or its sizes are open already.
        """
        return _rebuild(with_any_size(self._spec), self._options)

    def save(self, path: str | os.PathLike[str], *, precision: Precision | None = None) -> None:
        """Write the model as one safetensors file that describes itself, for ``fastgru.load`` to read.

        Loading is what decides on the precision to compute in, and on the other options. A file that is there is
        replaced when all is written, and stays as it is where anything fails.

        Parameters
        ----------
        path : str or path-like
        precision : {"float32", "float64", "float16", "bfloat16", "int8"}, optional
            What the matrices of GRUs are written in, as by ``GRU.save``. Other layers compute in float32, and have
            their weights written so; those with more than one axis in float16 or bfloat16 where this is asked for and
            they lose nothing by it. Normalisations keep theirs. Without a precision all weights are written in
            float32, or float64 where they were given so, whatever this model computes in.

        Raises
        ------
        UnsupportedModelError
            There is no such precision, or a weight is beyond it; the message has the tensor's name.
        FastGRUError
            It cannot be written there; the message says why.

        Examples
        --------
        >>> import os, tempfile, numpy as np, fastgru
        >>> from fastgru.spec import Dense, GRULayer, GRUWeights, sequential
        >>> w_ih, w_hh, bias = np.ones((6, 3), np.float32), np.ones((6, 2), np.float32), np.zeros(6, np.float32)
        >>> gru = GRULayer(fastgru.GRUSpec(((GRUWeights(w_ih, w_hh, bias, bias),),)))
        >>> model = fastgru.Model(sequential([("gru", gru), ("out", Dense(np.ones((4, 2), np.float32)))]))
        >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
        >>> model.save(path)
        >>> x = np.ones((5, 7, 3))
        >>> bool((fastgru.load(path)(x) == model(x)).all())
        True
        """
        from .saved.saving import save

        save(self._spec, path, precision)

    def stream(self, batch: int = 1) -> ModelStream:
        """A stream of single steps, where every layer needs only the steps so far.

        What it gives at each step is what the model gives for the sequence up to that step.

        Raises
        ------
        UnsupportedModelError
            A layer has no single step; the message names it and says why.
        """
        return ModelStream(self, batch)

    def __repr__(self) -> str:
        lines = [f"  {node.name}: {node.layer.described()}" for node in self._spec.nodes]
        if self._spec.output_names is not None:
            lines.append(f"  outputs: {', '.join(map(repr, self._spec.output_names))}")
        if self.precision != "float32":
            lines.append(f"  precision={self.precision!r}")
        return "\n".join(["Model(", *lines, ")"])

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._spec, self._options)


def as_tuple(made: Any) -> tuple[Array, ...]:
    """What a model gave, one output or several, named or not, as a tuple."""
    if isinstance(made, dict):
        return tuple(made.values())
    return made if isinstance(made, tuple) else (made,)


def _rebuild(spec: ModelSpec, options: dict[str, Any]) -> Model:
    return Model(spec, **options)


def _apart(values: list[Value], taken: list[Array]) -> list[Value]:
    """The outputs as arrays of their own: a caller fills an input anew, or changes an output, and no other changes."""
    made: list[Value] = []
    for value in values:
        if any(np.may_share_memory(value.array, other) for other in taken):
            value = Value(value.array.copy(), value.lengths, value.mask, value.final)
        taken.append(value.array)
        made.append(value)
    return made


def _ready(x: Any, source: Input, named: bool, dtype: np.dtype[Any]) -> tuple[Array, bool]:
    """An input as an array with a batch axis that fits its shape, and whether it came without that axis."""
    name = f"x: {source.name!r}" if named else "x"
    array: Array = as_integers(x, name) if source.integers else as_numbers(x, name, dtype)
    single = array.ndim == len(source.shape)
    array = array[None] if single else array
    fits = array.ndim == len(source.shape) + 1 and all(
        wanted is None or got == wanted for got, wanted in zip(array.shape[1:], source.shape, strict=True)
    )
    if array.ndim == len(source.shape) + 1:
        source.check_sizes(array.shape, name)
    kind = " integers" if source.integers else ""
    names = ("batch", *_axes(source))
    if not fits:
        batched = f"({', '.join(names)}){kind}"
        raise ShapeError(f"{name}: got shape {np.shape(x)}, wanted {batched} or, for one of it, {_text(names[1:])}")
    if 0 in array.shape[1:]:
        raise ShapeError(f"{name}: got shape {np.shape(x)}, that is no steps; wanted at least one")
    return array, single


def _axes(source: Input) -> list[str]:
    sizes = ["any" if size is None else str(size) for size in source.shape]
    if sizes and source.shape[0] is None and (source.integers or len(sizes) > 1):
        sizes[0] = "steps"
    return sizes


def _text(sizes: tuple[str, ...]) -> str:
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"
