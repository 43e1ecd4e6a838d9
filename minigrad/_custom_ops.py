"""torch._custom_ops: older names of minigrad.library."""

from __future__ import annotations

from minigrad.library import custom_op, impl, register_fake

impl_abstract = register_fake

__all__ = ["custom_op", "impl", "impl_abstract"]
