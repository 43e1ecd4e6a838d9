"""torch.fx.proxy."""

from minigrad.fx import Proxy, Tracer  # noqa: F401
