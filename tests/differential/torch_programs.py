"""Random modules as programs: statements are tried on real tensors while they are written, so that most are sound."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterator
from typing import Any

import torch
from shrink import replaced, shortened
from torch_scope import BATCH, OPERATIONS, STEPS, Scope
from torch_source import HEADER, fill
from torch_weighted import conv, embedding, gru, linear, turned_gru

__all__ = ["generated", "has_dead_code", "smaller"]

_CODE = ("scripted", "frozen", "live scripted")  # of which fastgru reads no dict and no loop over the steps
LARGEST = 1e3  # values beyond it are not gone on with


def generated(rng: random.Random, ways: list[str]) -> dict[str, Any]:
    """A case: ``ways`` are what it can be saved as, one of them is taken."""
    while True:
        case = _tried(rng, rng.choice(ways))
        if case is not None:
            return case


def _tried(rng: random.Random, way: str) -> dict[str, Any] | None:
    scope = _Running(rng, way)
    inputs = _inputs(rng, way)
    time_first = rng.random() < 0.15
    for name, kind, *sizes in inputs:
        shape = {"sequence": (BATCH, STEPS, *sizes), "vector": (BATCH, *sizes), "ids": (BATCH, STEPS),
                 "states": (sizes[0], BATCH, sizes[-1])}[kind]  # fmt: skip
        value = torch.randint(0, sizes[0], shape) if kind == "ids" else torch.randn(shape) * 0.8
        scope.add(name, value.transpose(0, 1) if time_first and kind in ("sequence", "ids") else value)
    if inputs[0][1] == "ids":
        scope.run(embedding(scope))
    elif rng.random() < 0.93:
        scope.run(rng.choice([gru, gru, gru, turned_gru, linear, conv])(scope))
    wanted = rng.choice([1, 2, 3, 4, 5, 6, 8, 11])
    for _ in range(3 * wanted):
        if len(scope.body) >= wanted:
            break
        scope.run(scope.proposed())
    outputs = _outputs(rng, scope)
    if not outputs:
        return None
    result = _result(rng, outputs, way)
    case = {"modules": scope.used_modules(), "body": scope.body, "result": result}
    if time_first and not any("nn.GRU(" in text for text in used_modules(case)):
        return None  # nothing says so
    # Exporting takes a second for ten steps of a GRU.
    example = [rng.choice([2, 3, 1]), rng.choice([3, 4, 4] if "exported" in way else [4, 5, 6])]
    if rng.random() < 0.95:
        scope.body = _needed(scope.body, outputs)
    if rng.random() < 0.95:  # what a file does not use it says little of
        used = set(_names("\n".join([*scope.body, result])))
        inputs = [each for each in inputs if each[0] in used] or inputs[:1]
    return {
        "way": way, "inputs": inputs, "time_first": time_first, "modules": scope.used_modules(), "body": scope.body,
        "result": result, "seed": rng.randrange(1 << 30), "example": example,
        "sizes": [[rng.choice([1, 2, 5]), rng.choice([5, 7, 13])], [2, rng.choice([1, 2, 3, 8])], [3, 6]],
        "checks": [name for name, share in _CHECKS.items() if rng.random() < share],
        "decomposed": rng.random() < 0.2,
    }  # fmt: skip


_CHECKS = {"lengths": 0.6, "stream": 0.4, "saved": 0.2, "threads": 0.1, "float64": 0.2}


def _inputs(rng: random.Random, way: str) -> list[list[Any]]:
    kind = rng.random()
    if kind < 0.15:
        return [["ids", "ids", 9]]
    inputs: list[list[Any]] = [["x", "sequence", rng.randint(1, 6)]]
    if kind > 0.85:
        inputs.append(["h", "states", rng.choice([1, 1, 2, 4]), rng.randint(1, 4)])
    elif kind > 0.75:
        inputs.append(["z",
                       rng.choice(["sequence", "vector"] if "exported" in way else ["sequence"] * 5 + ["vector"]),
                       rng.randint(1, 5)])
    elif kind > (0.7 if "exported" in way else 0.74):  # code does not say how many axes an input has
        inputs[0][1] = "vector"
    return inputs


class _Running(Scope):
    """A scope whose statements run as they come."""

    def __init__(self, rng: random.Random, way: str) -> None:
        super().__init__(rng, scripted=way in ("scripted", "frozen", "live"))
        self.body: list[str] = []
        self._made: dict[str, Any] = {}
        self._names: dict[str, Any] = {"self": _Self(self._made)}
        exec(HEADER, self._names)
        self._order = list(OPERATIONS)
        self._weights = [weight for weight, _ in OPERATIONS]

    def add(self, name: str, value: torch.Tensor) -> None:
        self.values[name] = self._names[name] = value

    def proposed(self) -> str | None:
        (chosen,) = self.rng.choices(self._order, self._weights)
        return chosen[1](self)

    def run(self, statement: str | None) -> None:
        """Take a statement where it runs and gives sound numbers."""
        if statement is None:
            return
        before = set(self.modules)
        names = dict(self._names)
        try:
            with torch.no_grad():
                for name, text in self.modules.items():
                    if name not in self._made:
                        self._made[name] = eval(text, self._names)
                        if isinstance(self._made[name], torch.nn.Module):
                            fill(self._made[name].eval())
                        elif isinstance(self._made[name], torch.Tensor):
                            self._made[name].uniform_(-1, 1)
                exec(statement, names)
        except Exception:
            self._forget(before)
            return
        fresh = {name: each for name, each in names.items() if self._names.get(name) is not each and name[:1] in "von"}
        tensors = {name: each for name, each in fresh.items() if isinstance(each, torch.Tensor)}
        if any(not self._is_sound(each) for each in tensors.values()):
            self._forget(before)
            return
        self.body.append(statement)
        self._names = names
        self.numbers += [name for name, each in fresh.items() if name.startswith("n") and type(each) in (int, float)]
        self.values.update({name: each for name, each in tensors.items() if each.dim()})

    def _is_sound(self, value: torch.Tensor) -> bool:
        if value.numel() > 200_000 or not value.numel():
            return False
        return not value.is_floating_point() or bool(value.abs().max() < LARGEST)

    def _forget(self, before: set[str]) -> None:
        for name in set(self.modules) - before:
            del self.modules[name]
            self._made.pop(name, None)

    def used_modules(self) -> dict[str, str]:
        text = "\n".join(self.body)
        return {name: each for name, each in self.modules.items() if f"self.{name}" in text}


def _needed(body: list[str], outputs: list[str]) -> list[str]:
    """The statements that the outputs come of, and those that change a value of theirs in place."""
    needed, kept = set(outputs), []
    for statement in reversed(body):
        made = _made(statement)
        changes = set(re.findall(r"(\w+)\.\w+_\(", statement)) | set(re.findall(r"^(\w+)(?:\[.*\])? [-+*/]?= ",
                                                                                statement))
        if needed & (set(made) | changes):
            kept.append(statement)
            needed |= set(_names(statement))
    return kept[::-1]


def has_dead_code(case: dict[str, Any]) -> bool:
    """Whether PyTorch runs statements, and may fail in them, of which nothing comes, or no more than a size."""
    body = _without_sizes(case["body"])
    return case["way"] != "state" and len(_needed(body, _names(case["result"]))) < len(body)


def _without_sizes(body: list[str]) -> list[str]:
    return [re.sub(r"\b\w+\.(size\([^()]*\)|shape(\[[^\]]*\])?|dim\(\)|ndim)", "0", line) for line in body]


def used_modules(case: dict[str, Any]) -> list[str]:
    """The modules whose numbers the result comes of; all of a case without statements."""
    if "body" not in case:
        return list(case["modules"].values())
    used = " ".join(_needed(_without_sizes(case["body"]), _names(case["result"])))
    return [text for name, text in case["modules"].items() if re.search(rf"self\.{name}\b", used)]


class _Self:
    def __init__(self, made: dict[str, Any]) -> None:
        self._made, self.training = made, False

    def __getattr__(self, name: str) -> Any:
        try:
            return self._made[name]
        except KeyError:
            raise AttributeError(name) from None


def _outputs(rng: random.Random, scope: Scope) -> list[str]:
    made = [name for name, each in scope.values.items() if name.startswith("v") and each.is_floating_point()]
    if not made:
        return []
    usual = [name for name in made if BATCH in scope.values[name].shape[: 1 if rng.random() < 0.8 else 3]]
    outputs = [(usual or made)[-1]]
    while rng.random() < 0.3:
        outputs.append(rng.choice(usual or made))
    return list(dict.fromkeys(outputs))


def _result(rng: random.Random, outputs: list[str], way: str) -> str:
    if len(outputs) == 1 and rng.random() < 0.9:
        return outputs[0]
    kind = rng.random()
    if kind < (0.02 if way in _CODE else 0.1):
        return f"{{{', '.join(f'{chr(34)}{name}{chr(34)}: {name}' for name in outputs)}}}"
    if kind < 0.2:
        return f"[{', '.join(outputs)}]"
    if kind < 0.3 and len(outputs) > 2:
        return f"{outputs[0]}, ({', '.join(outputs[1:])})"
    return f"({', '.join(outputs)},)"


def smaller(case: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Fewer statements, outputs, sizes and checks; a statement that is left out leaves its value to another."""
    names = _names(case["result"])
    needed = _needed(case["body"], names)
    if len(needed) < len(case["body"]):
        yield _trimmed(replaced(case, "body", needed))
    for key in ("sizes", "checks"):
        for items in shortened(case[key]):
            yield replaced(case, key, items)
    if len(names) > 1 or case["result"] not in names:
        for name in names:
            yield replaced(case, "result", name)
    others = [*(name for name, *_ in case["inputs"]), *(name for line in case["body"] for name in _made(line))]
    for name in others:
        if names and name != case["result"]:
            yield _trimmed(replaced(case, "result", name))
    for place in reversed(range(len(case["body"]))):
        line = case["body"][place]
        rest = case["body"][:place] + case["body"][place + 1 :]
        for source in dict.fromkeys(name for name in _names(line) if name not in _made(line)):
            yield _trimmed({**case, "body": [_renamed(each, _made(line), source) for each in rest],
                            "result": _renamed(case["result"], _made(line), source)})  # fmt: skip
        yield _trimmed(replaced(case, "body", rest))
    if case["time_first"]:
        yield replaced(case, "time_first", False)
    if case["example"] != [2, 5]:
        yield replaced(case, "example", [2, 5])
    if case.get("decomposed"):
        yield replaced(case, "decomposed", False)
    yield from _fewer_inputs(case)


def _fewer_inputs(case: dict[str, Any]) -> Iterator[dict[str, Any]]:
    text = "\n".join([*case["body"], case["result"]])
    for inputs in shortened(case["inputs"], 1):
        if set(_names(text)) & {name for name, *_ in case["inputs"]} <= {name for name, *_ in inputs}:
            yield replaced(case, "inputs", inputs)


def _names(text: str) -> list[str]:
    return list(dict.fromkeys(re.findall(r"(?<![\w.'\"])(?:[von]\d+|x|h|z|ids)\b(?!['\"(])", text)))


def _made(line: str) -> list[str]:
    """What a statement assigns."""
    found: list[str] = []
    for node in ast.walk(ast.parse(line)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id != "t":
            found.append(node.id)
    return list(dict.fromkeys(found))


def _renamed(text: str, names: list[str], source: str) -> str:
    for name in names:
        text = re.sub(rf"(?<![\w.'\"]){name}\b", source, text)
    return text


def _trimmed(case: dict[str, Any]) -> dict[str, Any]:
    """Without modules that nothing uses."""
    text = "\n".join(case["body"])
    return {**case, "modules": {name: each for name, each in case["modules"].items() if f"self.{name}" in text}}
