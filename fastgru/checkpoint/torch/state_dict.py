"""Where the weights are in what a PyTorch file holds, and what each is called once nesting and wrappers are gone.

Owns the choice among the usual places of a state dict or a whole module; it is a choice only if exactly one place
fits. If several do, all are taken by their full names, unless ``part`` says which. Every walk is iterative and bounded,
because a file may nest and share its values without end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ...errors import CheckpointError
from ...records.fields import Fields
from ..parts import listed_parts, part_of
from ..pickle.inert import Stub, entries_of
from ..text import shown
from .modules import MAX_DEPTH, as_module, class_of, module_entries, module_tree
from .packed import packed_entries
from .tensors import TensorRecord

__all__ = ["StateDict", "find_state_dict"]

CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "module", "generator", "ema", "weights")
# Beside the weights in a training checkpoint, holding tensors that are not weights.
NOT_WEIGHTS = frozenset(
    ("optimizer", "optimizers", "optimizer_state_dict", "optimizer_states", "optim", "optim_state_dict", "scheduler",
     "schedulers", "scheduler_state_dict", "lr_scheduler", "lr_schedulers", "scaler", "grad_scaler", "rng_state",
     "callbacks", "loops", "hyper_parameters", "datamodule_hyper_parameters")
)  # fmt: skip
PARAMETER = r"(weight|bias)(_(ih|hh|g|v|orig|mask)(_l\d+)?(_reverse)?)?$"
WRAPPERS = ("module.", "_orig_mod.")  # DataParallel, torch.compile

MAX_ENTRIES = 200_000
MAX_CONTAINERS = 4  # one in another: each is looked through
MAX_NAME = 4096
MAX_CHARACTERS = 16 << 20  # of all names together
TOP = "the top level"


class StateDict(Fields):
    """What was chosen: records by final name, where they were, and what else is in the file.

    ``modules`` is the tree of classes and options where whole modules hold the weights, ``whole`` the class of the one
    that is the model, ``several`` the places that may all be meant, where these are more than one.
    """

    container: str
    tensors: dict[str, TensorRecord]
    skipped: list[str]
    modules: dict[str, Any] | None = None
    whole: str = ""
    several: Sequence[str] = ()


def find_state_dict(root: Any, where: str, part: str | None = None) -> StateDict:
    """The one state dict, or the one whole module, in the tree ``root``; or several, by names that begin with theirs.

    ``part`` is the dotted name of the one that is meant, from the top or from the container that is entered.

    Raises
    ------
    CheckpointError
        There is none, or no such part.
    """
    found = _descend(root, where, part)
    node, path, skipped, several = found.node, found.path, found.skipped, found.several
    tensors = _flatten(node, at_top=not path, skipped=skipped, where=where)
    if not tensors:
        raise CheckpointError(f"{where}: it holds no tensors; wanted a state dict, as model.state_dict() gives")
    container, module = ".".join(path), as_module(node)
    if module is not None:
        return StateDict(container, tensors, skipped, module_tree(module, where), class_of(module))
    if any(as_module(value) for value in (entries_of(node) or {}).values()):
        return StateDict(container, tensors, skipped, module_tree(node, where), several=several)
    return StateDict(container, _without_wrappers(tensors, where), skipped, several=several)


class _Place(Fields):
    """Where the weights are: the value that holds them, the way to it, and what was passed by."""

    node: Any
    path: list[str]
    skipped: list[str]
    several: list[str]


def _descend(root: Any, where: str, part: str | None) -> _Place:
    """The way into the tree: to the part that is asked for, and through containers that stand alone."""
    path: list[str] = []
    skipped: list[str] = []
    several: list[str] = []
    node, wanted = root, part
    while True:
        found = None if wanted is None else part_of(node, wanted, lambda value: _below(value, where))
        if found is not None:
            path, node, wanted = [*path, str(wanted)], found, None
        if as_module(node) is not None:
            break
        entries = entries_of(node)
        if entries is None:
            raise _not_a_state_dict(node, ".".join(path) or TOP, where)
        places = _places(entries, where)
        several = [place or ".".join(path) or TOP for place in places] if len(places) > 1 else []
        if None in places:
            break
        prefix = "".join(f"{part}." for part in path)
        skipped += [prefix + _key_text(other) for other in entries if other not in places]
        if several:
            node = {key: value for key, value in entries.items() if key in places}
            break
        path += filter(None, places)
        node = entries[path[-1]]
        if len(path) > MAX_CONTAINERS:
            raise CheckpointError(f"{where}: its containers are nested deeper than {MAX_CONTAINERS}")
    if wanted is not None:
        raise CheckpointError(
            f"{where}: holds no part {shown(wanted)}; it holds {listed_parts(_below(node, where) or {})}"
        )
    return _Place(node, path, skipped, several)


def _places(entries: dict[Any, Any], where: str) -> list[str | None]:
    """Where the weights may be: keys of containers to go into, and None for ``entries`` themselves.

    Beside a container every other dictionary of parameters, and every other module, may be meant as well: the average
    of the weights, say, or the other network of a pair.
    """
    containers = {key for key in CONTAINERS if _holds_weights(entries.get(key))}
    # A tensor at the top makes it a state dict where it is called as parameters are; beside a container there may be
    # others: a best loss, a generator's state, the weights of classes.
    own = any(isinstance(value, TensorRecord) and _names_a_parameter(key) for key, value in entries.items())
    if not containers:
        return [None]
    places: list[str | None] = [None] if own else []
    total = 0  # entries read over all keys: a file may share one dictionary under thousands
    for key, value in entries.items():
        if not isinstance(key, str) or key in NOT_WEIGHTS:
            continue
        is_one, count = (True, 0) if key in containers else _search(value, as_parameters=True)
        total += count
        if total > MAX_ENTRIES:
            raise CheckpointError(f"{where}: beside its weights it has too many dictionaries ({total} entries read)")
        if is_one:
            places.append(key)
    return places


def _below(value: Any, where: str) -> dict[Any, Any] | None:
    """What is within a module or a dictionary by name; None of anything else."""
    module = as_module(value)
    return entries_of(value) if module is None else module_entries(module, where)


def _names_a_parameter(key: Any) -> bool:
    """Whether a key is a dotted name, or one that modules give their parameters."""
    return isinstance(key, str) and ("." in key or re.match(PARAMETER, key) is not None)


def _holds_weights(value: Any) -> bool:
    """A pickled module, or a dictionary with a tensor or a module anywhere in its dictionaries."""
    return _search(value)[0]


def _search(value: Any, as_parameters: bool = False) -> tuple[bool, int]:
    """Whether there is a tensor or a module in a dictionary, and how many entries were read until that was clear.

    ``as_parameters`` counts only tensors that are called as parameters are, and none of an optimizer.
    """
    seen: set[int] = set()
    waiting, count = [value], 0
    while waiting:
        value = waiting.pop()
        if as_module(value):
            return True, count
        entries = entries_of(value)
        if entries is None or id(entries) in seen or len(seen) > MAX_ENTRIES:
            continue
        seen.add(id(entries))
        if as_parameters and _is_optimizer(entries):
            continue
        for key, entry in entries.items():
            count += 1
            if isinstance(entry, TensorRecord):
                if not as_parameters or _names_a_parameter(key):
                    return True, count
            elif isinstance(entry, (dict, Stub)):
                waiting.append(entry)
    return False, count


def _is_optimizer(entries: dict[Any, Any]) -> bool:
    """Whether it is the state dict of one of PyTorch's optimizers, whatever it is called."""
    return "state" in entries and "param_groups" in entries


