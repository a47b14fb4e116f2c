"""``fastgru.load`` and ``fastgru.from_torch``: from a file, or from a live object, to something that computes.

Joins reading, importing and the engine, and does none of these itself. Readers and importers are imported when they
are first called, because a program that was only started should not pay for them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

from .gru import GRU, Backend, Precision
from .model import Model
from .spec import GRUSpec, ModelSpec

if TYPE_CHECKING:
    from .importers.chain import LayerItem

__all__ = ["from_torch", "load"]


@overload
def load(
    path: str | os.PathLike[str],
    *,
    layers: Sequence[LayerItem],
    precision: Precision = ...,
    n_threads: int | None = ...,
    backend: Backend | None = ...,
    strict: bool = ...,
) -> Model: ...
@overload
def load(
    path: str | os.PathLike[str],
    *,
    layers: None = ...,
    precision: Precision = ...,
    n_threads: int | None = ...,
    backend: Backend | None = ...,
    strict: bool = ...,
) -> GRU | Model: ...
def load(
    path: str | os.PathLike[str],
    *,
    layers: Sequence[LayerItem] | None = None,
    precision: Precision = "float32",
    n_threads: int | None = None,
    backend: Backend | None = None,
    strict: bool = True,
) -> GRU | Model:
    """Open a trained model, without the framework that wrote it.

    What the file is follows from its content, never from its name, and nothing in it is imported or called.

    Parameters
    ----------
    path : str or path-like
        A PyTorch state dict (``torch.save``), a safetensors file, or a Keras ``.keras`` file.
    layers : sequence of str or layer, optional
        For a file that holds weights and not the order of its layers: the chain, as prefixes of the file's modules and
        objects for what has no weights: ``["embedding", "gru", fastgru.Last(), "fc"]``. A prefix that holds one 2-D
        weight and no bias is an Embedding where it comes first, and a Linear elsewhere or where only that fits the
        next layer. Without it such a file must hold exactly one GRU stack.
    precision : {"float32", "float64"}, optional
        What the model computes in; weights are converted.
    n_threads : int, optional
        At most this many threads for one call; None chooses by the size of the work and the CPUs of the process.
    backend : {"packed", "blas"}, optional
        This package's own kernels, or SciPy's BLAS; None chooses by precision and processor.
    strict : bool, optional
        Whether a tensor that no layer uses is an error. False makes it a ``UserWarning``, and takes a file's only GRU
        stack without ``layers``.

    Returns
    -------
    GRU or Model
        A GRU, ``(batch, time, input_size)`` to ``(batch, time, directions * hidden_size)`` and the final state, where
        the file is one GRU stack; otherwise a Model, from its first layer's input to its last layer's output.

    Raises
    ------
    CheckpointError
        The file is damaged or not a checkpoint, a tensor is missing, unused or misshapen, or ``layers`` is needed; the
        message then shows the line to start from.
    UnsupportedModelError
        A layer or an option is not supported; the message names it and where it is.
    MissingDependencyError
        A Keras file and no h5py.

    Examples
    --------
    A state dict as PyTorch writes it, here by way of safetensors:

    >>> import os, tempfile
    >>> import numpy as np
    >>> from safetensors.numpy import save_file
    >>> path = os.path.join(tempfile.mkdtemp(), "gru.safetensors")
    >>> save_file({"weight_ih_l0": np.zeros((6, 3), np.float32), "weight_hh_l0": np.zeros((6, 2), np.float32)}, path)
    >>> gru = load(path)
    >>> y, h = gru(np.ones((1, 5, 3), np.float32))
    >>> y.shape, h.shape
    ((1, 5, 2), (1, 1, 2))
    """
    from .checkpoint import read
    from .importers import spec_of

    spec = spec_of(read(path), layers, strict)
    return _build(spec, precision, n_threads, backend)


@overload
def from_torch(
    module_or_state_dict: object,
    *,
    layers: Sequence[LayerItem],
    precision: Precision = ...,
    n_threads: int | None = ...,
    backend: Backend | None = ...,
) -> Model: ...
@overload
def from_torch(
    module_or_state_dict: object,
    *,
    layers: None = ...,
    precision: Precision = ...,
    n_threads: int | None = ...,
    backend: Backend | None = ...,
) -> GRU: ...
def from_torch(
    module_or_state_dict: object,
    *,
    layers: Sequence[LayerItem] | None = None,
    precision: Precision = "float32",
    n_threads: int | None = None,
    backend: Backend | None = None,
) -> GRU | Model:
    """Take over the weights of a live PyTorch module; torch itself is not imported.

    Parameters
    ----------
    module_or_state_dict : object
        An ``nn.GRU``, an ``nn.GRUCell`` or any module (it must have ``state_dict()``), or a dict of PyTorch's names to
        tensors or arrays. The weights are copied. ``batch_first`` makes no difference: fastgru is batch first.
    layers : sequence of str or layer, optional
        The chain of layers where the module is more than one GRU stack, as in ``load``.
    precision, n_threads, backend
        As in ``load``.

    Returns
    -------
    GRU or Model
        As from ``load``.

    Raises
    ------
    CheckpointError
        A tensor is missing, unused or misshapen, or ``layers`` is needed.
    UnsupportedModelError
        A layer is not supported.
    DTypeError
        The argument is neither a module nor a dict of tensors.

    Examples
    --------
    >>> import numpy as np
    >>> gru = from_torch({"weight_ih": np.zeros((6, 3), np.float32), "weight_hh": np.zeros((6, 2), np.float32)})
    >>> gru.hidden_size
    2
    """
    from .checkpoint.contents import Checkpoint
    from .importers import spec_of
    from .importers.live import tensors_of

    tensors = tensors_of(module_or_state_dict)
    spec = spec_of(Checkpoint(type(module_or_state_dict).__name__, "pytorch-live", tensors), layers)
    return _build(spec, precision, n_threads, backend)


def _build(
    spec: GRUSpec | ModelSpec, precision: Precision, n_threads: int | None, backend: Backend | None
) -> GRU | Model:
    if isinstance(spec, GRUSpec):
        return GRU(spec, precision=precision, n_threads=n_threads, backend=backend)
    return Model(spec, precision=precision, n_threads=n_threads, backend=backend)
