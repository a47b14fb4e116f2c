"""Graphs rewritten to give the same bits with less work."""

from __future__ import annotations

from .graph import Graph, Node
from .operations.parts import Select
from .operations.recurrent import GRU

__all__ = ["rewritten"]


def rewritten(graph: Graph) -> Graph:
    """The graph as it is run: values have the places that they have in the one that is given."""
    grus = {node.outputs[0]: node for node in graph.nodes if _gives_last_states(node)}
    return graph._replace(nodes=tuple(_from_states(node, grus) for node in graph.nodes))


def _gives_last_states(node: Node) -> bool:
    """Whether the last step of a node's first output is the last layer's state of its second."""
    return isinstance(node.operation, GRU) and node.operation.gru.directions == 1 and not node.operation.masked


def _from_states(node: Node, grus: dict[int, Node]) -> Node:
    """The last step of a GRU taken from its final states: then no steps are kept where nothing else wants them."""
    if not isinstance(node.operation, Select) or node.operation.index != -1 or node.operation.axis not in (1, -2):
        return node
    gru = grus.get(node.inputs[0])
    if gru is None:
        return node
    assert isinstance(gru.operation, GRU)
    return node._replace(operation=Select(0, gru.operation.state_count - 1), inputs=(gru.outputs[1],))
