"""Files and objects with PyTorch's names: a whole module, the one GRU of a state dict, or the chain that is asked for.

Owns that choice, and the errors that tell a person what to ask for instead. What the modules are is for ``modules``,
``whole_modules`` and ``chain``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...checkpoint.contents import Checkpoint
from ...checkpoint.text import shown
from ...errors import CheckpointError, UnsupportedModelError
from ...gru_weights import GRUSpec
from ...layers import ModelSpec
from ..tensors import UsedTensors, listed
from . import chain, suggestion
from .folded import fold
from .layers import checked_gru
from .modules import Known, Module, modules_of, refuse_parametrised, without_counters
from .options import Options
from .quantised import unclear

__all__ = ["spec_from"]

Facts = Mapping[str, Known]
Tree = Mapping[str, Any]

BLANKS = f"Replace each ... by what the code of the model runs there, or take it out if that is nothing: {chain.CHOICE}"
CHECK = "check=(x, y) compares the result with what PyTorch gave"
FOLLOWED_LIVE = (
    "To follow its code give an example of its inputs too: fastgru.from_torch(model.eval(), x), a tuple for several"
)
FOLLOWED_FROM_FILES = (
    "To follow its code use the live module, fastgru.from_torch(model.eval(), x), or load the file of "
    "torch.export.save(torch.export.export(model.eval(), (x,)), path), torch.jit.script(model).save(path) or "
    "torch.jit.trace(model, x).save(path)"
)


def spec_from(
    checkpoint: Checkpoint, layers: Sequence[chain.LayerItem] | None, strict: bool
) -> tuple[GRUSpec | ModelSpec, list[str]]:
    """What is made of the checkpoint, and the tensors of the file that it does not use.

    ``layers`` goes before what a whole module says of itself. Without it a module whose class is not one of PyTorch's
    own is an error: what it computes is its code, and not its weights.
    """
    where, tree = checkpoint.path, checkpoint.config
    if layers is None:
        _refuse_several(checkpoint)
    facts: dict[str, Known] | None = None
    if tree:
        from .whole_modules import known_of, model_of  # 1 ms, which a file of weights alone does not have to pay

        facts = known_of(tree, checkpoint.format == "torchscript")
    known = chain.known_with(layers, facts)
    options = {prefix: facts.options for prefix, facts in known.items()}
    folded, sources = fold(without_counters(checkpoint.tensors), options)
    tensors = UsedTensors(folded)
    spec: GRUSpec | ModelSpec | None = None
    if layers is not None:
        spec = chain.model_spec(tensors, layers, where, known)
    elif tree:
        spec = model_of(tree, tensors, where)
    if spec is None:
        prefix = _only_gru(tensors, known, checkpoint, strict)
        spec = checked_gru(tensors, prefix, Options(options.get(prefix, {}), f"{where}: {prefix!r}"), where)
    return spec, [part for name in tensors.unused() for part in sources.get(name, (name,))]


def _refuse_several(checkpoint: Checkpoint) -> None:
    """Raise where several state dicts may be meant."""
    several = checkpoint.metadata.get("several")
    if several:
        within = checkpoint.metadata.get("container")
        tops = {name.partition(".")[0] for name in checkpoint}
        example = next((name for name in several if name in tops), several[-1])
        part = f"{within}.{example}" if within else example
        raise CheckpointError(
            f"{checkpoint.path}: the weights may be at {', '.join(map(shown, several))}; wanted one state dict. Choose "
            f"it by part={part!r} (on the command line --part {part}). For a model whose parts are in several of them, "
            "name its layers by layers=, and pass strict=False to leave out the rest; fastgru.read(path) has all their "
            f"names\n{chain.CHOICE}"
        )


def _only_gru(tensors: UsedTensors, known: Facts, checkpoint: Checkpoint, strict: bool) -> str:
    """The prefix of the one GRU stack; anything else is an error, whose first line says what is wrong by itself."""
    where = checkpoint.path
    modules = modules_of(tensors, known)
    stacks = [module.prefix for module in modules.values() if module.kind == "gru"]
    for prefix in stacks:
        refuse_parametrised(tensors, prefix, where)
    for prefix in unclear(tensors):
        raise CheckpointError(
            f"{where}: the two quantised cells of {prefix!r} fit as two layers and as two directions, and nothing in "
            f"the file says which; name it by layers=fastgru.Named({prefix!r}, bidirectional=True), or False"
        )
    recurrent = [module.prefix for module in modules.values() if _is_recurrent(module)]
    code = _code_of(checkpoint, recurrent)
    if len(stacks) == 1 and (len(modules) == 1 or not strict) and not code:
        return stacks[0]
    if not modules:
        raise CheckpointError(f"{where}: holds no tensors, wanted the weights of a GRU")
    classes = _classes_of(checkpoint)
    found = "\n".join(["It holds:", suggestion.contents(tensors, modules, classes), *_weightless(checkpoint, modules)])
    others = [module for module in modules.values() if module.kind in ("lstm", "rnn")]
    if not stacks and others:
        raise UnsupportedModelError(
            f"{where}: holds an {others[0].looks_like} and no GRU; fastgru runs only GRUs\n{found}"
        )
    if not recurrent:
        raise CheckpointError(f"{where}: holds no GRU, whose tensors are called like 'weight_hh_l0'\n{found}")
    if code:
        followed = FOLLOWED_LIVE if checkpoint.format == "pytorch-live" else FOLLOWED_FROM_FILES
        raise _refused_code(tensors, modules, f"{where}: {code}", classes, found, followed)
    several = len(recurrent) > 1
    named = listed([prefix for prefix in modules if several or prefix != recurrent[0]], 8)
    more = "more than one GRU" if several else "more than a GRU"
    reason = f"{where}: holds weights and not the order of its layers, and {more}: {named}"
    raise _unordered(tensors, modules, reason, classes, found)


def _is_recurrent(module: Module) -> bool:
    """Whether it is a GRU, or of a class of its own with the tensors of one."""
    return module.kind == "gru" or (module.kind == "own" and "weight_hh" in str(module.names))


def _code_of(checkpoint: Checkpoint, recurrent: Sequence[str]) -> str:
    """What runs the GRUs of a whole module, if that is code: the beginning of a sentence that names it and its class.

    Nothing of weights alone, and of PyTorch's own GRUs in dictionaries and lists, which have no forward.
    """
    tree = checkpoint.config
    if not tree or checkpoint.format == "torchscript":  # whose code is in the file
        return ""
    from .whole_modules import GRUS, owner_of

    for prefix in recurrent or [""]:
        path, name = owner_of(tree, prefix)
        if path and name not in GRUS:
            return f"holds {shown(path)}, which part={shown(path)} loads by itself, a module of class {shown(name)}"
        if name and name not in GRUS:
            return f"is a module of class {shown(name)}"
    return ""


def _classes_of(checkpoint: Checkpoint) -> dict[str, str]:
    """The classes that are not PyTorch's, by the path of the module."""
    if not checkpoint.config or checkpoint.format == "torchscript":
        return {}
    from .whole_modules import own_classes

    return own_classes(checkpoint.config)


