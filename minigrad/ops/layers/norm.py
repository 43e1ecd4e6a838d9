"""Normalisation layers with fused gradients. Kernels: csrc/cpu/norm.cpp; public functions: nn.functional.

Every gradient is written twice: `grads` over public ops (differentiable, for double backward and compiling) and
`fast_grads`, a call of the fused kernel, used when no graph of the gradient is wanted. The tests compare them.
Shapes: x (*, D…) with D the normalised dims; (N, C, *) for batch_norm.
"""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.op import composite, functions, op
from minigrad.ops.reductions.reduce import _np

_NO_GRAD = "only used when no graph of the gradient is wanted; the forward op's `grads` is its differentiable form"


def _wide(x: Any) -> Any:
    """float16 and bfloat16 are normalised in float32."""
    return x.float() if x.dtype in (mg.float16, mg.bfloat16) else x


def _parameter_sum(x: Any, n: int) -> Any:
    """Sum over all dims but the last n."""
    lead = x.dim() - n
    return x.sum(list(range(lead))) if lead else x


def _layer_norm_grads(g: Any, input: Any, weight: Any, normalized_shape: Any, eps: float, needs: tuple[bool, ...]) -> tuple[Any, ...]:
    n = len(normalized_shape)
    dims = list(range(-n, 0))
    x, g = _wide(input), _wide(g)
    centred = x - x.mean(dims, True)
    rstd = (centred.square().mean(dims, True) + eps).rsqrt()
    hat = centred * rstd
    dx = None
    if needs[0]:
        gw = g if weight is None else g * weight
        dx = (gw - gw.mean(dims, True) - hat * (gw * hat).mean(dims, True)) * rstd
    return dx, _parameter_sum(g * hat, n) if needs[1] else None, _parameter_sum(g, n) if needs[2] else None


def _np_layer_norm(input: Any, weight: Any, bias: Any, normalized_shape: Any, eps: float) -> tuple[Any, ...]:
    np = _np()
    axis = tuple(range(-len(normalized_shape), 0))
    mean = input.mean(axis, keepdims=True)
    rstd = 1 / np.sqrt(input.var(axis, keepdims=True) + eps)
    out = (input - mean) * rstd
    out = out if weight is None else out * weight
    return out if bias is None else out + bias, mean, rstd


op(
    "_layer_norm(input, weight?, bias?, normalized_shape: ints, eps: float) -> out, mean, rstd",
    meta="layer_norm",
    namespace=None,
    nondiff=("mean", "rstd"),
    grads=_layer_norm_grads,
    fast_grads=lambda g, input, mean, rstd, weight, normalized_shape: functions["_layer_norm_backward"](
        g, input, mean, rstd, weight, len(normalized_shape)
    ),
    samples=lambda s: [
        s(s.f(3, 5), s.f(5), s.f(5), [5], 1e-5),
        s(s.f(2, 3, 4), None, None, [3, 4], 1e-5),
        s(s.f(7), s.f(7), None, [7], 0.1),
    ],
    ref=_np_layer_norm,
    doc="layer_norm and its statistics; the kernel of `layer_norm` (Ba et al., arXiv 1607.06450).",
)

op(
    "_layer_norm_backward(g, input, mean, rstd, weight?, ndim: int) -> dinput, dweight, dbias",
    meta="layer_norm_backward",
    namespace=None,
    no_grad_reason=_NO_GRAD,
    no_samples_reason="tested as the fast gradient of _layer_norm",
    no_ref_reason="tested against the plain formula of _layer_norm, which finite differences check",
    doc="Gradient of layer_norm in two passes over each row.",
)


def _rms_norm_grads(g: Any, input: Any, weight: Any, normalized_shape: Any, eps: float, needs: tuple[bool, ...]) -> tuple[Any, ...]:
    n = len(normalized_shape)
    dims = list(range(-n, 0))
    x, g = _wide(input), _wide(g)
    rstd = (x.square().mean(dims, True) + eps).rsqrt()
    hat = x * rstd
    gw = g if weight is None else g * weight
    dx = (gw - hat * (gw * hat).mean(dims, True)) * rstd if needs[0] else None
    return dx, _parameter_sum(g * hat, n) if needs[1] else None


