"""torch.utils._python_dispatch: importable; the core sends no calls through a mode."""

from __future__ import annotations

from typing import Any

__all__ = ["TorchDispatchMode", "is_traceable_wrapper_subclass"]


class TorchDispatchMode:
    """`with mode:` sends every op through `__torch_dispatch__` in PyTorch.

    Raises:
        NotImplementedError: when entered.
    """

    def __init__(self, _dispatch_key: Any = None) -> None:
        pass

    def __enter__(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__}: minigrad does not send ops through TorchDispatchMode")

    def __exit__(self, *error: Any) -> None:
        pass


def is_traceable_wrapper_subclass(t: Any) -> bool:
    """False."""
    return False


def _disable_current_modes() -> Any:
    import contextlib

    return contextlib.nullcontext()
