"""Modules as they are in memory, ``nn.Sequential`` and ``nn.GRU`` above all.

A case is one of ``torch_programs``, or has a ``chain``: what stands in an ``nn.Sequential``, or alone.
"""

from __future__ import annotations

import os
import random
import re
import tempfile
from collections.abc import Iterator
from typing import Any

import torch
import torch_programs
from case import Outcome
from shrink import replaced, shortened
from torch_check import Comparison
from torch_elements import MODULES
from torch_numbers import reason
from torch_scope import BATCH, MOST, RARELY, STEPS
from torch_script import written
from torch_source import arrays_of, built, fill, folder, forget, of_chain, tensors_of

import fastgru

__all__ = ["Live"]


class Live:
    """Modules given to ``from_torch``, or saved whole by pickle."""

    name = "torch live"

    def generate(self, rng: random.Random) -> dict[str, Any]:
        way = rng.choice(["live", "live", "whole", "live scripted"])
        if rng.random() < 0.08:  # by an export, which takes a second
            return torch_programs.generated(rng, ["live example"])
        if rng.random() < (0.3 if way == "live scripted" else 0.05):  # code is refused where it is not followed
            case = torch_programs.generated(rng, [way])
            if rng.random() < 0.5:
                return _subclassed(case)
            return case
        return _chain(rng, way)

    def check(self, case: dict[str, Any]) -> Outcome:
        with tempfile.TemporaryDirectory(dir=folder()) as place:
            try:
                module = built(case)
                if case["way"] == "live scripted":
                    for part in module.modules():  # TorchScript looks rows up without cutting them
                        if isinstance(part, torch.nn.Embedding):
                            part.max_norm = None
                given = torch.jit.script(module) if case["way"] == "live scripted" else module
                path = os.path.join(place, "model.pt")
                if case["way"] == "whole":
                    torch.save(module, path)
            except Exception as error:
                return Outcome("skipped", reason(error))
            finally:
                forget()

            def load(**options: Any) -> Any:
                if case["way"] == "live example":
                    example = tuple(tensors_of(case, arrays_of(case, *case["example"])))
                    return fastgru.from_torch(module, example=example, **options)
                return fastgru.load(path, **options) if case["way"] == "whole" else fastgru.from_torch(given, **options)

            return Comparison(case, module, load, place, module).outcome()

    def smaller(self, case: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if "chain" not in case:
            yield from torch_programs.smaller(case)
            return
        for chain in shortened(case["chain"], 1):
            yield replaced(case, "chain", chain)
        for key in ("sizes", "checks"):
            for items in shortened(case[key]):
                yield replaced(case, key, items)
        if case["way"] != "live":
            yield replaced(case, "way", "live")

    def script(self, case: dict[str, Any]) -> str:
        loads = {"live": "fastgru.from_torch(module)", "live scripted": "fastgru.from_torch(torch.jit.script(module))",
                 "live example": "fastgru.from_torch(module, example=example)"}
        return written(case, loads.get(case["way"], "fastgru.load(path)"))


def _subclassed(case: dict[str, Any]) -> dict[str, Any]:
    """The first GRU of a program becomes what its class is derived from."""
    for name, text in case["modules"].items():
        found = re.fullmatch(r"nn\.GRU\((.*)\)", text)
        if found:
            modules = {other: each for other, each in case["modules"].items() if other != name}
            body = [re.sub(rf"self\.{name}\(", "super().forward(", line) for line in case["body"]]
            return {**case, "modules": modules, "body": body, "base": "nn.GRU", "arguments": found[1]}
    return case


def _chain(rng: random.Random, way: str) -> dict[str, Any]:
    """An nn.Sequential whose modules fit each other, or one module alone."""
    kind = rng.choice(["sequence"] * 5 + ["channels"] * 2 + ["ids"] * 2 + ["vector"] * 2)
    size = 9 if kind == "ids" else rng.randint(1, 6)
    shape = {"sequence": (BATCH, STEPS, size), "channels": (BATCH, size, STEPS), "ids": (BATCH, STEPS),
             "vector": (BATCH, size)}[kind]
    value = torch.randint(0, 9, shape) if kind == "ids" else torch.randn(shape)
    chain: list[str] = []
    time_first = False
    for _ in range(rng.choice([1, 1, 2, 3, 4, 6, 8])):
        text = _next(rng, value)
        if any(int(number) > MOST for number in re.findall(r"\b\d+\b", text)):
            continue  # a weight for each row or step of the example
        if kind == "vector" and re.match(r"nn\.(GRU\(|Conv|MaxPool|AvgPool|Adaptive|Instance)", text):
            continue  # they take (batch, features) for one sequence without a batch
        try:
            module = eval(text, {"nn": torch.nn})
            fill(module.eval())
            with torch.no_grad():
                made = module(value)
        except Exception:
            continue
        chain.append(text)
        time_first = time_first or ("nn.GRU(" in text and "batch_first=True" not in text)
        if isinstance(made, tuple):
            break
        value = made
    if not any(re.search("GRU|Linear|Conv|Norm|PReLU|Embedding", text) for text in chain) and rng.random() < 0.97:
        chain.append(f"nn.Linear({value.shape[-1] if value.shape[-1] <= MOST else 1}, 2)")
    alone = len(chain) == 1 and rng.random() < (0.6 if "GRU" in chain[0] else 0.03)
    nested = len(chain) > 2 and rng.random() < 0.15
    if nested:
        chain = [*chain[:1], f"nn.Sequential({', '.join(chain[1:])})"]
    inputs: list[list[Any]] = [["x", kind, size]]
    if alone and "nn.GRU(" in chain[0] and rng.random() < 0.4:
        states = torch.nn.GRU.__call__(module, value)[1]
        inputs.append(["h", "states", states.shape[0], states.shape[2]])
    chain = chain or ["nn.Identity()"]
    return of_chain(rng, way=way, chain=chain, alone=alone, inputs=inputs, time_first=time_first)


def _next(rng: random.Random, value: torch.Tensor) -> str:
    if not value.is_floating_point():
        return f"nn.Embedding(9, {rng.randint(1, 5)}{rng.choice(['', ', padding_idx=0', ', max_norm=0.5'])})"
    n, channels, out = value.shape[-1], value.shape[1 if value.dim() > 1 else 0], rng.randint(1, 5)
    hidden, layers = rng.randint(1, 5), rng.choice([1, 1, 2, 3])
    gru = f"nn.GRU({n}, {hidden}, {layers}, bidirectional={rng.random() < 0.4}, bias={rng.random() < 0.8}"
    texts = [
        f"nn.Linear({n}, {out})", f"nn.Linear({n}, {out}, bias=False)", f"{gru}, batch_first=True)", f"{gru})",
        f"{gru}, dropout=0.3)",
        f"nn.GRUCell({n}, {out})", f"nn.LayerNorm({n})", f"nn.RMSNorm({n})", "nn.Dropout(0.5)", "nn.Identity()",
        "nn.Flatten()",
        "~nn.Flatten(2)", "~nn.Flatten(0, 1)", "nn.PReLU()", "nn.MaxPool1d(2)", "nn.AvgPool1d(3, 1)",
        "nn.AdaptiveAvgPool1d(1)",
        "nn.AdaptiveMaxPool1d(1)", "nn.Unflatten(1, (1, -1))", "nn.Softmax(1)", "nn.Softmax(-1)", "nn.LogSoftmax(2)",
        "nn.GLU()",
        "nn.GLU(1)", "~nn.Softmax()", "nn.Softmin(1)", f"nn.utils.parametrizations.weight_norm(nn.Linear({n}, {out}))",
        f"nn.Sequential(nn.Linear({n}, {out}), nn.ReLU())", "~nn.MaxPool1d(3, 2, padding=1)", "nn.ZeroPad1d(1)",
        "nn.Dropout1d(0.1)",
        *(rng.choice(MODULES) for _ in range(9)),
    ]  # fmt: skip
    if channels <= MOST or rng.random() < 0.02:
        texts += [
            f"nn.LayerNorm([{channels}, {n}])", f"nn.BatchNorm1d({channels})",
            f"nn.BatchNorm1d({channels}, affine=False)",
            f"nn.Conv1d({channels}, {out}, 3, padding=1)", f"nn.Conv1d({channels}, {out}, 2, stride=2)",
            f"nn.PReLU({channels})",
            f"nn.Conv1d({channels}, {channels}, 3, groups={channels}, padding='same')", f"~nn.GroupNorm(1, {channels})",
            f"~nn.InstanceNorm1d({channels}, affine=True)", f"~nn.ConvTranspose1d({channels}, {out}, 2)",
            f"~nn.BatchNorm1d({channels}, track_running_stats=False)", f"nn.BatchNorm1d({channels}, eps=0.1)",
        ]  # fmt: skip
    while (text := rng.choice(texts)).startswith("~") and rng.random() > RARELY:
        pass  # which fastgru is known to refuse
    return text.removeprefix("~")
