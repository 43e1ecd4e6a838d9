"""torch.fx.node."""

from minigrad.fx import Node  # noqa: F401
