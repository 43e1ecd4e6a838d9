"""Neural network layers, losses and their helpers, named as in torch.nn."""

from __future__ import annotations

from . import functional, init, modules, parameter, utils
from ._functional.linear_cross_entropy import LinearCrossEntropyOptions
from .modules import *  # noqa: F403
from .modules import __all__ as _modules
from .parameter import Buffer, Parameter

__all__ = ["Buffer", "LinearCrossEntropyOptions", "Parameter", "functional", "init", "modules", "parameter", "utils", *_modules]
