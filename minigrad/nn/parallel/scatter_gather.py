"""torch.nn.parallel.scatter_gather for one device: everything goes to it, and comes from it."""

from __future__ import annotations

from typing import Any

__all__ = ["gather", "is_namedtuple", "scatter", "scatter_kwargs"]


def is_namedtuple(obj: Any) -> bool:
    """Whether it is a named tuple."""
    return isinstance(obj, tuple) and hasattr(obj, "_asdict") and hasattr(obj, "_fields")


def _single(devices: Any, name: str) -> None:
    if len(devices) != 1:
        raise RuntimeError(f"{name}: minigrad has one device: got {list(devices)}")


def scatter(inputs: Any, target_gpus: Any, dim: int = 0) -> Any:
    """One share for the one device: the inputs themselves."""
    _single(target_gpus, "scatter")
    return [inputs]


def scatter_kwargs(inputs: Any, kwargs: dict[str, Any] | None, target_gpus: Any, dim: int = 0) -> tuple:
    """((inputs,), (kwargs,))."""
    _single(target_gpus, "scatter_kwargs")
    return (inputs,), (kwargs or {},)


def gather(outputs: Any, target_device: Any, dim: int = 0) -> Any:
    """The outputs of the devices, joined along `dim`."""
    import minigrad

    first = outputs[0]
    if isinstance(first, minigrad.Tensor):
        return minigrad.cat([o.reshape(1) if o.dim() == 0 else o for o in outputs], dim)
    if first is None:
        return None
    if isinstance(first, dict):
        return type(first)((k, gather([o[k] for o in outputs], target_device, dim)) for k in first)
    parts = [gather(list(group), target_device, dim) for group in zip(*outputs)]
    return type(first)._make(parts) if is_namedtuple(first) else type(first)(parts)