def _not_a_state_dict(node: Any, place: str, where: str) -> CheckpointError:
    kind = "one tensor" if isinstance(node, TensorRecord) else f"a {type(node).__name__}"
    if isinstance(node, Stub):
        kind = f"an object of class {shown(class_of(node))}"
    return CheckpointError(f"{where}: got {kind} at {shown(place)}, wanted a state dict (a dictionary of tensors)")


def _key_text(key: Any) -> str:
    return key[:MAX_NAME] if isinstance(key, str) else shown(key) if type(key) is not int else str(key)


def _flatten(root: Any, *, at_top: bool, skipped: list[str], where: str) -> dict[str, TensorRecord]:
    """Tensors by dotted name in the file's order; whatever else there is goes to ``skipped`` by name."""
    found: dict[str, TensorRecord] = {}
    steps = characters = 0
    inside = _Inside(where)
    levels = [("", iter((inside.of("", root) or {}).items()))]
    while levels:
        prefix, items = levels[-1]
        key, value = next(items, (None, _END))
        if value is _END:
            levels.pop()
            continue
        name = prefix + _key_text(key)
        steps, characters = steps + 1, characters + len(name)
        if steps > MAX_ENTRIES or characters > MAX_CHARACTERS or len(name) > MAX_NAME:
            raise CheckpointError(f"{where}: its state dict has too many or too long names ({steps} entries read)")
        if isinstance(value, TensorRecord) and isinstance(key, (str, int)):
            if name in found:
                raise CheckpointError(f"{where}: two tensors are called {shown(name)} once nested names are joined")
            found[name] = value
        elif (at_top and not prefix and _is_beside(key, value)) or (below := inside.of(key, value)) is None:
            if entries_of(value) is None and re.match(PARAMETER, name.rpartition(".")[2]):
                raise CheckpointError(
                    f"{where}: {shown(name)} is called as a parameter is, but is not a plain tensor (sparse, on the "
                    "meta device, or an array of NumPy's); save it as a dense tensor on the CPU"
                )
            skipped.append(name)
        elif len(levels) >= MAX_DEPTH:
            raise CheckpointError(f"{where}: its state dict is nested deeper than {MAX_DEPTH}")
        else:
            levels.append((name + ".", iter(below.items())))
    return found


