"""``GraphModel``: a model that is one graph of operations, as ``from_torch(module, example)`` gives it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import as_integers, as_lengths, as_numbers
from .errors import DTypeError, ShapeError, UnsupportedModelError
from .graph.graph import BOOLEAN, FLOAT, Graph, Input
from .graph.layout import BATCH, Steps, is_steps
from .graph.limits import check_lengths, with_any_size
from .graph.operations.operation import Setup
from .graph.run import Runner
from .graph.size import size_text
from .graph.steps import analyse
from .gru import Backend, Precision, check_options, dtype_of

__all__ = ["GraphModel", "refuse_graph"]

Array = NDArray[Any]


class GraphModel:
    """A trained network as one graph of operations: it takes and gives what the framework's model does.

    A model is immutable: any number of threads may call one at the same time.

    Parameters
    ----------
    graph : Graph
        Most callers get a model from ``fastgru.from_torch(module, example)`` or ``fastgru.load`` instead.
    precision, n_threads, backend
        As for ``Model``.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        precision: Precision = "float32",
        n_threads: int | None = None,
        backend: Backend | None = None,
    ) -> None:
        if not isinstance(graph, Graph):
            raise ShapeError(f"GraphModel takes a Graph, got {type(graph).__name__}; use fastgru.load(path)")
        check_options(precision, n_threads, backend)
        self._options = {"precision": precision, "n_threads": n_threads, "backend": backend}
        self._dtype = dtype_of(precision)
        self._graph, self._analysis = analyse(graph)
        self._runner = Runner(self._graph, self._analysis, Setup(self._dtype, self._options))

    graph = property(lambda self: self._graph, doc="The graph of operations: a ``Graph``.")
    precision = property(lambda self: self._options["precision"], doc="What the weights of GRUs are kept in.")
    dtype = property(lambda self: self._dtype, doc="Of inputs and results: float64, or else float32.")

    @property
    def inputs(self) -> dict[str, str]:
        """What each input is, by name: its shape, and whether it is floats, integers or booleans."""
        return {source.name: str(self._graph.tensors[source.value]) for source in self._graph.inputs}

    def __call__(self, *inputs: Any, lengths: ArrayLike | Mapping[str, ArrayLike] | None = None, **named: Any) -> Any:
        """Run the model.

        Parameters
        ----------
        *inputs, **named : array_like
            In the order, or by the names, of the framework's model, with its axes. One list, tuple or dict of all of
            them is taken too.
        lengths : array_like of int, (batch,), or dict of these by the name of an input, optional
            How many steps of each row are real. Each row gives what it gives alone, cut to its length; steps beyond it
            are zero in results.

        Returns
        -------
        ndarray, or these in tuples, lists and dicts
            As the framework's model gives them.

        Raises
        ------
        ShapeError, DTypeError
            An argument does not fit; the message says got and wanted.
        UnsupportedModelError
            ``lengths``, and an operation takes rows or steps together; the message names it.
        """
        arrays = self._arrays(inputs, named)
        return self._runner(arrays, None if lengths is None else self._lengths(arrays, lengths))

    def _arrays(self, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Array]:
        """Every input by name, as an array of its kind."""
        sources = self._graph.inputs
        names = [source.name for source in sources]
        lone = inputs[0] if len(inputs) == 1 and not named else None
        if isinstance(lone, Mapping):
            inputs, named = (), lone
        elif len(names) > 1 and isinstance(lone, (list, tuple)):
            inputs = tuple(lone)
        given = {**dict(zip(names, inputs, strict=False)), **named}
        if len(inputs) > len(names) or set(given) != set(names) or len(given) < len(inputs) + len(named):
            raise ShapeError(f"got {len(inputs)} inputs and {sorted(map(str, named))}, wanted {', '.join(names)}")
        return {source.name: self._array(source, given[source.name]) for source in sources}

    def _array(self, source: Input, given: Any) -> Array:
        tensor = self._graph.tensors[source.value]
        if tensor.dtype == FLOAT:
            array = as_numbers(given, source.name, self._dtype)
        elif tensor.dtype == BOOLEAN:
            array = np.asarray(given)
            if array.dtype != np.bool_:
                raise DTypeError(f"{source.name}: got dtype {array.dtype}, wanted booleans")
        else:
            array = as_integers(given, source.name)
        if array.ndim != len(tensor.shape):
            raise ShapeError(f"{source.name}: got shape {array.shape}, wanted {size_text(tensor.shape)}")
        return array

    def _lengths(self, arrays: Mapping[str, Array], lengths: Any) -> dict[str, NDArray[np.intp]]:
        """The lengths by the symbol of the steps that they are of."""
        sequences = {}
        for source in self._graph.inputs:
            layout = self._analysis.inputs[source.name]
            sizes = self._graph.tensors[source.value].shape
            at = next((place for place, axis in enumerate(layout) if is_steps(axis)), None)
            if at is None or (BATCH,) not in layout:
                continue
            shape = arrays[source.name].shape
            batch = shape[layout.index((BATCH,))]
            own = lengths.get(source.name) if isinstance(lengths, Mapping) else lengths
            if own is not None and source.fixed:
                check_lengths(source, as_lengths(own, batch, shape[at]), layout)
            if not isinstance(sizes[at], int):
                (steps,) = (factor for factor in layout[at] if isinstance(factor, Steps))
                sequences[source.name] = str(steps.size), batch, shape[at]
        given = dict(lengths) if isinstance(lengths, Mapping) else dict.fromkeys(sequences, lengths)
        if not sequences:
            self._analysis.check_lengths()
        wrong = [str(name) for name in given if name not in sequences]
        if wrong or not sequences:
            got = ", ".join(wrong) or "lengths"
            raise ShapeError(f"lengths: got {got}, but the inputs with steps are {', '.join(sequences) or 'none'}")
        if not given:
            raise ShapeError(f"lengths: got none, wanted those of {', '.join(sequences)}")
        made: dict[str, NDArray[np.intp]] = {}
        for name, each in given.items():
            symbol, batch, count = sequences[name]
            ends = as_lengths(each, batch, count)
            if not np.array_equal(made.setdefault(symbol, ends), ends):
                raise ShapeError("lengths: inputs that are taken step by step together have different lengths")
        return made

    def astype(self, precision: Precision) -> GraphModel:
        """The same operations with weights of another precision, rounded from those that were given."""
        backend = None if precision == "float64" else self._options["backend"]
        return _rebuild(self._graph, {**self._options, "precision": precision, "backend": backend})

    def with_any_size(self) -> GraphModel:
        """The same model with the sizes open that its file fixed although no number in it can come from them.

        Use it where you know the code: what it did by an ``if``, a loop or a cut leaves no trace in such a file.

        Raises
        ------
        UnsupportedModelError
            There is no such size, or the graph may know it; the message names the operation.
        """
        return _rebuild(with_any_size(self._graph), self._options)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model as one safetensors file that describes itself, for ``fastgru.load`` to read.

        Raises
        ------
        FastGRUError
            It cannot be written there; the message says why.
        """
        from .saved.saving import save

        save(self._graph, path, None)

    def stream(self, batch: int = 1) -> Any:
        """Streams of graphs are not there yet.

        Raises
        ------
        UnsupportedModelError
            Always; it says what works.
        """
        raise UnsupportedModelError(
            "a GraphModel has no streams yet: give the module's own state as an input and an output, or name its "
            "layers in fastgru.load(path, layers=[...]), whose model has them"
        )

    def __repr__(self) -> str:
        inputs = [f"  {name}: {text}" for name, text in self.inputs.items()]
        nodes = [f"  {node.name}: {node.operation.described()}" for node in self._graph.nodes]
        return "\n".join(["GraphModel(", *inputs, *nodes, ")"])

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._graph, self._options)


def refuse_graph(model: object, command: str, path: str) -> None:
    """Raise where a command is asked to do what is not done with graphs of operations yet."""
    if isinstance(model, GraphModel):
        raise UnsupportedModelError(
            f"{path}: it holds a graph of operations, made by from_torch(module, example), and {command} knows models "
            "of layers only; call it from Python: fastgru.load(path)(*inputs)"
        )


def _rebuild(graph: Graph, options: dict[str, Any]) -> GraphModel:
    return GraphModel(graph, **options)

