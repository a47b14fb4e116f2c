"""The operations of the graph that layers become, each imported when a layer first becomes one.

Describing a model, or reading the description of one, needs none of them.
"""

from typing import TYPE_CHECKING

from ..lazy import attach

if TYPE_CHECKING:
    from ..graph.graph import BOOLEAN, INTEGER
    from ..graph.operations.along import AlongAxis, Glu
    from ..graph.operations.convolution import Convolution
    from ..graph.operations.create import Full
    from ..graph.operations.elementwise import Activation, Binary, Where
    from ..graph.operations.normalization import BatchNorm, Normalize
    from ..graph.operations.parts import Flip, Pad, Select, Slice
    from ..graph.operations.pooling import Pool, Upsample
    from ..graph.operations.product import Embedding, Linear
    from ..graph.operations.recurrent import GRU
    from ..graph.operations.reduce import Reduce
    from ..graph.operations.shape import Concatenate, Expand, Permute, View

__all__ = [
    "BOOLEAN", "GRU", "INTEGER", "Activation", "AlongAxis", "BatchNorm", "Binary", "Concatenate", "Convolution",
    "Embedding", "Expand", "Flip", "Full", "Glu", "Linear", "Normalize", "Pad", "Permute", "Pool", "Reduce", "Select",
    "Slice", "Upsample", "View", "Where",
]  # fmt: skip

_PLACES = {
    "fastgru.graph.graph": "BOOLEAN INTEGER",
    "fastgru.graph.operations.along": "AlongAxis Glu",
    "fastgru.graph.operations.convolution": "Convolution",
    "fastgru.graph.operations.create": "Full",
    "fastgru.graph.operations.elementwise": "Activation Binary Where",
    "fastgru.graph.operations.normalization": "BatchNorm Normalize",
    "fastgru.graph.operations.parts": "Flip Pad Select Slice",
    "fastgru.graph.operations.pooling": "Pool Upsample",
    "fastgru.graph.operations.product": "Embedding Linear",
    "fastgru.graph.operations.recurrent": "GRU",
    "fastgru.graph.operations.reduce": "Reduce",
    "fastgru.graph.operations.shape": "Concatenate Expand Permute View",
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = attach(__name__, {name: place for place, names in _PLACES.items() for name in names.split()})
