"""``fastgru.accelerate`` and ``restore``, for programs that keep PyTorch, which is imported when they are called.

``modules`` and ``weights`` are the two files of fastgru that import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..errors import MissingDependencyError
from ..options import Precision

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Accelerated", "accelerate", "restore"]


class Accelerated(NamedTuple):
    """What ``accelerate`` did: the names of the modules that compute here now, and of those that do not, with why."""

    replaced: tuple[str, ...]
    left: tuple[tuple[str, str], ...]


def accelerate(module: nn.Module, *, precision: Precision = "float32", n_threads: int | None = None) -> Accelerated:
    """Let every ``nn.GRU`` and ``nn.GRUCell`` inside a PyTorch module compute here; everything else stays as it is.

    The module is changed in place. Its parameters, ``state_dict``, hooks and inputs stay what they were; weights that
    are loaded or changed later are taken over at the next call, but for those that are changed through ``.data``, which
    PyTorch does not count: most of such changes are seen, and ``accelerate`` called again takes all of them.
    ``torch.compile`` takes a GRU of any class into its graph only where ``torch._dynamo.config.allow_rnn`` is set.

    Parameters
    ----------
    module : torch.nn.Module
        In eval mode, called under ``torch.inference_mode()`` or ``torch.no_grad()``. In training mode, where a gradient
        is asked for, on another device or in another type than float32 PyTorch computes as before, and a warning says
        so once.
    precision : {"float32", "float16", "bfloat16", "int8"}
        What the weights are kept in, as for ``fastgru.GRU``.
    n_threads : int, optional
        As for ``fastgru.GRU``.

    Returns
    -------
    Accelerated
        ``replaced``, the names of the modules that compute here now, and ``left``, those that do not, with the reason.

    Raises
    ------
    DTypeError
        ``module`` is no ``torch.nn.Module``.
    UnsupportedModelError
        It is scripted, or there is no such precision.

    Examples
    --------
    >>> import torch  # doctest: +SKIP
    >>> model = torch.nn.Sequential(torch.nn.GRU(8, 16, batch_first=True)).eval()  # doctest: +SKIP
    >>> accelerate(model)  # doctest: +SKIP
    Accelerated(replaced=('0',), left=())
    """
    _check_torch("accelerate")
    from .modules import replaced

    names, left = replaced(module, precision, n_threads)
    return Accelerated(tuple(names), tuple(left))


def restore(module: nn.Module) -> tuple[str, ...]:
    """Undo ``accelerate``; the names of the modules that PyTorch computes again."""
    _check_torch("restore")
    from .modules import restored

    return tuple(restored(module))


def _check_torch(name: str) -> None:
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{name}: works on modules of PyTorch, which is not installed: pip install torch"
        ) from error
