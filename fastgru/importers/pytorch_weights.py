"""Files and objects with PyTorch's names: a whole module, the one GRU of a state dict, or the chain that is asked for.

Owns that choice, and the errors that tell a person what to ask for instead. What the modules are is for ``pytorch``,
``pytorch_modules`` and ``chain``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..checkpoint.contents import Checkpoint
from ..checkpoint.text import shown
from ..errors import CheckpointError, UnsupportedModelError
from ..spec import GRUSpec, ModelSpec
from . import chain
from .folded import fold
from .options import Options
from .pytorch import Known, Module, modules_of, refuse_parametrised
from .pytorch_layers import checked_gru
from .quantised import unclear
from .tensors import UsedTensors, listed

__all__ = ["spec_from"]

Facts = Mapping[str, Known]


def spec_from(
    checkpoint: Checkpoint, layers: Sequence[chain.LayerItem] | None, strict: bool
) -> tuple[GRUSpec | ModelSpec, list[str]]:
    """What is made of the checkpoint, and the tensors of the file that it does not use.

    ``layers`` goes before what a whole module says of itself. Without it a module whose class is not one of PyTorch's
    own is taken for its weights, like a state dict, with the options of the modules in it.
    """
    where, tree = checkpoint.path, checkpoint.config
    several = checkpoint.metadata.get("several")
    if several and layers is None:
        raise CheckpointError(
            f"{where}: the weights may be at {', '.join(map(shown, several))}; wanted one state dict. Name the "
            "layers of the one you mean by layers=, and pass strict=False; fastgru.read(path) has the names of all"
        )
    facts: dict[str, Known] | None = None
    if tree:
        from .pytorch_modules import known_of, model_of  # 1 ms, which a file of weights alone does not have to pay

        facts = known_of(tree)
    known = chain.known_with(layers, facts)
    folded, sources = fold(checkpoint.tensors, {prefix: facts.options for prefix, facts in known.items()})
    tensors = UsedTensors(folded)
    spec: GRUSpec | ModelSpec | None = None
    if layers is not None:
        spec = chain.model_spec(tensors, layers, where, known)
    elif tree:
        spec = model_of(tree, tensors, where)
    if spec is None:
        prefix = _only_gru(tensors, known, where, strict)
        options = known[prefix].options if prefix in known else {}
        spec = checked_gru(tensors, prefix, Options(options, f"{where}: {prefix!r}"), where)
    return spec, [part for name in tensors.unused() for part in sources.get(name, (name,))]


def _only_gru(tensors: UsedTensors, known: Facts, where: str, strict: bool) -> str:
    """The prefix of the one GRU stack; anything else is an error, whose first line says what is wrong by itself."""
    modules = modules_of(tensors, known)
    stacks = [module.prefix for module in modules.values() if module.kind == "gru"]
    for prefix in stacks:
        refuse_parametrised(tensors, prefix, where)
    for prefix in unclear(tensors):
        raise CheckpointError(
            f"{where}: the two quantised cells of {prefix!r} fit as two layers and as two directions, and nothing in "
            f"the file says which; name it by layers=fastgru.Named({prefix!r}, bidirectional=True), or False"
        )
    if len(stacks) == 1 and (len(modules) == 1 or not strict):
        return stacks[0]
    if not modules:
        raise CheckpointError(f"{where}: holds no tensors, wanted the weights of a GRU")
    found = f"It holds:\n{chain.contents(tensors, modules)}"
    others = [module for module in modules.values() if module.kind in ("lstm", "rnn")]
    if not stacks and others:
        raise UnsupportedModelError(
            f"{where}: holds an {others[0].looks_like} and no GRU; fastgru runs only GRUs\n{found}"
        )
    if not stacks:
        raise CheckpointError(f"{where}: holds no GRU, whose tensors are called like 'weight_hh_l0'\n{found}")
    several = len(stacks) > 1
    named = listed([prefix for prefix in modules if several or prefix != stacks[0]], 8)
    more = "more than one GRU" if several else "more than a GRU"
    reason = f"{where}: holds weights and not the order of its layers, and {more}: {named}"
    raise _unordered(tensors, modules, reason, found)


def _unordered(
    tensors: Mapping[str, np.ndarray], modules: Mapping[str, Module], reason: str, found: str
) -> CheckpointError | UnsupportedModelError:
    """The error for a file of several modules: a line that loads it, or what keeps every line from that."""
    blocking = chain.in_the_way(modules)
    if blocking:
        named = ", ".join(f"{module.prefix!r} ({module.looks_like})" for module in blocking[:8])
        return UnsupportedModelError(
            f"{reason}; not supported: {named}{', ...' if blocking[8:] else ''}\n{found}\n"
            "What runs without these can be loaded: name its layers by layers=, and pass strict=False"
        )
    misfit = chain.misfit(tensors, modules)
    if misfit:
        return CheckpointError(
            f"{reason}; in the file's order they make no chain ({misfit})\n{found}\n"
            "Name those that make one by layers=, in the order in which they run; strict=False leaves out the rest"
        )
    line = chain.suggest(tensors, modules)
    choice = f"{chain.CHOICE}.\n" if "fastgru." in line else ""
    assumed = chain.assumptions(modules)
    return CheckpointError(
        f"{reason}\n{found}\nName the layers in the order in which they run, for example\n  {line}\n{choice}"
        "Other layers without weights, such as fastgru.Activation('relu'), are not in the file: add them"
        f"{'. ' + assumed if assumed else ''}"
    )