def _np_rms_norm(input: Any, weight: Any, normalized_shape: Any, eps: float) -> tuple[Any, Any]:
    rstd = 1 / _np().sqrt((input**2).mean(tuple(range(-len(normalized_shape), 0)), keepdims=True) + eps)
    return input * rstd if weight is None else input * rstd * weight, rstd


op(
    "_rms_norm(input, weight?, normalized_shape: ints, eps: float) -> out, rstd",
    meta="layer_norm",
    namespace=None,
    nondiff=("rstd",),
    grads=_rms_norm_grads,
    fast_grads=lambda g, input, rstd, weight, normalized_shape: functions["_rms_norm_backward"](
        g, input, rstd, weight, len(normalized_shape)
    ),
    samples=lambda s: [s(s.f(3, 5), s.f(5), [5], 1e-5), s(s.f(2, 3, 4), None, [3, 4], 1e-5)],
    ref=_np_rms_norm,
    doc="x / sqrt(mean(x^2) + eps) times weight; the kernel of `rms_norm` (Zhang and Sennrich, arXiv 1910.07467).",
)

op(
    "_rms_norm_backward(g, input, rstd, weight?, ndim: int) -> dinput, dweight",
    meta="layer_norm_backward",
    namespace=None,
    no_grad_reason=_NO_GRAD,
    no_samples_reason="tested as the fast gradient of _rms_norm",
    no_ref_reason="tested against the plain formula of _rms_norm, which finite differences check",
    doc="Gradient of rms_norm.",
)


def _channel(x: Any, ndim: int) -> Any:
    return x.reshape([1, -1] + [1] * (ndim - 2))


def _batch_norm_grads(g: Any, input: Any, weight: Any, eps: float, needs: tuple[bool, ...]) -> tuple[Any, ...]:
    x, g = _wide(input), _wide(g)
    dims = [d for d in range(x.dim()) if d != 1]
    centred = x - x.mean(dims, True)
    rstd = (centred.square().mean(dims, True) + eps).rsqrt()
    hat = centred * rstd
    dx = None
    if needs[0]:
        dx = (g - g.mean(dims, True) - hat * (g * hat).mean(dims, True)) * rstd
        dx = dx if weight is None else dx * _channel(weight, x.dim())
    return dx, (g * hat).sum(dims) if needs[1] else None, g.sum(dims) if needs[2] else None


def _np_batch_norm(input: Any, weight: Any, bias: Any, eps: float) -> tuple[Any, ...]:
    axis = tuple(d for d in range(input.ndim) if d != 1)
    shape = [1, -1] + [1] * (input.ndim - 2)
    mean, var = input.mean(axis), input.var(axis)
    out = (input - mean.reshape(shape)) / _np().sqrt(var.reshape(shape) + eps)
    out = out if weight is None else out * weight.reshape(shape)
    return out if bias is None else out + bias.reshape(shape), mean, var


op(
    "_batch_norm(input, weight?, bias?, eps: float) -> out, mean, var",
    meta="batch_norm",
    namespace=None,
    nondiff=("mean", "var"),
    grads=_batch_norm_grads,
    fast_grads=lambda g, input, mean, var, weight, eps: functions["_batch_norm_backward"](g, input, mean, var, weight, eps),
    samples=lambda s: [
        s(s.f(4, 3), s.f(3), s.f(3), 1e-5),
        s(s.f(2, 3, 4), None, None, 1e-5),
        s(s.f(2, 3, 2, 2), s.f(3), None, 0.1),
    ],
    ref=_np_batch_norm,
    doc="batch_norm with the statistics of the batch (biased variance); the kernel of `batch_norm` in training.",
)

op(
    "_batch_norm_backward(g, input, mean, var, weight?, eps: float) -> dinput, dweight, dbias",
    meta="batch_norm_backward",
    namespace=None,
    no_grad_reason=_NO_GRAD,
    no_samples_reason="tested as the fast gradient of _batch_norm",
    no_ref_reason="tested against the plain formula of _batch_norm, which finite differences check",
    doc="Gradient of batch_norm.",
)


