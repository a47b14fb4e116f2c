"""What a ``torch.export`` file says of its program as a whole: what it takes, what it gives, and whose code it is.

Owns that part of the schema of its JSON; the operations are for ``file_walk``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...checkpoint.text import shown
from ...errors import UnsupportedModelError
from ...graph.graph import BOOLEAN, FLOAT, INTEGER
from .file_parts import Parts
from .file_sizes import FileInput, size_in_file
from .kinds import KINDS_IN_FILES
from .structures import input_paths

__all__ = ["WEIGHTS", "FileProgram", "is_own", "modules_of"]

WEIGHTS = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}
# Modules of PyTorch's whose options come from their maker, so that no size can have given them.
_OWN = re.compile(
    r"torch\.nn\.modules\.(activation\.(?!Multihead)\w+|conv\.Conv1d|pooling\.\w+|normalization\.(Layer|RMS)Norm"
    r"|batchnorm\.BatchNorm1d|padding\.\w+|flatten\.\w+|dropout\.\w+|linear\.\w+)"
)
# Modules whose code treats all sizes alike.
_OWN_CODE = re.compile(r"torch\.nn\.modules\.(?!transformer|activation\.Multihead)\w+\.\w+")
_NOBODY = "_empty_nn_module_stack_from_metadata_hook"  # of sizes that the exporter itself asks for
_SIZE = "torch.ops.aten.sym_size.int"


class FileProgram:
    """The JSON of one file, its parts checked when they are used."""

    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], where: str) -> None:
        self.where, self.tensors, self.parts = where, tensors, Parts(where)
        module = self.parts.dict(config, "graph_module")
        self.graph = self.parts.dict(module, "graph")
        signature = self.parts.dict(module, "signature")
        self.nodes = self.parts.list(self.graph, "nodes")
        self.sources = self.parts.list(signature, "input_specs")
        self.buffers = self._named_as("buffer") | self._named_as("tensor_constant")
        self.wanted = self._outputs(self.parts.list(signature, "output_specs"))
        calls = module.get("module_call_graph")
        whole = calls[0].get("signature") if isinstance(calls, list) and calls and isinstance(calls[0], dict) else None
        self.calling: Mapping[str, Any] = whole if isinstance(whole, dict) else {}
        self.inputs = self._inputs()

    def _named_as(self, wanted: str) -> set[str]:
        """The tensors of the file that are weights of this kind."""
        pairs = [self.parts.one(source, "an input") for source in self.sources]
        return {self.parts.text(content, WEIGHTS[kind]) for kind, content in pairs if kind == wanted}

    def _outputs(self, specs: Sequence[Any]) -> list[Any]:
        """What the model gives; a model that changes its own tensors is refused."""
        wanted = []
        for spec in specs:
            kind, content = self.parts.one(spec, "an output")
            if kind == "user_input_mutation":
                continue  # what is written into an input is not the caller's to see
            if kind != "user_output":
                raise UnsupportedModelError(
                    f"{self.where}: the model has an output of the kind {shown(kind)}, which changes or trains it; "
                    "call model.eval() before it is exported"
                )
            wanted.append(self.parts.dict(content, "arg"))
        return wanted

    def _inputs(self) -> list[FileInput]:
        """The tensors that the model takes."""
        paths = input_paths(self.calling.get("in_spec"), self.calling.get("forward_arg_names"), self.where)
        taken = [self.parts.one(source, "an input") for source in self.sources]
        taken = [each for each in taken if each[0] in ("user_input", "constant_input")]
        known = paths if len(paths) == len(taken) else [()] * len(taken)
        found = []
        for path, (kind, content) in zip(known, taken, strict=True):
            if kind == "constant_input":
                continue
            way, value = self.parts.one(self.parts.dict(content, "arg"), "an input")
            if way == "as_tensor":
                found.append(self._input(self.parts.text(value, "name"), path))
            elif way.startswith("as_sym"):
                raise UnsupportedModelError(
                    f"{self.where}: the model takes {way.removeprefix('as_sym_')} {shown(str(value))}, which is no "
                    "tensor; export it with a number that is fixed, or with a tensor"
                )
        return found

    def _input(self, name: str, path: tuple[Any, ...]) -> FileInput:
        meta = self.parts.dict(self.parts.dict(self.graph, "tensor_values"), name)
        dtype = meta.get("dtype")
        kind = KINDS_IN_FILES.get(dtype) if type(dtype) is int else None
        kind = FLOAT if kind == "half" else kind
        if kind not in (FLOAT, INTEGER, BOOLEAN):
            raise UnsupportedModelError(f"{self.where}: input {shown(name)} has a type that is not read, {dtype!r:.40}")
        sizes = self.parts.list(meta, "sizes")
        if len(sizes) > 8:
            raise UnsupportedModelError(f"{self.where}: input {shown(name)} has {len(sizes)} axes, at most 8 are read")
        pairs = [size_in_file(self.parts, size, f"a size of the input {shown(name)}") for size in sizes]
        return FileInput(name, kind, tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs), path)

    def unseen(self) -> str:
        """What code of its author's is in it: an if, a loop or a cut that did nothing leave no trace in a graph."""
        for node in self.nodes:
            for kind in modules_of(node):
                if kind == _NOBODY and isinstance(node, dict) and node.get("target") == _SIZE:
                    continue
                if _OWN_CODE.fullmatch(kind) is None:
                    name = kind.rpartition(".")[2][:80]
                    return f"whether the code of {name} treats other sizes otherwise, the file does not say"
        return ""


def modules_of(node: Any) -> list[str]:
    """The classes of the modules that an operation is in, the innermost last, as the file says."""
    metadata = node.get("metadata") if isinstance(node, dict) else None
    stack = metadata.get("nn_module_stack") if isinstance(metadata, dict) else None
    return [each.rpartition(",")[2] for each in stack.split(";")] if isinstance(stack, str) else ["the module"]


def is_own(node: Any) -> bool:
    """Whether an operation has its options from a module of PyTorch's."""
    return _OWN.fullmatch(modules_of(node)[-1]) is not None
