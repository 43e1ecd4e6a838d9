"""Parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

import minigrad as mg


def parameters_to_vector(parameters: Iterable[mg.Tensor]) -> mg.Tensor:
    """All values in one 1-D tensor (differentiable)."""
    return mg.cat([parameter.reshape(-1) for parameter in parameters])


def vector_to_parameters(vec: mg.Tensor, parameters: Iterable[mg.Tensor]) -> None:
    """Take the values of `parameters` from slices of the 1-D tensor `vec` (shares its memory)."""
    if not isinstance(vec, mg.Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {type(vec).__name__}")
    start = 0
    for parameter in parameters:
        stop = start + parameter.numel()
        parameter.data = vec[start:stop].view_as(parameter).data
        start = stop
