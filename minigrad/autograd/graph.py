"""Looking at the graph: `Node` (what `x.grad_fn` returns) and edges."""

from __future__ import annotations

from minigrad import _core

Node = _core.Node


class GradientEdge:
    """(node, output number) to which the gradient of a tensor flows."""

    __slots__ = ("node", "output_nr")

    def __init__(self, node: Node, output_nr: int = 0) -> None:
        self.node, self.output_nr = node, output_nr


def get_gradient_edge(tensor: _core.Tensor) -> GradientEdge:
    """The edge of `tensor`; raises RuntimeError when it does not require grad."""
    node = _core.gradient_node(tensor)
    if node is None:
        raise RuntimeError("get_gradient_edge: the tensor does not require grad")
    return GradientEdge(node)
