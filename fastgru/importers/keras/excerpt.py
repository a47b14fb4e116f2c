"""``layers=[...]`` for Keras files that describe their own layers: a part of the model, by the names in its config.

For a model with a layer that is not supported, and for one half of it. Every layer is what the config says, with its
options and its masks; the order is the caller's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from ...errors import CheckpointError, DTypeError
from ...layers import Layer, ModelSpec, sequential
from ..tensors import listed
from ..weights.chain import LayerItem
from ..weights.named import Named
from .activations import refuse_doubtful
from .build import Builder
from .config import number_of, snake_case
from .operations import is_operation
from .recurrent import RECURRENT
from .scope import Inputs
from .tree import Part

__all__ = ["advice", "spec_from"]


def spec_from(tree: Part, builder: Builder, layers: Sequence[LayerItem], where: str) -> ModelSpec:
    """The chain of the layers that are named.

    Raises
    ------
    CheckpointError
        The model has no layer of that name, or a word in ``layers`` has another meaning in the Keras that wrote it.
    UnsupportedModelError
        A layer is not supported.
    DTypeError
        ``layers`` is not a list of names and layers, or says what the config says.
    """
    named = {part.entry.path: part for part in _nameable(tree)}
    scope = builder.scope
    source = scope.input("input")
    wires = [source]
    written_by = number_of(tree.entry.version)
    for item in layers:
        refuse_doubtful(item, written_by, written_by, where)
        if isinstance(item, Layer):
            wires = scope.named(snake_case(type(item).__name__)).add(item, wires)
        else:
            part = _named_part(item, named, where)
            if builder.loses_masks and any(wire.mask is not None for wire in wires):
                raise part.entry.unsupported("a mask reaches it, and the layers compute in several types; leave it out")
            wires = builder.made(part).apply(scope.named(part.entry.name), Inputs(wires))
    chain = sequential([(node.name, node.layer) for node in scope.nodes])
    return scope.model([(source, chain.inputs[0].shape)], wires)


def advice(tree: Part, *, live: bool) -> str:
    """How to run a GRU of a model that cannot be loaded whole; nothing where it has none."""
    grus = [part.entry for part in tree.units() if part.entry.class_name in RECURRENT and not part.entry.problem]
    if not grus:
        return ""
    if live:
        path = grus[0].path.split("/")
        return f"; one layer of it is fastgru.from_keras(model{''.join(f'.get_layer({name!r})' for name in path)})"
    return f"; the other layers run by name, as by fastgru.load(path, layers=[{grus[0].path!r}], strict=False)"


def _nameable(tree: Part) -> Iterator[Part]:
    """Every layer and every model in the model."""
    for part in tree.inner:
        if part.entry.class_name != "InputLayer" and not is_operation(part.entry):
            yield part
        if part.graph is not None:
            yield from _nameable(part)


def _named_part(item: object, named: dict[str, Part], where: str) -> Part:
    if not isinstance(item, (str, Named)):
        hint = f"; write {item.__name__}()" if isinstance(item, type) and issubclass(item, Layer) else ""
        raise DTypeError(f"layers= holds {item!r}, wanted layer names and layers such as fastgru.Last(){hint}")
    name = item.prefix if isinstance(item, Named) else item
    if name not in named:
        like = get_close_matches(name, named, 5) or list(named)
        raise CheckpointError(
            f"{where}: layers= names {name!r}, which is not a layer of this file; it holds {listed(like, 8)}"
        )
    if isinstance(item, Named) and (item.kind or item.options):
        raise DTypeError(f"layers= holds {item!r}, but this file says what {name!r} is; write {name!r} alone")
    return named[name]
