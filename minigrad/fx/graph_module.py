"""torch.fx.graph_module."""

from minigrad.fx import GraphModule  # noqa: F401
