"""torch._C._functorch: the questions that libraries ask about tensors inside function transforms."""

from __future__ import annotations

from typing import Any

from minigrad.op import is_dataless as is_batchedtensor  # noqa: F401


def is_functorch_wrapped_tensor(tensor: Any) -> bool:
    """Whether the tensor stands for a batch."""
    return is_batchedtensor(tensor)


def is_gradtrackingtensor(tensor: Any) -> bool:
    """False: the engine has no wrapper for it."""
    return False


def __getattr__(name: str) -> Any:
    if name.startswith("__") or not name.startswith(("_", "get_", "maybe_", "is_", "unwrap", "current_")):
        raise AttributeError(name)

    def absent(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"_C._functorch.{name}: minigrad's function transforms have no such internals")

    return absent
