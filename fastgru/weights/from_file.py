"""The file that a model was loaded from, for weights that the model has rounded: read again when they are asked for.

Owns the reading, and that a model does not write over what it would read. Whether the matrices are still those that
were rounded is for each of them to say (``Kept``), so the file may have been touched, copied or moved back meanwhile.
What a file holds is for readers and importers.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import ref

from ..errors import CheckpointError, FastGRUError, UnsupportedModelError
from ..origin import are_same
from ..records.fields import Fields
from ..records.record import owned
from .matrices import Handle, Matrix
from .records import handle_of

if TYPE_CHECKING:
    from ..graph.graph import Graph
    from ..gru_weights import GRUSpec
    from ..layers import ModelSpec

__all__ = ["FromFile", "check_is_kept", "handed_over", "hold_rest", "matrices_of"]


class _Matrices(list[Any]):
    """A list that can be referred to weakly."""


class FromFile(Fields):
    """A file and how it was loaded."""

    path: str
    part: str | None
    layers: Any
    strict: bool

    def matrices(self) -> Sequence[Any]:
        """Its matrices in order, as long as somebody holds them the same ones.

        Raises
        ------
        CheckpointError
            The file is gone, or holds another model.
        """
        known = self.__dict__.get("_known", lambda: None)()
        if known is not None:
            return known  # type: ignore[no-any-return]
        try:
            spec = self._spec()
        except (CheckpointError, UnsupportedModelError) as error:
            raise CheckpointError(
                f"the weights as they were before rounding are read again: {error}; put the file back, load the model "
                "from another, or save it in the precision that it has"
            ) from error
        made = _Matrices(matrix for _, matrix in matrices_of(spec))
        self.__dict__["_known"] = ref(made)
        return made

    def _spec(self) -> GRUSpec | ModelSpec | Graph:
        """What it was loaded as; or, where a model was saved in its place since, what that describes itself as."""
        from ..checkpoint.reading import read_for_model
        from ..importers.resolve import examined

        try:
            return examined(read_for_model(self.path, self.part), self.layers, self.strict)[0]
        except (CheckpointError, UnsupportedModelError):
            if self.part is not None or self.layers is not None:
                with suppress(CheckpointError, UnsupportedModelError):
                    saved = read_for_model(self.path)
                    if saved.format == "fastgru":
                        return examined(saved)[0]
            raise

    def __getstate__(self) -> dict[str, Any]:
        return self.fields()


def check_is_kept(spec: GRUSpec | ModelSpec | Graph, path: str, precision: str | None) -> None:
    """Raise where writing a model in a precision would replace the file that alone has its weights before rounding."""
    if precision is None:
        return
    for name, matrix in matrices_of(spec):
        source = matrix.source if isinstance(matrix, Matrix) and matrix.is_rounded else None
        if source is not None and are_same(source[0].path, path) and not matrix.form(precision, name).exact:
            raise FastGRUError(
                f"{path}: the model was loaded from this file, which alone has {name} and its other weights as they "
                f"were before rounding; in {precision} they would be lost: save under another name and move that file "
                "here, or save without a precision, which keeps them"
            )


def handed_over(spec: GRUSpec | ModelSpec | Graph, source: FromFile | None = None) -> GRUSpec | ModelSpec | Graph:
    """A description for one model alone: what it holds is let go when the model has packed it."""
    from ..layers.grus import owned_graph

    made: dict[Any, Any] = {}
    for number, (name, matrix) in enumerate(matrices_of(spec)):
        handle_of(matrix, made, name, None if source is None else (source, number), passes=True)
    if isinstance(spec, tuple):  # a Graph
        return owned_graph(spec, made)
    return owned(spec, made)  # type: ignore[no-any-return]


def hold_rest(spec: ModelSpec | Graph) -> None:
    """Have all matrices in memory that a model has not packed, because nothing of it needs them."""
    for _, matrix in matrices_of(spec):
        if isinstance(matrix, Handle):
            matrix.hold()


def matrices_of(spec: GRUSpec | ModelSpec | Graph) -> list[tuple[str, Any]]:
    """All matrices of a description, after their names."""
    from ..layers.grus import matrices_in

    return [(name, matrix) for name, matrix in matrices_in(spec) if matrix is not None]