# --- group norm: statistics per sample and group of channels; instance_norm is the case of one channel a group -------------
def _group_norm_grads(g: Any, input: Any, weight: Any, groups: int, eps: float, needs: tuple[bool, ...]) -> tuple[Any, ...]:
    x, g = _wide(input), _wide(g)
    rows = x.reshape(x.shape[0], groups, -1)
    centred = rows - rows.mean(-1, True)
    rstd = (centred.square().mean(-1, True) + eps).rsqrt()
    hat = centred * rstd
    dx = None
    if needs[0]:
        gw = (g if weight is None else g * _channel(weight, x.dim())).reshape(rows.shape)
        dx = ((gw - gw.mean(-1, True) - hat * (gw * hat).mean(-1, True)) * rstd).reshape(x.shape)
    dims = [d for d in range(x.dim()) if d != 1]
    return dx, (g * hat.reshape(x.shape)).sum(dims) if needs[1] else None, g.sum(dims) if needs[2] else None


def _np_group_norm(input: Any, weight: Any, bias: Any, groups: int, eps: float) -> tuple[Any, ...]:
    rows = input.reshape(input.shape[0], groups, -1)
    mean, rstd = rows.mean(-1), 1 / _np().sqrt(rows.var(-1) + eps)
    out = ((rows - mean[..., None]) * rstd[..., None]).reshape(input.shape)
    shape = [1, -1] + [1] * (input.ndim - 2)
    out = out if weight is None else out * weight.reshape(shape)
    return out if bias is None else out + bias.reshape(shape), mean, rstd


op(
    "_group_norm(input, weight?, bias?, groups: int, eps: float) -> out, mean, rstd",
    meta="group_norm",
    namespace=None,
    nondiff=("mean", "rstd"),
    grads=_group_norm_grads,
    fast_grads=lambda g, input, mean, rstd, weight, groups: functions["_group_norm_backward"](g, input, mean, rstd, weight, groups),
    samples=lambda s: [
        s(s.f(2, 6, 5), s.f(6), s.f(6), 3, 1e-5),
        s(s.f(2, 4, 2, 3), None, None, 2, 0.1),
        s(s.f(3, 4), s.f(4), None, 2, 1e-5),
        s(s.f(2, 3, 7), s.f(3), s.f(3), 3, 1e-5),
    ],
    ref=_np_group_norm,
    doc="group_norm and its statistics; the kernel of `group_norm` and `instance_norm` (Wu and He, arXiv 1803.08494).",
)

op(
    "_group_norm_backward(g, input, mean, rstd, weight?, groups: int) -> dinput, dweight, dbias",
    meta="group_norm_backward",
    namespace=None,
    no_grad_reason=_NO_GRAD,
    no_samples_reason="tested as the fast gradient of _group_norm",
    no_ref_reason="tested against the plain formula of _group_norm, which finite differences check",
    doc="Gradient of group_norm in one pass over each group.",
)


# --- public forms -----------------------------------------------------------------------------------------------------
def _shape_of(normalized_shape: Any) -> Any:
    return [normalized_shape] if isinstance(normalized_shape, int) else normalized_shape


