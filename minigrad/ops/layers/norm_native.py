"""native_layer_norm, native_group_norm, native_batch_norm: the normalisations with the statistics that they computed."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.op import composite, functions
from minigrad.ops.layers.norm import _np_batch_norm, _np_layer_norm, _update_running
from minigrad.ops.reductions.reduce import _np

_FLOATS = ("float64", "float32")


def _statistics(input: Any, weight: Any, *found: Any) -> tuple[Any, ...]:
    """Statistics are computed in float32 at least, and given back in the input's dtype unless weight is wider."""
    narrow = weight is None or weight.dtype == input.dtype
    return tuple(x.to(input.dtype) if narrow else x for x in found)


@composite(
    method=False,
    dtypes=_FLOATS,
    ref=lambda input, normalized_shape, weight, bias, eps: _np_layer_norm(input, weight, bias, normalized_shape, eps),
    samples=lambda s: [s(s.f(3, 5), [5], s.f(5), s.f(5), 1e-5), s(s.f(2, 3, 4), [3, 4], None, None, 0.5)],
)
def native_layer_norm(input: mg.Tensor, normalized_shape: Any, weight: Any, bias: Any, eps: float) -> tuple[mg.Tensor, ...]:
    """layer_norm with the mean and 1 / standard deviation of every row.

    Args:
        input, normalized_shape, weight, bias, eps: as in nn.functional.layer_norm.
    Returns:
        (result, mean, rstd); the statistics have size 1 in the normalised dims and carry no gradient.
    Raises:
        RuntimeError for shapes that do not fit.
    Example:
        >>> mg.native_layer_norm(mg.tensor([1., 3.]), [2], None, None, 0.)[1]
        tensor([2.])
    """
    out, mean, rstd = functions["_layer_norm"](input, weight, bias, normalized_shape, eps)
    return out, *_statistics(input, weight, mean, rstd)


def _np_group_norm(input: Any, weight: Any, bias: Any, N: int, C: int, HxW: int, group: int, eps: float) -> Any:
    rows = input.reshape(N, group, -1)
    mean, rstd = rows.mean(-1), 1 / _np().sqrt(rows.var(-1) + eps)
    out = ((rows - mean[..., None]) * rstd[..., None]).reshape(N, C, HxW)
    out = out if weight is None else out * weight.reshape(-1, 1)
    return (out if bias is None else out + bias.reshape(-1, 1)).reshape(input.shape), mean, rstd


@composite(
    method=False,
    dtypes=_FLOATS,
    ref=_np_group_norm,
    samples=lambda s: [s(s.f(2, 6, 2), s.f(6), s.f(6), 2, 6, 2, 3, 0.5), s(s.f(1, 4, 2), None, None, 1, 4, 2, 2, 1e-5)],
)
def native_group_norm(
    input: mg.Tensor, weight: Any, bias: Any, N: int, C: int, HxW: int, group: int, eps: float
) -> tuple[mg.Tensor, ...]:
    """group_norm with the mean and 1 / standard deviation of every group.

    Args:
        input: (N, C, *), with HxW elements in each channel.
        weight: (C) or None.
        bias: (C) or None.
        N: batch size.
        C: channels.
        HxW: elements of a channel.
        group: number of groups, divides C.
        eps: added to the variance.
    Returns:
        (result, mean (N, group), rstd (N, group)).
    Raises:
        RuntimeError for sizes that do not fit.
    Example:
        >>> mg.native_group_norm(mg.tensor([[[1.], [3.]]]), None, None, 1, 2, 1, 1, 0.)[1]
        tensor([[2.]])
    """
    if input.numel() != N * C * HxW or (C and input.shape[1] != C):
        raise RuntimeError(f"native_group_norm: expected input ({N}, {C}, …) of {N * C * HxW} elements: got {tuple(input.shape)}.")
    out = mg.nn.functional.group_norm(input, group, weight, bias, eps)
    rows = input.reshape(N, group, C // group * HxW)
    mean = rows.mean(-1)
    rstd = ((rows - mean.unsqueeze(-1)).square().mean(-1) + eps).rsqrt()
    return out, mean, rstd


def _np_native_batch_norm(
    input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, training: bool, momentum: float, eps: float
) -> Any:
    out, mean, var = _np_batch_norm(input, weight, bias, eps)
    return out, mean, 1 / _np().sqrt(var + eps)


@composite(
    method=False,
    out=True,
    dtypes=_FLOATS,
    ref=_np_native_batch_norm,
    samples=lambda s: [
        s(s.f(4, 3), s.f(3), s.f(3), None, None, True, 0.1, 1e-5), s(s.f(2, 3, 4), None, None, None, None, True, 0.1, 0.5),
    ],
)  # fmt: skip
def native_batch_norm(
    input: mg.Tensor, weight: Any, bias: Any, running_mean: Any, running_var: Any, training: bool, momentum: float, eps: float
) -> tuple[mg.Tensor, ...]:
    """batch_norm with the mean and 1 / standard deviation of every channel.

    Args:
        input, weight, bias, running_mean, running_var, training, momentum, eps: as in nn.functional.batch_norm.
    Returns:
        (result, mean, rstd), the statistics of size (C), without gradient; empty when not training.
    Raises:
        RuntimeError for shapes that do not fit.
    Example:
        >>> mg.native_batch_norm(mg.tensor([[1.], [3.]]), None, None, None, None, True, 0.1, 0.)[1]
        tensor([2.])
    """
    if not training:
        out = functions["batch_norm"](input, running_mean, running_var, weight, bias, False, momentum, eps)
        return out, input.new_empty((0,)), input.new_empty((0,))
    out, mean, var = functions["_batch_norm"](input, weight, bias, eps)
    count = input.numel() // input.shape[1] if input.shape[1] else 0
    _update_running(running_mean, running_var, mean, var, count, momentum)
    return out, *_statistics(input, weight, mean, (var + eps).rsqrt())
