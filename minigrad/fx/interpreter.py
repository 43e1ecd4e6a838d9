"""torch.fx.interpreter."""

from minigrad.fx import Interpreter, Transformer  # noqa: F401
