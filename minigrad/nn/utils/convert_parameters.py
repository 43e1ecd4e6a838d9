"""Parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

import minigrad as mg

__all__ = ["parameters_to_vector", "vector_to_parameters"]


def _device_number(parameter: mg.Tensor, first: int | None) -> int:
    number = parameter.get_device()
    if first is not None and number != first:
        raise TypeError("Found two parameters on different devices, this is currently not supported.")
    return number


def parameters_to_vector(parameters: Iterable[mg.Tensor]) -> mg.Tensor:
    """All values in one 1-D tensor (differentiable); raises TypeError for parameters on several devices."""
    device, parts = None, []
    for parameter in parameters:
        device = _device_number(parameter, device)
        parts.append(parameter.reshape(-1))
    return mg.cat(parts)


def vector_to_parameters(vec: mg.Tensor, parameters: Iterable[mg.Tensor]) -> None:
    """Take the values of `parameters` from slices of the 1-D tensor `vec` (shares its memory)."""
    if not isinstance(vec, mg.Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {type(vec).__module__}.{type(vec).__qualname__}")
    start, device = 0, None
    for parameter in parameters:
        device = _device_number(parameter, device)
        stop = start + parameter.numel()
        parameter.data = vec[start:stop].view_as(parameter).data
        start = stop
