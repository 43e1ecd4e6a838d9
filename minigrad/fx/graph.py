"""torch.fx.graph."""

from minigrad.fx import CodeGen, Graph  # noqa: F401
