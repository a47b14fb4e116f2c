"""State dicts of small networks: by the ``layers=`` line that an error suggests, and by the one that is right.

A statement of the network and what stands for it in the line lie beside each other; ``None`` is what no line says.
"""

from __future__ import annotations

import os
import random
import re
import tempfile
from collections.abc import Iterator
from typing import Any

import torch
from case import Outcome
from shrink import replaced, shortened
from torch_check import Comparison
from torch_numbers import reason
from torch_script import written
from torch_source import built, folder, forget, of_chain

import fastgru
from fastgru.errors import FastGRUError

__all__ = ["States"]

_NAMES = {"fastgru": fastgru, "Ellipsis": ...}


class States:
    name = "torch states"

    def generate(self, rng: random.Random) -> dict[str, Any]:
        return _Network(rng).case()

    def check(self, case: dict[str, Any]) -> Outcome:
        with tempfile.TemporaryDirectory(dir=folder()) as place:
            path = os.path.join(place, "model.pt")
            try:
                module = built(case)
                torch.save(module.state_dict(), path)
            except Exception as error:
                return Outcome("skipped", reason(error))
            finally:
                forget()
            outcomes = []
            for title, line in (("suggested", None), ("right", _line(case))):
                found = self._loaded(case, module, path, place, line) if line or title == "suggested" else None
                if found is not None and found.kind == "wrong":
                    return found._replace(defect=f"{title}: {found.defect}")
                outcomes += [found] if found is not None else []
        return outcomes[-1]

    def _loaded(self, case: dict[str, Any], module: torch.nn.Module, path: str, place: str,
                line: str | None) -> Outcome:
        """What comes of the line; where there is none of the one that the error suggests."""
        if line is None:
            try:
                made = fastgru.load(path)
            except FastGRUError as error:
                line = _suggested(str(error))
                if line is None:
                    return Outcome("refused", reason(error))
            except Exception as error:
                return Outcome("wrong", f"load: {type(error).__name__}: {error}", f"load: {type(error).__name__}")
            else:
                if isinstance(made, fastgru.GRU):
                    return Outcome("refused", "the weights of one GRU alone are that GRU")
        layers = None if line is None else eval(line, _NAMES)
        compared = Comparison(
            case, module, lambda **options: fastgru.load(path, layers=layers, **options), place, module
        )
        found = compared.outcome()
        return found._replace(detail=f"layers={line}: {found.detail}") if found.kind == "wrong" else found

    def smaller(self, case: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for pairs in shortened(list(zip(case["body"], case["items"], strict=True)), 1):
            body, items = [one for one, _ in pairs], [other for _, other in pairs]
            text = "\n".join(body)
            modules = {name: each for name, each in case["modules"].items() if f"self.{name}(" in text}
            first = next(iter(modules.values()), "")
            fits = re.findall(r"\d+", first.partition("(")[2])
            inputs = [["x", "ids", 9]] if first.startswith("nn.Embedding") else [["x", "sequence",
                                                                                  int(fits[0])]] if fits else None
            if inputs:
                yield {**case, "body": body, "items": items, "modules": modules, "inputs": inputs}
        for key in ("sizes", "checks"):
            for items in shortened(case[key]):
                yield replaced(case, key, items)

    def script(self, case: dict[str, Any]) -> str:
        text = written(case, "fastgru.load(path, layers=layers)")
        told = (
            f"right = {_line(case)!r}\ntry:\n    fastgru.load(path)\n"
            "except fastgru.FastGRUError as error:\n    print(error)\n"
            '    line = re.search(r"layers=(\\[.*\\])", str(error))[1]  # as it is printed; or the right one\n'
            "layers = eval(line)\n"
        )
        return "import re\n" + text.replace("model = fastgru.load(path", f"{told}model = fastgru.load(path", 1)


def _line(case: dict[str, Any]) -> str | None:
    if None in case["items"]:
        return None
    parts = [item for item in case["items"] if item]
    return f"[{', '.join(parts)}]" if parts else None


def _suggested(message: str) -> str | None:
    found = re.search(r"layers=(\[.*\])", message)
    return found[1] if found else None


class _Network:
    """A network as people write them: something before the GRU, the GRUs, what is taken of them, layers behind."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.modules: dict[str, str] = {}
        self.body: list[str] = ["y = x"]
        self.items: list[str | None] = [""]
        self.ids = rng.random() < 0.3
        self.features = self.first = rng.randint(2, 6)

    def case(self) -> dict[str, Any]:
        if self.ids:
            self._add(self.rng.choice(["embedding", "emb"]), f"nn.Embedding(9, {self.features})", "self.{}(y)")
        self._before()
        self._recurrent()
        self._behind()
        inputs = [["x", "ids", 9] if self.ids else ["x", "sequence", self.first]]
        return of_chain(self.rng, way="state", modules=self.modules, body=self.body, items=self.items, result="y",
                        inputs=inputs)

    def _add(self, name: str, module: str, call: str, item: str | None = "name") -> None:
        self.modules[name] = module
        self._do(f"y = {call.format(name)}", f'"{name}"' if item == "name" else item)

    def _do(self, statement: str, item: str | None) -> None:
        self.body.append(statement)
        self.items.append(item)

    def _activation(self) -> None:
        statement, item = self.rng.choice([
            ("torch.relu(y)", "relu"), ("torch.tanh(y)", "tanh"), ("F.gelu(y)", "gelu"),
            ("torch.sigmoid(y)", "sigmoid"),
            ("F.log_softmax(y, -1)", "log_softmax"), ("F.silu(y)", "silu"), ("F.softplus(y)", "softplus"),
        ])  # fmt: skip
        self._do(f"y = {statement}", f"fastgru.Activation('{item}')")

    def _before(self) -> None:
        rng, kind, out = self.rng, self.rng.random(), self.rng.randint(2, 5)
        turned = "self.{}(y.transpose(1, 2)).transpose(1, 2)"
        if kind < 0.2:
            options = rng.choice(["", "padding=1", "stride=2", "padding=2, dilation=2", "groups=1", "padding='same'"])
            transposed = rng.random() < 0.1 and "same" not in options
            item = f'fastgru.Named("conv", kind="Conv1d"{", " if options else ""}{options})'
            self._add("conv", f"nn.Conv{'Transpose' * transposed}1d({self.features}, {out}, 3, {options})", turned,
                      None if transposed else item)
            self.features = out
        elif kind < 0.4:
            self._add("proj", f"nn.Linear({self.features}, {out})", "self.{}(y)")
            self.features = out
        elif kind < 0.6:
            n = self.features
            text = rng.choice([f"LayerNorm({n})", f"RMSNorm({n})", f"BatchNorm1d({n})", f"GroupNorm(1, {n})",
                               f"InstanceNorm1d({n}, affine=True)", f"BatchNorm1d({n}, track_running_stats=False)",
                               f"LayerNorm({n}, eps=0.01)", f"BatchNorm1d({n}, eps=0.01)"])  # fmt: skip
            plain = text.startswith(("Layer", "RMS"))
            options = ["eps=0.01"] * ("eps" in text) + ["groups=1"] * text.startswith("Group")
            item = f'fastgru.Named("norm", {", ".join([f"kind={text.partition(chr(40))[0]!r}", *options])})'
            item = None if "track" in text else item
            self._add("norm", f"nn.{text}", "self.{}(y)" if plain else turned, item)
        if rng.random() < 0.3:
            self._activation()

    def _recurrent(self) -> None:
        rng = self.rng
        for number in range(rng.choice([1, 1, 1, 2])):
            hidden, layers, both = rng.randint(2, 5), rng.choice([1, 1, 2]), rng.random() < 0.3
            name = rng.choice(["gru", "rnn"]) if number == 0 else rng.choice(["gru2", "decoder"])
            self.modules[name] = f"nn.GRU({self.features}, {hidden}, {layers}, batch_first=True, bidirectional={both})"
            if number and rng.random() < 0.2:
                self._do("y = y.flip(1)", None)
            self._do(f"y, h = self.{name}(y)", f'"{name}"')
            self.features = hidden * (1 + both)
        choices = [
            ("", ""), ("", ""), ("y[:, -1]", "fastgru.Last()"), ("y.mean(1)", "fastgru.Mean()"),
            ("y.amax(1)", "fastgru.Max()"),
            ("y.sum(1)", "fastgru.Sum()"), ("y[:, 0]", "fastgru.Select(1, 0)"), ("y + 0.1", None),
        ]  # fmt: skip
        choices += [("torch.cat([h[-2], h[-1]], -1)", "fastgru.FinalState()"),
                    ("h[-1]", None)] * 2 if both else [("h[-1]", "fastgru.Last()")]
        statement, item = rng.choice(choices)
        if statement == "h[-1]" and both:
            self.features //= 2
        if statement:
            self._do(f"y = {statement}", item)

    def _behind(self) -> None:
        for number in range(self.rng.choice([0, 1, 1, 1, 2, 2])):
            if self.rng.random() < 0.2:
                kind = self.rng.choice(["LayerNorm", "RMSNorm"])
                self._add(f"norm{number}", f"nn.{kind}({self.features})", "self.{}(y)",
                          f'fastgru.Named("norm{number}", kind="{kind}")')
            if self.rng.random() < 0.3:
                self._activation()
            out = self.rng.choice([1, 2, 3, 4])
            name = f"fc{number}" if number else self.rng.choice(["fc", "linear", "out", "head"])
            self._add(name, f"nn.Linear({self.features}, {out})", "self.{}(y)")
            self.features = out
        if self.rng.random() < 0.2:
            self._activation()
