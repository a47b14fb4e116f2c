"""``fastgru.load``, ``from_torch`` and ``from_keras``: from a file or a live object to something that computes.

Joins reading, importing and the engine, and does none of these itself. Readers and importers are imported when they
are first called, because a program that was only started should not pay for them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast, overload

from .errors import ShapeError
from .gru import GRU
from .gru_weights import GRUSpec
from .load_warnings import warn_of_packing, warn_of_state
from .options import Backend, Precision, check_precision
from .weights.from_file import handed_over
from .weights.stored import CHOICES, FilePrecision, precision_of

if TYPE_CHECKING:
    from .graph.graph import Graph
    from .importers.weights.chain import LayerItem, Layers
    from .importers.weights.named import Named
    from .layers import ModelSpec
    from .model import Model

__all__ = ["from_keras", "from_torch", "load"]

Check = tuple[Any, Any]


@overload
def load(  # type: ignore[overload-overlap]  # a str is a sequence of str too
    path: str | os.PathLike[str],
    *,
    layers: str | Named,
    precision: FilePrecision = ...,
    n_threads: int | None = ...,
    backend: Backend | None = ...,
    strict: bool = ...,
    part: str | None = ...,
    check: Check | None = ...,
) -> GRU: ...
@overload
def load(
    path: str | os.PathLike[str],
    *,
    layers: Sequence[LayerItem],
    precision: FilePrecision = ...,
    n_threads: int | None = ...,
    backend: Backend | None = ...,
    strict: bool = ...,
    part: str | None = ...,
    check: Check | None = ...,
) -> Model: ...
@overload
def load(
    path: str | os.PathLike[str],
    *,
    layers: None = ...,
    precision: FilePrecision = ...,
    n_threads: int | None = ...,
    backend: Backend | None = ...,
    strict: bool = ...,
    part: str | None = ...,
    check: Check | None = ...,
) -> GRU | Model: ...
def load(
    path: str | os.PathLike[str],
    *,
    layers: Layers | None = None,
    precision: FilePrecision = "float32",
    n_threads: int | None = None,
    backend: Backend | None = None,
    strict: bool = True,
    part: str | None = None,
    check: Check | None = None,
) -> GRU | Model:
    """Open a trained model, without the framework that wrote it.

    What the file is follows from its content, never from its name, and nothing in it is imported or called.

    Parameters
    ----------
    path : str or path-like
        A PyTorch file (``torch.save`` of any version from 0.2 on) of a state dict, a training checkpoint or a whole
        module; TorchScript; a ``.pt2`` of ``torch.export``; safetensors, also what ``Model.save`` wrote; ``.npz``;
        Keras files of any version (``.keras``, ``.h5``, ``.weights.h5``); RTNeural's JSON; RNNoise's ``.rnnn``.
    layers : sequence of str, Named or layer, or str or Named, optional
        For a file that holds weights and not the order of its layers: the chain, as prefixes of the file's modules and
        objects for what has no weights: ``["embedding", "gru", fastgru.Last(), "fc"]``. A prefix that holds one 2-D
        weight and no bias is an Embedding where it comes first, and a Linear elsewhere or where only that fits the
        next layer. What weights alone do not say (padding, stride, epsilon, activations) has the defaults of the
        framework; other values are given by ``fastgru.Named("conv", kind="Conv1d", padding=1)`` in place of ``"conv"``.
        Every layer takes and gives (batch, time, features), so a BatchNorm1d normalises the last axis and a Conv1d runs
        over the steps, without transposes between. ``...`` stands, in the line that an error suggests, where the file
        does not say what runs; it is an error too, until it is replaced or taken out. Without ``layers`` such a file
        must hold exactly one GRU stack, and a whole module must be PyTorch's own GRU or Sequential. A name by itself,
        ``layers="encoder"``, is that GRU with its states; other layers are left out with ``strict=False``.
    precision : {"float32", "float64", "float16", "bfloat16", "int8", "stored"}, optional
        What the model computes in; weights are converted. float16, bfloat16 and int8 keep the weights of GRUs in fewer
        bits, and are faster where these outgrow a cache; states and sums are float32 all the same, but int8 rounds what
        meets the weights to bytes, and bfloat16, on processors that multiply it, to bfloat16 (see ``GRU``).
        ``"stored"`` is the smallest of these three that the file stores and that keeps every GRU's weights; without one
        it is float64 where the file has all of these weights in float64, and otherwise float32. ``model.precision``
        says which. A file of ``model.save(path, packed=True)`` is computed from as it lies, in the precision that it
        was packed in, which ``"stored"`` is.
    n_threads : int, optional
        At most this many threads for one call; None chooses by the size of the work and the CPUs of the process.
    backend : {"packed", "blas"}, optional
        This package's own kernels, or SciPy's BLAS; None chooses by precision and processor.
    strict : bool, optional
        Whether a tensor that no layer uses is an error. False makes it a ``UserWarning``, and takes a file's only GRU
        stack without ``layers``.
    part : str, optional
        The one state dict or module that is meant, of a file that holds several, by its key or the dotted names on the
        way to it: ``part="ema_state_dict"``, ``part="generator"``. Names in ``layers`` are those within it.
    check : pair of inputs and outputs, optional
        What the framework computed, in eval mode, in the forms that calling the model takes and gives: one output, all
        in order, or a dict of some by name; of a GRU y, or y and h. The model is run on these inputs in float32, or
        float64 with that precision, and must give these outputs within 1e-4 of the largest number of each. A chain
        of ``layers`` fits the weights' shapes whatever activations stand in it: this tells whether it is the right one.
        Give data like that of the training: on noise a trained GRU may make much of a rounding, in every framework.

    Returns
    -------
    GRU or Model
        A GRU, ``(batch, time, input_size)`` to ``(batch, time, directions * hidden_size)`` and the final state, where
        the file is one GRU stack or ``layers`` is the name of one; otherwise a Model, from its first layer's input to
        its last layer's output. A list gives a Model also where it names one GRU. The Model of a ``.pt2`` or of
        TorchScript takes and gives what the module does, with its axes, tuples and dicts.

    Raises
    ------
    CheckpointError
        The file is damaged or not a checkpoint, a tensor is missing, unused or misshapen, or ``layers`` or ``part`` is
        needed; the message then shows what to start from. Or the model does not compute what ``check`` expects.
    UnsupportedModelError
        A layer or an option is not supported; the message names it and where it is. So is a weight that has no float16
        or no int8.

    Notes
    -----
    Files of ``torch.ao.quantization.quantize_dynamic`` store int8, and ``"stored"`` keeps its whole numbers; the steps
    between these may change by a rounding of float32. A matrix is kept where it is 127 or 128 steps away from zero, as
    symmetric quantising makes it. One with a zero point beside zero or of uint8 is in general not, and then the next
    precision is taken that the file has and that keeps it, in most files float32. PyTorch
    rounds what meets such weights too, so its own outputs are up to a few percent off: beyond what ``check`` lets pass,
    and a case for ``fastgru verify --expected`` with ``--tolerance``.

    In a file of Keras weights alone ``layers`` has Keras's names of layers (``.h5``) or their groups (``.weights.h5``:
    ``"gru"`` for ``layers/gru``), and a GRU gives the output of every step, whatever its ``return_sequences`` was. The
    state of a stateful Keras layer is in no file: every call begins with zeros. A functional Keras model runs only
    sequences of the length that its Input names, if it names one; a Sequential runs any.

    Examples
    --------
    A GRU by the names that PyTorch gives its weights, here in an ``.npz`` file:

    >>> import os, tempfile
    >>> import numpy as np
    >>> path = os.path.join(tempfile.mkdtemp(), "gru.npz")
    >>> np.savez(path, weight_ih_l0=np.zeros((6, 3), np.float32), weight_hh_l0=np.zeros((6, 2), np.float32))
    >>> gru = load(path)
    >>> y, h = gru(np.ones((1, 5, 3), np.float32))
    >>> y.shape, h.shape
    ((1, 5, 2), (1, 1, 2))
    """
    from .checkpoint.reading import read_for_model
    from .importers import spec_of
    from .weights.from_file import FromFile

    check_precision(precision, CHOICES)
    checkpoint = read_for_model(path, part)
    spec = spec_of(checkpoint, layers, strict)
    warn_of_state(checkpoint.path, spec)
    kept = precision_of(checkpoint, spec, precision)
    warn_of_packing(checkpoint, spec, kept)
    source = FromFile(os.path.abspath(checkpoint.path), part, layers, strict)
    where, stored = checkpoint.path, checkpoint.stored
    del checkpoint
    spec = handed_over(spec, source)
    return _build(where, spec, kept, n_threads, backend, check, layers is not None, stored)


@overload
def from_torch(  # type: ignore[overload-overlap]
    module_or_state_dict: object,
    *,
    layers: str | Named,
    precision: FilePrecision = ...,
    n_threads: int | None = ...,
    backend: Backend | None = ...,
    strict: bool = ...,
    part: str | None = ...,
    check: Check | None = ...,
) -> GRU: ...
@overload
def from_torch(
    module_or_state_dict: object,
    *,
    layers: Sequence[LayerItem],
    precision: FilePrecision = ...,
    n_threads: int | None = ...,
    backend: Backend | None = ...,
    strict: bool = ...,
    part: str | None = ...,
    check: Check | None = ...,
) -> Model: ...
@overload
def from_torch(
    module_or_state_dict: object,
    example: object,
    *,
    precision: Precision = ...,
    n_threads: int | None = ...,
    backend: Backend | None = ...,
    check: Check | None = ...,
) -> Model: ...
@overload
def from_torch(
    module_or_state_dict: object,
    example: None = ...,
    *,
    layers: None = ...,
    precision: FilePrecision = ...,
    n_threads: int | None = ...,
    backend: Backend | None = ...,
    strict: bool = ...,
    part: str | None = ...,
    check: Check | None = ...,
) -> GRU | Model: ...
def from_torch(
    module_or_state_dict: object,
    example: object = None,
    *,
    layers: Layers | None = None,
    precision: FilePrecision = "float32",
    n_threads: int | None = None,
    backend: Backend | None = None,
    strict: bool = True,
    part: str | None = None,
    check: Check | None = None,
) -> GRU | Model:
    """Take over a live PyTorch module, or its weights; torch itself is not imported.

    Parameters
    ----------
    module_or_state_dict : object
        An ``nn.GRU``, an ``nn.GRUCell`` or an ``nn.Sequential``, each exactly and no class made of it; any other module
        (it must have ``state_dict()``) with ``layers``, because its forward is code, of which only the weights and the
        options of the modules in it count; or a dict of PyTorch's names to tensors or arrays. A scripted or traced
        module is what its file would be: its code is followed. The weights are copied. ``batch_first`` makes no
        difference: fastgru is batch first. Where an ``nn.Sequential`` ends with a GRU, the model gives its outputs and
        then one final state for each layer and direction.
        An ``ExportedProgram`` of ``torch.export`` is taken as it is, for the sizes that it was exported for.
    example : tensor, tuple of the arguments of ``forward``, or dict of them by name, optional
        With it any module in eval mode is taken as its code runs: it is exported with this example (``torch.export``,
        with the GRUs behind an operator of this package, so that the steps stay open), every size that the code does
        not depend on stays open, and the result is compared with the module's own for the example and for other sizes
        before it is given back.
    layers : sequence of str, Named or layer, or str or Named, optional
        The chain of layers, or the name of a GRU, as in ``load``.
    precision, n_threads, backend, strict, part
        As in ``load``; ``"stored"`` is what the tensors of the module have, packed ones of a quantised module too.
        ``part`` is the name of a module within the module, or the key of a state dict in a dict of several.
    check : pair of inputs and outputs, optional
        As in ``load``: ``check=(x, module(x))`` where the module was put into eval mode.

    Returns
    -------
    GRU or Model
        As from ``load``; with an example a Model, which takes and gives what the module does: its axes, tuples, dicts.

    Raises
    ------
    CheckpointError
        A tensor is missing, unused or misshapen, or ``layers`` is needed.
    UnsupportedModelError
        A layer or an operation is not supported, or the module's code cannot be followed; the message names what does
        work, ``fastgru.accelerate`` among it.
    DTypeError
        The argument is neither a module nor a dict of tensors.

    Examples
    --------
    >>> import numpy as np
    >>> gru = from_torch({"weight_ih": np.zeros((6, 3), np.float32), "weight_hh": np.zeros((6, 2), np.float32)})
    >>> gru.hidden_size
    2
    """
    from .importers import spec_of
    from .importers.weights.live import checkpoint_of

    check_precision(precision, CHOICES)
    program = type(module_or_state_dict).__name__ == "ExportedProgram"
    if example is not None or program:
        from .from_module import from_example

        if layers is not None:
            raise ShapeError("from_torch: an example runs the module's own code; leave layers= out")
        return from_example(module_or_state_dict, example, precision, n_threads, backend, check)
    checkpoint = checkpoint_of(module_or_state_dict, part)
    spec = spec_of(checkpoint, layers, strict)
    kept, where, stored = precision_of(checkpoint, spec, precision), checkpoint.path, checkpoint.stored
    del checkpoint
    spec = handed_over(spec)
    return _build(where, spec, kept, n_threads, backend, check, layers is not None, stored)


def from_keras(
    model: object,
    *,
    precision: FilePrecision = "float32",
    n_threads: int | None = None,
    backend: Backend | None = None,
    check: Check | None = None,
) -> GRU | Model:
    """Take over a live Keras model with its weights; Keras itself is not imported.

    Parameters
    ----------
    model : object
        A Sequential or functional model of Keras 3 or ``tf_keras``, or a GRU, a Bidirectional or an RNN of GRUCells by
        itself, which must have been built. It is asked for its configuration and its weights, which are copied; nothing
        else of it is called.
    precision, n_threads, backend
        As in ``load``; ``"stored"`` is what the variables have.
    check : pair of inputs and outputs, optional
        As in ``load``: ``check=(x, model(x))``.

    Returns
    -------
    GRU or Model
        A Model; of a GRU layer, and of a Bidirectional that puts both directions side by side, a GRU, which gives the
        output of every step and the final state whatever ``return_sequences`` and ``return_state`` of the layer are.

    Raises
    ------
    UnsupportedModelError
        A layer or an option is not supported, or the model is of a class of its own.
    DTypeError
        The argument is no Keras model or GRU, or has no weights yet.

    Examples
    --------
    >>> from keras import Input, Sequential, layers  # doctest: +SKIP
    >>> model = Sequential([Input((None, 40)), layers.GRU(8), layers.Dense(2)])  # doctest: +SKIP
    >>> from_keras(model)(np.zeros((1, 100, 40))).shape  # doctest: +SKIP
    (1, 2)
    """
    from .importers import spec_of
    from .importers.keras.live import checkpoint_of, only_gru

    check_precision(precision, CHOICES)
    checkpoint = checkpoint_of(model)
    spec = spec_of(checkpoint)
    warn_of_state(checkpoint.path, spec)
    spec = only_gru(model, cast("GRUSpec | ModelSpec", spec)) or spec
    kept, where, stored = precision_of(checkpoint, spec, precision), checkpoint.path, checkpoint.stored
    del checkpoint
    spec = handed_over(spec)
    return _build(where, spec, kept, n_threads, backend, check, False, stored)


def _build(
    where: str,
    spec: GRUSpec | ModelSpec | Graph,
    kept: Precision,
    n_threads: int | None,
    backend: Backend | None,
    check: Check | None,
    layers_named: bool,
    stored: dict[str, str],
) -> GRU | Model:
    if check is not None:
        from .evaluation.checking import check_model

        wide: Precision = "float64" if kept == "float64" else "float32"  # rounding is not what is in question
        exact = _model(spec, wide, n_threads, backend)
        check_model(exact, check, where, layers_named, sorted(set(stored.values())))
        if wide == kept:
            return exact
    return _model(spec, kept, n_threads, backend)


def _model(
    spec: GRUSpec | ModelSpec | Graph, precision: Precision, n_threads: int | None, backend: Backend | None
) -> GRU | Model:
    if isinstance(spec, GRUSpec):
        return GRU(spec, precision=precision, n_threads=n_threads, backend=backend)
    from .model import Model

    return Model(spec, precision=precision, n_threads=n_threads, backend=backend)
