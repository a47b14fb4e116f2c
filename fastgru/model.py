"""The public class ``Model``: a network of GRUs and what is around them, as one graph of operations.

It checks what it is given and hands it to the graph's runner.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import bytes_held
from .errors import ShapeError
from .graph.graph import Graph, rebuilt
from .graph.layout import BATCH
from .graph.limits import with_any_size
from .graph.operations.operation import Setup
from .graph.run import Runner
from .graph.steps import analyse
from .graph.streaming import Streamed, streamed
from .layers import ModelSpec, validate
from .layers.grus import owned_graph
from .layers.lowering import graph_of
from .model_inputs import Source, as_tuple, by_name, lengths_by_symbol, of_layers, prepared, sources_of
from .options import Backend, Precision, check_options, dtype_of
from .records.once import once
from .records.record import arrays_in, owned
from .streams.blocks import Blocks
from .streams.model import ModelStream
from .streams.pool import Pool
from .weights.from_file import hold_rest, matrices_of
from .weights.matrices import read_again

__all__ = ["Model", "ModelStream", "Pool", "as_tuple"]

Array = NDArray[Any]


class Model:
    """A trained network of GRUs and the operations around them.

    A model is immutable: any number of threads may call one at the same time.

    Parameters
    ----------
    model : ModelSpec or Graph
        Layers, or operations. Most callers get a model from ``fastgru.load`` or ``fastgru.from_torch`` instead.
    precision : {"float32", "float64", "float16", "bfloat16", "int8"}
        What is computed with, and the dtype of the results. The last three are for the weights of GRUs, as in ``GRU``;
        other operations compute in float32, but dense layers and convolutions go with bfloat16 where the kernels
        multiply pairs of them; what their weights were before stays in memory beside it, unless a file has it.
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
        model: ModelSpec | Graph,
        *,
        precision: Precision = "float32",
        n_threads: int | None = None,
        backend: Backend | None = None,
    ) -> None:
        self._spec: ModelSpec | None = None
        layouts = None
        if isinstance(model, ModelSpec):
            validate(model)
        elif not isinstance(model, Graph):
            raise ShapeError(f"Model takes a ModelSpec or a Graph, got {type(model).__name__}; use fastgru.load(path)")
        check_options(precision, n_threads, backend)
        self._options = {"precision": precision, "n_threads": n_threads, "backend": backend}
        self._dtype = dtype_of(precision)
        if isinstance(model, ModelSpec):
            self._spec = owned(model)
            model, layouts = graph_of(self._spec)
        else:
            model = owned_graph(model)
        self._graph, self._analysis = analyse(model, layouts)
        self._sources = sources_of(self._graph, self._analysis, self._spec)
        with np.errstate(all="ignore"):  # a variance below zero, a weight beyond float32
            self._runner = Runner(self._graph, self._analysis, Setup(self._dtype, self._options))
        self._blocks = Blocks()
        hold_rest(self.description)

    graph = property(lambda self: self._graph, doc="What is computed: a ``Graph`` of operations.")
    spec = property(lambda self: self._spec, doc="Its layers: a ``ModelSpec``; None of a graph of operations.")
    description = property(lambda self: self._spec or self._graph, doc="What it is made of: its layers, or its graph.")
    precision = property(lambda self: self._options["precision"], doc="What the weights of GRUs are kept in.")
    dtype = property(lambda self: self._dtype, doc="Of inputs and results: float64, or else float32.")
    nbytes = property(
        lambda self: bytes_held([*arrays_in(self.description), *self._runner.arrays]) + self._runner.nbytes_of_rows,
        doc="""Bytes of all its weights, each once as it is computed with, and of what is kept beside them. Rows of an
        Embedding as a GRU after it has multiplied them count as they are met: at most 64 MiB for each such pair.""",
    )

    @property
    def inputs(self) -> dict[str, str]:
        """What each input is, by name: its shape, and whether it is floats, integers or booleans."""
        return {source.name: str(self._graph.tensors[source.value]) for source in self._graph.inputs}

    sources = property(lambda self: list(self._sources), doc="Its inputs in order: a list of ``Source``.")

    @property
    def keeps_rows_apart(self) -> bool:
        """Whether every row of the outputs, on their first axes, comes of the same row of the inputs."""
        places = [self.batch_axis(place) for place in self._runner.outputs]
        return all(axis == 0 for axis in places) and all(source.batch == 0 for source in self._sources)

    def sizes(self, arrays: Mapping[str, Array]) -> dict[str, int]:
        """What the symbols of the graph are for these inputs, by name."""
        return self._runner.sizes({source.value: arrays[source.name] for source in self._graph.inputs})

    def batch_axis(self, place: int) -> int | None:
        """Where the rows of an output of the graph are; None where it is of no row, or of all together."""
        if self._analysis.mixes:
            return None
        layout = self._analysis.layout(place)
        return next((axis for axis, factors in enumerate(layout) if factors == (BATCH,)), None)

    def __call__(self, *inputs: Any, lengths: ArrayLike | Mapping[str, ArrayLike] | None = None, **named: Any) -> Any:
        """Run whole sequences.

        Parameters
        ----------
        *inputs, **named : array_like
            In the order, or by the names, of the framework's model, with its axes; one list, tuple or dict of all of
            them is taken too. A model of layers takes (batch, steps, features), or (batch, steps) of integers where an
            Embedding comes first, and several inputs in one list or dict; without their batch axis they are taken too,
            and what comes back is without it.
        lengths : array_like of int, (batch,), or dict of these by the name of an input, optional
            How many steps of each row are real, 1 to ``steps``, in any order; an array holds for all inputs with
            steps. Each row gives what it gives alone, cut to its length; steps beyond it are zero in results. A model
            of layers takes them as the second argument too.

        Returns
        -------
        ndarray, or these in tuples, lists and dicts
            As the framework's model gives them; of a model of layers an array for its output, or a tuple of them, or a
            dict where they have names.

        Raises
        ------
        ShapeError, DTypeError
            An argument does not fit; the message says got and wanted.
        UnsupportedModelError
            ``lengths``, and an operation takes rows or steps together; the message names it.

        Notes
        -----
        A model in float32 is compiled by its first call with new shapes: the same bits as layer by layer, and faster.
        """
        if len(inputs) == 1 and lengths is None and not named and (made := self._runner.direct(inputs[0])) is not None:
            return made if isinstance(made, np.ndarray) else self._structured(made, False)
        if self._spec is not None:
            inputs, lengths = of_layers(inputs, lengths)
            if not inputs and set(named) == {"x"}:
                inputs, named = (named["x"],), {}
        values, _, single = self._run(self._by_name(inputs, named), lengths)
        return self._structured(values, single)

    def map(
        self,
        sequences: Any,
        *,
        lengths: ArrayLike | Mapping[str, ArrayLike] | None = None,
        offsets: ArrayLike | Mapping[str, ArrayLike] | None = None,
        n_threads: int | None = None,
        progress: bool = False,
    ) -> Iterator[Any]:
        """Run sequences of unequal length, grouped by length, and give their results in order.

        Like the built-in ``map`` it gives results as they are asked for; ``list(model.map(sequences))`` are all.

        Parameters
        ----------
        sequences : iterable, or array_like
            What the model takes for each sequence, without a batch axis: (steps, features), or (steps,) of integers
            where an Embedding comes first; for several inputs a list, tuple or dict of these. It may be a generator
            without an end, and may give one buffer filled anew each time. With ``lengths`` or ``offsets`` an array of
            all sequences joined along their steps, as ragged data usually lies: (total steps, features); of several
            inputs a list, tuple or dict of these, where inputs without steps are (sequences, ...).
        lengths : array_like of int, (sequences,), or dict of these by the name of an input, optional
            The steps of each sequence in such an array.
        offsets : array_like of int, (sequences + 1,), or dict of these, optional
            Where each sequence begins in it, and where the last one ends: the ``offsets`` of an Arrow list array, the
            ``row_splits`` of a TensorFlow ragged tensor.
        n_threads : int, optional
            Threads for these sequences; None: as the model.
        progress : bool
            Show a bar on standard error while results are taken, if that is a terminal.

        Returns
        -------
        iterator
            For each sequence what the model gives for it alone, without a batch axis and with all its own steps. The
            bits are the same too, unless BLAS computes them: in float64 and with ``backend="blas"`` they are rounded by
            the shape of a call, here as everywhere. Of no steps the result is empty, if the model gives something for
            each step; otherwise that is an error.

        Raises
        ------
        ShapeError, DTypeError
            A sequence does not fit the model; the message has its number. It comes in the place of its result, when
            all before it are given, as does an exception of the iterable itself.
        UnsupportedModelError
            The model takes rows of a batch together, or it is not known which part of its results is of which row.

        Notes
        -----
        It reads ahead until inputs and results have 8 million numbers, or 8192 sequences, and then runs these in groups
        of similar length, whose values have at most 2 million numbers each, or one sequence if that is larger. Where
        the model takes no ``lengths``, a group has sequences of one length only. No state is kept in the model, and
        any number of threads may map.

        Examples
        --------
        >>> import numpy as np, fastgru
        >>> weights = {"gru.weight_ih": np.ones((6, 3), np.float32), "gru.weight_hh": np.ones((6, 2), np.float32)}
        >>> model = fastgru.from_torch(weights, layers=["gru"])
        >>> [y.shape for y in model.map(np.zeros((steps, 3)) for steps in (4, 9, 2))]
        [(4, 2), (9, 2), (2, 2)]
        """
        from .ragged.mapping import map_sequences
        from .ragged.runs import ModelRuns

        return map_sequences(ModelRuns(self), sequences, lengths, offsets, n_threads, progress)

    def _structured(self, values: Mapping[int, Array], single: bool) -> Any:
        """Outputs in the model's structure; one that stands in it twice is two arrays."""
        if isinstance(self._graph.outputs, int):
            return values[self._graph.outputs][0] if single else values[self._graph.outputs]
        left = dict(values)

        def take(place: int) -> Array:
            array = left.pop(place) if place in left else values[place].copy()
            return np.asarray(array[0]) if single else array

        return rebuilt(self._graph.outputs, take)

    def _by_name(
        self, inputs: tuple[Any, ...], named: Mapping[str, Any], sources: Sequence[Source] | None = None
    ) -> dict[str, Any]:
        return by_name(self._sources if sources is None else sources, inputs, named, self._spec is not None)

    def _run(
        self, given: Mapping[str, Any], lengths: Any
    ) -> tuple[dict[int, Array], dict[int, NDArray[np.bool_] | None], bool]:
        """Outputs by their places, which of their elements lie within lengths, and whether there was no batch axis."""
        arrays, single = self._prepared(given)
        ends = None
        if lengths is not None:
            layers = self._spec is not None
            ends = lengths_by_symbol(self._sources, arrays, lengths, self._graph, self._analysis, single, layers)
            fixed = {source.symbol for source in self._sources if source.has_fixed_steps}
            self._runner.check_tables({name: ends[name] for name in ends.keys() - fixed}, only_ones=layers)
        elif (made := self._blocks.run(self, arrays)) is not None:
            return made, dict.fromkeys(made), single
        with np.errstate(all="ignore"):  # NaN and overflows are results like others
            values, real = self._runner(arrays, ends)
        return self._runner.apart(values, arrays), real, single

    def _prepared(
        self, given: Mapping[str, Any], sources: Sequence[Source] | None = None
    ) -> tuple[dict[str, Array], bool]:
        return prepared(self._sources if sources is None else sources, given, self._dtype, self._spec is not None)

    def astype(self, precision: Precision) -> Model:
        """The same layers with weights of another precision, rounded from those that were given; see ``GRU.astype``."""
        sources = read_again(matrices_of(self._graph), precision, self.precision)  # noqa: F841 - kept while they are asked
        backend = None if precision == "float64" else self._options["backend"]
        return _rebuild(self.description, {**self._options, "precision": precision, "backend": backend})

    def with_any_size(self) -> Model:
        """The same model with the sizes open that its file fixed although no number in it can come from them.

        Use it where you know the code: what it did by an ``if``, a loop or a cut leaves no trace in such a file.

        Raises
        ------
        UnsupportedModelError
            There is no such size, or the graph may know it; the message names the operation.
        """
        return _rebuild(with_any_size(self._graph), self._options)

    def save(self, path: str | os.PathLike[str], *, precision: Precision | None = None, packed: bool = False) -> None:
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
            float32, or float64 where they were given so, whatever this model computes in; those that it has rounded
            are read again, as ``GRU.astype`` does it.
        packed : bool, optional
            Write the matrices of GRUs packed for the kernels of this machine, to be mapped by all processes that load
            the file: see ``GRU.save``.

        Raises
        ------
        UnsupportedModelError, CheckpointError, FastGRUError
            As by ``GRU.save``.

        Examples
        --------
        >>> import os, tempfile, numpy as np, fastgru
        >>> from fastgru.layers import Dense, GRULayer, GRUWeights, sequential
        >>> w_ih, w_hh, bias = np.ones((6, 3), np.float32), np.ones((6, 2), np.float32), np.zeros(6, np.float32)
        >>> gru = GRULayer(fastgru.GRUSpec(((GRUWeights(w_ih, w_hh, bias, bias),),)))
        >>> model = fastgru.Model(sequential([("gru", gru), ("out", Dense(np.ones((4, 2), np.float32)))]))
        >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
        >>> model.save(path)
        >>> x = np.ones((5, 7, 3))
        >>> bool((fastgru.load(path)(x) == model(x)).all())
        True
        """
        from .saved.saving import save_model

        save_model(self, path, precision, packed)

    @once
    def _streamed(self) -> Streamed:
        """The graph some steps at a time, which all streams share."""
        return streamed(self._runner)

    def stream(self, batch: int = 1, **first: ArrayLike) -> ModelStream:
        """A stream of single steps, where every layer needs only the steps so far.

        What it gives at each step is what the model gives for the sequence up to that step. GRUs keep their states,
        causal convolutions and pools their last inputs.

        Parameters
        ----------
        batch : int
            Streams that step together.
        **first : array_like
            Inputs that only the first states of GRUs are computed from, as of a model that takes and gives them.

        Raises
        ------
        UnsupportedModelError
            A layer has no single step; the message names it and says why.
        ShapeError
            An input that first states are computed from is missing, or does not fit.

        Examples
        --------
        >>> import numpy as np, fastgru
        >>> from fastgru.layers import Conv1D, GRULayer, GRUWeights, sequential
        >>> weights = GRUWeights(np.ones((6, 3)), np.ones((6, 2)), np.zeros(6), np.zeros(6))
        >>> gru = GRULayer(fastgru.GRUSpec(((weights,),)))
        >>> model = fastgru.Model(sequential([("conv", Conv1D(np.ones((3, 3, 5)), padding="causal")), ("gru", gru)]))
        >>> stream, x = model.stream(), np.ones((1, 4, 3), np.float32)
        >>> steps = [stream.step(x[:, t]) for t in range(4)]
        >>> bool((np.stack(steps, axis=1) == model(x)).all())
        True
        """
        return ModelStream(self, batch, **first)

    def pool(self, capacity: int) -> Pool:
        """Up to ``capacity`` streams, of which any may join, step together and leave at any time; see ``Pool``."""
        return Pool(self, capacity)

    def __repr__(self) -> str:
        if self._spec is None:
            lines = [f"  {name}: {text}" for name, text in self.inputs.items()]
            lines += [f"  {node.name}: {node.operation.described()}" for node in self._graph.nodes]
        else:
            lines = [f"  {node.name}: {node.layer.described()}" for node in self._spec.nodes]
            if self._spec.output_names is not None:
                lines.append(f"  outputs: {', '.join(map(repr, self._spec.output_names))}")
        if self.precision != "float32":
            lines.append(f"  precision={self.precision!r}")
        return "\n".join(["Model(", *lines, ")"])

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.description, self._options)


def _rebuild(model: ModelSpec | Graph, options: dict[str, Any]) -> Model:
    return Model(model, **options)