def _weightless(checkpoint: Checkpoint, modules: Mapping[str, Module]) -> list[str]:
    """A line on the modules without weights that a whole module names."""
    if not checkpoint.config:
        return []
    from .whole_modules import without_weights

    named = [f"{shown(path)} ({kind})" for path, kind in without_weights(checkpoint.config, modules).items()]
    more = f" and {len(named) - 8} more" if len(named) > 8 else ""
    return [f"  without weights: {', '.join(named[:8])}{more}"] if named else []


def _refused_code(
    tensors: Mapping[str, np.ndarray],
    modules: Mapping[str, Module],
    start: str,
    classes: Mapping[str, str],
    found: str,
    followed: str,
) -> CheckpointError:
    """The error for a module of a class of its own: how its code is followed, and what its weights can be used for."""
    gru = next(module for module in modules.values() if _is_recurrent(module))
    name = repr(gru.prefix) if gru.kind == "gru" else f"fastgru.Named({gru.prefix!r}, kind='GRU')"
    rest = ", strict=False" if len(modules) > 1 else ""
    lines = [
        f"{start}, whose forward is code, so that its weights do not say what it computes",
        found,
        f"{followed}; or take its GRU by itself: layers={name}{rest}",
    ]
    line = suggestion.suggest(tensors, modules, classes) if len(modules) > 1 else ""
    if line:
        lines += ["If it is a chain, name the layers in the order in which they run, for example", f"  {line}"]
        lines += [f"{BLANKS}; {CHECK}", suggestion.assumptions(modules)]
    elif len(modules) > 1:
        problem = suggestion.no_line(tensors, modules, classes)
        lines.append(f"No chain is suggested: {problem}; layers= names those that make one. {chain.CHOICE}")
    return CheckpointError("\n".join(filter(None, lines)))


def _unordered(
    tensors: Mapping[str, np.ndarray],
    modules: Mapping[str, Module],
    reason: str,
    classes: Mapping[str, str],
    found: str,
) -> CheckpointError | UnsupportedModelError:
    """The error for a file of several modules: a line that loads it, or what keeps every line from that."""
    tops = list(dict.fromkeys(prefix.partition(".")[0] for prefix in modules if "." in prefix))
    parts = f"\nIf {tops[0]!r} is a network by itself, part={tops[0]!r} loads it alone" if len(tops) > 1 else ""
    problem = suggestion.no_line(tensors, modules, classes)
    if suggestion.unsupported(modules):
        return UnsupportedModelError(
            f"{reason}; {problem}\n{found}\nWhat runs without these can be loaded: name its layers by layers=, and "
            f"pass strict=False. {chain.CHOICE}{parts}"
        )
    if problem:
        return CheckpointError(
            f"{reason}; {problem}\n{found}\nName those that make a chain by layers=, in the order in which they run; "
            f"strict=False leaves out the rest. {chain.CHOICE}{parts}"
        )
    line, assumed = suggestion.suggest(tensors, modules, classes), suggestion.assumptions(modules)
    return CheckpointError(
        f"{reason}\n{found}\nName the layers in the order in which they run, for example\n  {line}\n"
        f"{BLANKS}; {CHECK}{'. ' + assumed if assumed else ''}{parts}"
    )