@composite(
    namespace=("", "nn.functional"),
    method=False,
    no_ref_reason="_layer_norm has the reference",
    samples=lambda s: [s(s.f(3, 5), [5], s.f(5), s.f(5))],
)
def layer_norm(input: mg.Tensor, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> mg.Tensor:
    """Normalise over the last dims to mean 0 and variance 1, then scale and shift.

    Args:
        input: floating tensor (*, D…).
        normalized_shape: the sizes D… of the last dims, or an int for one.
        weight: scale of shape D…, or None.
        bias: shift of shape D…, or None.
        eps: added to the variance.
    Returns:
        tensor of the input's shape and dtype.
    Raises:
        RuntimeError for shapes that do not fit.
    Source:
        Ba, Kiros, Hinton: Layer Normalization, arXiv 1607.06450.
    Example:
        >>> mg.nn.functional.layer_norm(mg.tensor([1., 3.]), [2])
        tensor([-1.0000,  1.0000])
    """
    return functions["_layer_norm"](input, weight, bias, _shape_of(normalized_shape), eps)[0]


@composite(
    namespace=("", "nn.functional"),
    method=False,
    no_ref_reason="_rms_norm has the reference",
    samples=lambda s: [s(s.f(3, 5), [5], s.f(5))],
)
def rms_norm(input: mg.Tensor, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> mg.Tensor:
    """Divide by the root mean square of the last dims, then scale.

    Args:
        input: floating tensor (*, D…).
        normalized_shape: the sizes D… of the last dims, or an int for one.
        weight: scale of shape D…, or None.
        eps: added to the mean square; None means the machine epsilon of the dtype computed in.
    Returns:
        tensor of the input's shape and dtype.
    Raises:
        RuntimeError for shapes that do not fit.
    Source:
        Zhang, Sennrich: Root Mean Square Layer Normalization, arXiv 1910.07467.
    Example:
        >>> mg.nn.functional.rms_norm(mg.tensor([3., 3.]), [2])
        tensor([1., 1.])
    """
    if eps is None:
        eps = 2.0**-52 if input.dtype in (mg.float64, mg.complex128) else 2.0**-23
    if input.is_complex():
        dims = list(range(-len(_shape_of(normalized_shape)), 0))
        out = input * (mg.square(input).mean(dims, True) + eps).rsqrt()
        return out if weight is None else out * weight
    return functions["_rms_norm"](input, weight, _shape_of(normalized_shape), eps)[0]


def _update_running(running_mean: Any, running_var: Any, mean: Any, var: Any, count: int, momentum: float) -> None:
    with mg.no_grad():
        if running_mean is not None:
            running_mean.mul_(1 - momentum).add_(mean.to(running_mean.dtype), alpha=momentum)
        if running_var is not None:
            unbiased = var.to(running_var.dtype)
            running_var.mul_(1 - momentum).add_(unbiased, alpha=momentum * (count / (count - 1) if count > 1 else mg.nan))


@composite(
    namespace="nn.functional",
    no_ref_reason="_batch_norm has the reference",
    samples=lambda s: [s(s.f(4, 3), None, None, s.f(3), s.f(3), True), s(s.f(2, 3, 4), None, None, None, None, True)],
)
def batch_norm(
    input: mg.Tensor, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any = None,
    training: bool = False, momentum: float | None = 0.1, eps: float = 1e-5,
) -> mg.Tensor:  # fmt: skip
    """Normalise each channel over the batch, or with the running statistics when not training.

    Args:
        input: floating tensor (N, C, *).
        running_mean: (C), updated in place in training, or None.
        running_var: (C), updated with the unbiased variance, or None.
        weight: scale (C), or None.
        bias: shift (C), or None.
        training: use and fold in the statistics of the batch.
        momentum: share of the new statistics; None counts as 0 here (nn.BatchNorm passes its cumulative average).
        eps: added to the variance.
    Returns:
        tensor of the input's shape and dtype.
    Raises:
        RuntimeError for shapes that do not fit, or without running statistics when not training.
    Source:
        Ioffe, Szegedy: Batch Normalization, arXiv 1502.03167.
    Example:
        >>> mg.nn.functional.batch_norm(mg.tensor([[1.], [3.]]), None, None, training=True)
        tensor([[-1.0000],
                [ 1.0000]])
    """
    if training:
        out, mean, var = functions["_batch_norm"](input, weight, bias, eps)
        if running_mean is not None or running_var is not None:
            count = input.numel() // input.shape[1] if input.shape[1] else 0
            _update_running(running_mean, running_var, mean, var, count, momentum or 0.0)
        return out
    if running_mean is None or running_var is None:
        missing = "running_mean" if running_mean is None else "running_var"
        raise RuntimeError(f"batch_norm: {missing} must be defined in evaluation mode. Try training=True.")
    if input.dim() < 2 or running_mean.shape != (input.shape[1],) or running_var.shape != (input.shape[1],):
        raise RuntimeError(
            f"batch_norm: running statistics do not fit: got {tuple(running_mean.shape)} and "
            f"{tuple(running_var.shape)} for input {tuple(input.shape)}, expected one value per channel (dim 1)"
        )
    scale = (running_var + eps).rsqrt()
    if weight is not None:
        scale = scale * weight
    shift = -running_mean * scale if bias is None else bias - running_mean * scale
    out = mg.addcmul(_channel(shift, input.dim()), input, _channel(scale, input.dim()))
    return out if out.dtype == input.dtype else out.to(input.dtype)
