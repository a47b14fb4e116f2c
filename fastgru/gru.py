"""The public class ``GRU``: a stack of layers, ready to run. It checks what it is given and hands it to the engine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import threads
from .activations import resolved
from .arrays import as_lengths, as_numbers, as_sequences, bytes_held
from .engine.pack import release_freed
from .errors import ShapeError, UnsupportedModelError
from .gru_plan import plan_of
from .gru_weights import GRUSpec, check_gru
from .options import Backend, Precision, backend_for, check_options, dtype_of, kernel_table
from .records.record import owned
from .weights.matrices import Matrix, read_again

if TYPE_CHECKING:
    from .streams.gru import Stream

__all__ = ["GRU"]

RELEASED_BYTES = 1 << 20  # packed weights from which on the memory that packing took is given back


class GRU:
    """A stack of trained GRU layers.

    A GRU is immutable: any number of threads may call one at the same time. Its kernels know the six activations of
    ``fastgru.activations.GATE_ACTIVATIONS``; with any other one every call computes in the caller's thread, through
    NumPy, and several times slower.

    Parameters
    ----------
    spec : GRUSpec
        The layers and their weights. Most callers get a GRU from ``fastgru.load`` or ``fastgru.from_torch`` instead.
    precision : {"float32", "float64", "float16", "bfloat16", "int8"}
        What is computed with, and the dtype of the results. The last three keep the weights in fewer bits and compute
        in float32 all the same. With int8, inputs are rounded to two bytes and states to one where they meet weights,
        each row by a scale from its own largest number, and a row with an infinity becomes NaN. With bfloat16, inputs
        and states are rounded to bfloat16 where they meet weights, if the kernels multiply pairs of them
        (``avx512_bf16`` and ``amx``), and the errors are then about those of two roundings instead of one. The BLAS
        backend, other activations than the kernels' and more than 65,536 inputs round only the weights.
    n_threads : int, optional
        Threads over the rows of a batch; where there are fewer rows, over directions and units, if a step has enough
        work. None: ``FASTGRU_NUM_THREADS``, or as many as the work pays for.
    backend : {"packed", "blas"}, optional
        ``"packed"`` are this package's own float32 kernels; ``"blas"`` is SciPy's BLAS. None: packed for float32 on a
        processor with a vector unit, otherwise BLAS.

    Raises
    ------
    ShapeError, DTypeError, UnsupportedModelError
        The spec does not fit together, or an argument is not one of those above.

    Examples
    --------
    >>> import numpy as np, fastgru
    >>> weights = {
    ...     "weight_ih_l0": np.zeros((6, 3), np.float32), "weight_hh_l0": np.zeros((6, 2), np.float32),
    ...     "bias_ih_l0": np.ones(6, np.float32), "bias_hh_l0": np.zeros(6, np.float32),
    ... }
    >>> gru = fastgru.from_torch(weights)
    >>> gru
    GRU(3, 2, parameters=42)
    >>> y, h = gru(np.zeros((5, 4, 3)))
    >>> y.shape, h.shape
    ((5, 4, 2), (1, 5, 2))
    """

    def __init__(
        self,
        spec: GRUSpec,
        *,
        precision: Precision = "float32",
        n_threads: int | None = None,
        backend: Backend | None = None,
    ) -> None:
        if not isinstance(spec, GRUSpec):
            raise ShapeError(
                f"GRU takes a GRUSpec, got {type(spec).__name__}; use fastgru.load(path) or fastgru.from_torch(weights)"
            )
        check_gru(spec, "GRU")
        check_options(precision, n_threads, backend)
        self._begin(owned(spec), precision, n_threads, backend)

    @classmethod
    def within(
        cls,
        spec: GRUSpec,
        precision: Precision = "float32",
        n_threads: int | None = None,
        backend: Backend | None = None,
    ) -> GRU:
        """The GRU of a model that owns the spec and has checked it: the model's handles become this GRU's."""
        made = cls.__new__(cls)
        made._begin(spec, precision, n_threads, backend)
        return made

    def _begin(self, spec: GRUSpec, precision: Precision, n_threads: int | None, backend: Backend | None) -> None:
        self._spec = spec
        self._n_threads = threads.check_threads(n_threads)
        self._precision = precision
        self._asked_backend = backend
        self._dtype = dtype_of(precision)
        self._backend = backend_for(precision, self._asked_backend)
        kernels = kernel_table() if self._backend == "packed" else None
        self._plan = plan_of(spec, precision, self._dtype, kernels)
        if self._plan.nbytes >= RELEASED_BYTES:
            release_freed()
        steps = [(3 * each.hidden_size) * (each.input_size + each.hidden_size) for row in spec.layers for each in row]
        self._sizes = (spec.input_size, spec.num_layers * spec.directions, spec.directions)
        self._work_per_step = sum(steps)
        self._team_work = steps[-1]  # of a step of one direction

    spec = property(
        lambda self: self._spec,
        doc="""The layers and their weights, as given: a ``GRUSpec``. Its matrices are made from the packed ones at
        every look, or read from the file again where they were rounded; see ``astype``.""",
    )
    input_size = property(lambda self: self._spec.input_size, doc="Features of a step.")
    hidden_size = property(lambda self: self._spec.hidden_size, doc="Units of a direction of a layer.")
    num_layers = property(lambda self: self._spec.num_layers, doc="Layers, each of one or two directions.")
    bidirectional = property(lambda self: self._spec.directions == 2, doc="Whether every layer has two directions.")
    reset_after = property(lambda self: self._spec.reset_after, doc="Whether r is applied after the product with U_n.")
    precision = property(lambda self: self._precision, doc="What the weights are kept in: one of ``Precision``.")
    dtype = property(lambda self: self._dtype, doc="Of inputs, states and results: float64, or else float32.")
    nbytes = property(lambda self: bytes_held(self.arrays), doc="Bytes of all its weights and biases, in all forms.")
    backend = property(lambda self: self._backend, doc='``"packed"`` or ``"blas"``.')
    n_threads = property(lambda self: self._n_threads, doc="Threads asked for; None leaves it to a rule.")

    @property
    def arrays(self) -> list[NDArray[Any]]:
        """All that it holds: packed weights, biases as given, and what it keeps beside them."""
        biases = [bias for layer in self._spec.layers for each in layer for bias in (each.b_ih, each.b_hh)]
        kept = [array for _, each in self._spec.named_matrices() if isinstance(each, Matrix) for array in each.held()]
        return [*self._plan.arrays, *biases, *kept]

    def __call__(
        self, x: ArrayLike, h0: ArrayLike | None = None, lengths: ArrayLike | None = None
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Run whole sequences.

        Parameters
        ----------
        x : array_like, (batch, steps, input_size) or (steps, input_size)
            Real numbers; C-contiguous arrays of the GRU's precision are used without a copy.
        h0 : array_like, (num_layers * directions, batch, hidden_size), optional
            First states, ordered as in PyTorch: layer 0 forward, layer 0 reverse, layer 1 forward ... Zeros if left
            out. For one sequence (num_layers * directions, hidden_size).
        lengths : array_like of int, (batch,), optional
            How many steps of each row are real, 1 to ``steps``, in any order. No time is spent on the others.

        Returns
        -------
        y : ndarray, (batch, steps, hidden_size * directions)
            The last layer's output at every step; zero beyond a row's length.
        h : ndarray, (num_layers * directions, batch, hidden_size)
            Each row's state after its own last step.

        Raises
        ------
        ShapeError, DTypeError
            An argument does not fit; the message says got and wanted.
        """
        y, h = self._run(x, h0, lengths, sequences=True)
        assert y is not None
        return y, h

    def map(
        self,
        sequences: Any,
        *,
        lengths: ArrayLike | None = None,
        offsets: ArrayLike | None = None,
        n_threads: int | None = None,
        progress: bool = False,
    ) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """Run sequences of unequal length, grouped by length, and give their results in order; see ``Model.map``.

        Parameters
        ----------
        sequences : iterable of array_like, (steps, input_size), or array_like, (total steps, input_size)
            The second with ``lengths`` or ``offsets``: all sequences joined.
        lengths : array_like of int, (sequences,), optional
            The steps of each.
        offsets : array_like of int, (sequences + 1,), optional
            Where each begins, and where the last one ends.
        n_threads : int, optional
            Threads for these sequences; None: as the GRU.
        progress : bool
            Show a bar on standard error while results are taken, if that is a terminal.

        Returns
        -------
        iterator of (y, h)
            What the GRU gives for each sequence alone: (steps, hidden_size * directions) and (num_layers * directions,
            hidden_size). Of no steps y is empty, and h zero.

        Raises
        ------
        ShapeError, DTypeError
            A sequence does not fit; the message has its number.

        Examples
        --------
        >>> import numpy as np, fastgru
        >>> gru = fastgru.from_torch({"weight_ih": np.ones((6, 3)), "weight_hh": np.ones((6, 2))})
        >>> for y, h in gru.map([np.zeros((4, 3)), np.zeros((9, 3))]):
        ...     print(y.shape, h.shape)
        (4, 2) (1, 2)
        (9, 2) (1, 2)
        """
        from .ragged.mapping import map_sequences
        from .ragged.runs import GRURuns

        return map_sequences(GRURuns(self), sequences, lengths, offsets, n_threads, progress)

    def _run(
        self, x: ArrayLike, h0: ArrayLike | None, lengths: ArrayLike | None, sequences: bool
    ) -> tuple[NDArray[Any] | None, NDArray[Any]]:
        """``__call__``, where ``sequences=False`` leaves out y."""
        input_size, state_count, _ = self._sizes
        array, single = as_sequences(x, input_size, self._dtype)
        batch, steps, _ = array.shape
        states = None if h0 is None else self._states(h0, batch, single)
        ends = None if lengths is None else as_lengths(lengths, batch, steps, single)
        if batch == 0:
            y = np.empty((0, steps, self._spec.output_size), self._dtype) if sequences else None
            return y, np.empty((state_count, 0, self.hidden_size), self._dtype)
        n_threads, team = self._threads_of(batch, steps)
        order, ends, shares = threads.order_of(batch, steps, ends, n_threads)
        y, h = self._plan.run(array, states, order, ends, shares, sequences, team)
        if single:
            return (None if y is None else y[0]), h[:, 0]
        return y, h

    def _threads_of(self, batch: int, steps: int) -> tuple[int, int]:
        """Into how many shares a call divides its rows, and how many threads compute each."""
        work = batch * steps * self._work_per_step
        shares = threads.threads_for(self._n_threads, batch, work)
        return shares, threads.team_for(self._n_threads, shares, work, self._sizes[2], self._team_work)

    def _states(self, h0: ArrayLike, batch: int, single: bool) -> NDArray[Any]:
        states = as_numbers(h0, "h0", self._dtype)
        shape = (self._sizes[1], batch, self.hidden_size)
        if single and states.ndim == 2:
            states = states[:, None]
        if states.shape != shape:
            one = f" or ({shape[0]}, {shape[2]})" if single else ""
            raise ShapeError(f"h0: got shape {np.shape(h0)}, wanted {shape}{one}: (layers * directions, batch, hidden)")
        return np.ascontiguousarray(states)

    def stream(self, batch: int = 1) -> Stream:
        """A stream of single steps that keeps its state.

        Parameters
        ----------
        batch : int
            Streams that step together.

        Raises
        ------
        UnsupportedModelError
            The GRU is bidirectional, and its reverse direction would need the steps to come.
        """
        from .streams.gru import Stream

        return Stream(self, batch)

    def astype(self, precision: Precision) -> GRU:
        """The same layers with weights of another precision; this GRU stays as it is.

        Weights are rounded from those that were given. A GRU keeps them once, in its own precision: going to a smaller
        one and back reads them from the file that the GRU was loaded from, and loses nothing. Where there is no such
        file, as after ``from_torch(module, precision="int8")``, it is an error; then keep the wider GRU.

        Parameters
        ----------
        precision : {"float32", "float64", "float16", "bfloat16", "int8"}

        Raises
        ------
        UnsupportedModelError
            There is no such precision, a weight has no float16 or no int8, or this GRU has rounded its weights and no
            file has what they were; the message names the tensor.
        CheckpointError
            The file is gone, or was changed.

        Examples
        --------
        >>> import numpy as np, fastgru
        >>> gru = fastgru.from_torch({"weight_ih": np.ones((6, 3)), "weight_hh": np.ones((6, 2))})
        >>> gru.astype("bfloat16")
        GRU(3, 2, bias=False, precision='bfloat16', parameters=30)
        """
        backend = None if precision == "float64" else self._asked_backend
        sources = read_again(self._spec.named_matrices(), precision, self._precision)  # noqa: F841 - kept while they are asked
        return GRU(self._spec, precision=precision, n_threads=self._n_threads, backend=backend)

    def save(self, path: str | os.PathLike[str], *, precision: Precision | None = None, packed: bool = False) -> None:
        """Write the GRU as one safetensors file that describes itself, for ``fastgru.load`` to read.

        Loading is what decides on the precision to compute in, and on the other options. A file that is there is
        replaced when all is written, and stays as it is where anything fails.

        Parameters
        ----------
        path : str or path-like
        precision : {"float32", "float64", "float16", "bfloat16", "int8"}, optional
            What the matrices are written in; biases are float32, or with float64 as they are. Loaded in this precision
            the file computes as this GRU does in it, bit for bit, and ``fastgru.load(path, precision="stored")`` does
            just that. With int8 each matrix is a tensor of I8 and, under its name and ``.steps``, the float32 scales of
            its rows. Without a precision weights are written in float32, or float64 where they were given so, whatever
            this GRU computes in; what a file had in fewer bits was widened when it was read.
            Weights that this GRU has rounded are read again as ``astype`` does it, unless its own precision is asked
            for.
        packed : bool, optional
            Write the matrices of GRUs packed for the kernels of this machine, in the precision of this GRU, or in
            ``precision`` if it is given. ``fastgru.load(path, precision="stored")`` then maps them and computes from
            the file: processes that load it share one copy, of an Embedding's table too, and start without packing.
            Kernels that read another order pack them again, each process for itself, and loading says so once; a
            version of fastgru that does not know the order refuses it. While a file is mapped no program may cut it or
            write into it, which would end the processes that use it or change their weights. Saving puts a new one in
            its place and leaves the old to them, unless it is another user's; on Windows it cannot be replaced then.

        Raises
        ------
        UnsupportedModelError
            There is no such precision, a weight is beyond it, or was rounded and is in no file; the message has the
            tensor's name.
        FastGRUError
            It cannot be written there, or is the file that alone has the weights as they were before rounding.

        Examples
        --------
        >>> import os, tempfile, numpy as np, fastgru
        >>> gru = fastgru.from_torch({"weight_ih": np.ones((6, 3)), "weight_hh": np.ones((6, 2))})
        >>> path = os.path.join(tempfile.mkdtemp(), "gru.safetensors")
        >>> gru.save(path)
        >>> fastgru.load(path)
        GRU(3, 2, bias=False, parameters=30)
        >>> gru.save(path, precision="bfloat16")
        >>> fastgru.load(path, precision="stored")
        GRU(3, 2, bias=False, precision='bfloat16', parameters=30)
        """
        from .saved.saving import save_model

        save_model(self, path, precision, packed)

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """The weights under PyTorch's names and in its gate order, as new arrays.

        Raises
        ------
        UnsupportedModelError
            The reset is applied before the product, or an activation is not PyTorch's: its GRU cannot say that. Or the
            weights were rounded, and no file has them as they were; see ``astype``.
        """
        spec = self._spec
        named = (resolved(spec.activation), resolved(spec.recurrent_activation))
        if not spec.reset_after or named != (("tanh", {}), ("sigmoid", {})):
            raise UnsupportedModelError(
                "state_dict: PyTorch's GRU has reset_after=True, tanh and sigmoid; this one has "
                f"reset_after={spec.reset_after}, {spec.activation} and {spec.recurrent_activation}"
            )
        sources = read_again(spec.named_matrices(), None, self._precision)  # noqa: F841
        return spec.state_dict()

    def __repr__(self) -> str:
        spec = self._spec
        options = [str(spec.input_size), str(spec.hidden_size)]
        plain = GRUSpec(spec.layers)
        for name in ("num_layers", "bidirectional", "reset_after", "activation", "recurrent_activation", "bias"):
            value = getattr(spec, name) if hasattr(spec, name) else getattr(self, name)
            usual = {"num_layers": 1, "bidirectional": False}.get(name, getattr(plain, name, None))
            if value != usual:
                options.append(f"{name}={value!r}")
        if self._precision != "float32":
            options.append(f"precision={self._precision!r}")
        biases = sum(weights.b_ih.size * (2 if spec.reset_after else 1) for layer in spec.layers for weights in layer)
        options.append(f"parameters={self._work_per_step + biases * spec.bias:,}")
        return f"GRU({', '.join(options)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._spec, self._precision, self._n_threads, self._asked_backend)


def _rebuild(spec: GRUSpec, precision: Precision, n_threads: int | None, backend: Backend | None) -> GRU:
    return GRU(spec, precision=precision, n_threads=n_threads, backend=backend)