def _is_beside(key: Any, value: Any) -> bool:
    """Whether an entry at the top is not weights but what training keeps beside them."""
    return key in NOT_WEIGHTS or _is_optimizer(entries_of(value) or {})


class _Inside:
    """What is within a value by name: of a dictionary once, of a module as often as it is shared.

    A module that stands in two places is in a state dict twice, so its names are too; they are worked out once.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._modules: dict[int, dict[str, Any]] = {}
        self._seen: set[int] = set()

    def of(self, key: Any, value: Any) -> dict[Any, Any] | None:
        """None of what is no dictionary, has nothing in it, or was looked into before."""
        module = as_module(value)
        if module is not None:
            if id(module) not in self._modules:
                self._modules[id(module)] = module_entries(module, self._where)
            return self._modules[id(module)]
        packed = packed_entries(key, value)
        if packed is not None:
            return packed
        entries = entries_of(value)
        if not entries or id(entries) in self._seen:
            return None
        self._seen.add(id(entries))
        return entries


_END = object()


def _without_wrappers(tensors: dict[str, TensorRecord], where: str) -> dict[str, TensorRecord]:
    """Names without the prefixes that DataParallel and torch.compile put before a whole model, however often."""
    prefixed = True
    while prefixed:
        prefixed = False
        for wrapper in WRAPPERS:
            # A 0-d tensor may stand outside: n_averaged of AveragedModel.
            weights = [name for name, record in tensors.items() if not record.is_scalar]
            if weights and all(name.startswith(wrapper) and name != wrapper for name in weights):
                tensors = _renamed(tensors, partial(_without_prefix, wrapper), where)
                prefixed = True
    # torch.compile of a part of a model leaves its mark in the middle of a name.
    return _renamed(tensors, lambda name: name.replace("._orig_mod.", "."), where)


def _without_prefix(prefix: str, name: str) -> str:
    return name.removeprefix(prefix)


def _renamed(tensors: dict[str, TensorRecord], rename: Callable[[str], str], where: str) -> dict[str, TensorRecord]:
    renamed = {rename(name): record for name, record in tensors.items()}
    if len(renamed) != len(tensors):
        raise CheckpointError(
            f"{where}: with and without the prefixes of DataParallel or torch.compile it has one "
            "tensor twice; save one of the two"
        )
    return renamed
