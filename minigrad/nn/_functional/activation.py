"""Activations of nn.functional: thin doors to registry ops, and compositions of them.

Kinks: a one-sided function (relu, hardtanh, …) takes the gradient 0 at its corner, as torch does.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import minigrad as mg

from ._registry import registered

Tensor = mg.Tensor
gelu = registered("gelu")
hardshrink = registered("hardshrink")
logsigmoid = registered("logsigmoid")
prelu = registered("prelu")
softplus = registered("softplus")
_softshrink = registered("softshrink")
softsign = registered("softsign")
tanhshrink = registered("tanhshrink")
_celu = registered("celu")
_elu = registered("elu")
_hardsigmoid = registered("hardsigmoid")
_hardswish = registered("hardswish")
_hardtanh = registered("hardtanh")
_leaky_relu = registered("leaky_relu")
_mish = registered("mish")
_relu = registered("relu")
_relu6 = registered("relu6")
_selu = registered("selu")
_silu = registered("silu")
_threshold = registered("threshold")


def _overwrite(fn: Callable[..., Tensor], input: Tensor, *options: float) -> Tensor:
    """`fn` into its input; the backward formula keeps a copy of the value that is overwritten."""
    source = input.clone() if input.requires_grad and mg.is_grad_enabled() else input
    return input.copy_(fn(source, *options))


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(0, x)."""
    return input.relu_() if inplace else _relu(input)


def relu_(input: Tensor) -> Tensor:
    """`relu` into its input."""
    return input.relu_()


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(0, x), 6)."""
    return _overwrite(_relu6, input) if inplace else _relu6(input)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x * sigmoid(x), also called swish."""
    return _overwrite(_silu, input) if inplace else _silu(input)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha * (exp(x) - 1)."""
    return _overwrite(_elu, input, alpha) if inplace else _elu(input, alpha)


def elu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """`elu` into its input."""
    return elu(input, alpha, True)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, else negative_slope * x."""
    return _overwrite(_leaky_relu, input, negative_slope) if inplace else _leaky_relu(input, negative_slope)


def leaky_relu_(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """`leaky_relu` into its input."""
    return leaky_relu(input, negative_slope, True)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """x clamped to [min_val, max_val]; the gradient is 0 at the ends too."""
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    return _overwrite(_hardtanh, input, min_val, max_val) if inplace else _hardtanh(input, min_val, max_val)


def hardtanh_(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """`hardtanh` into its input."""
    return hardtanh(input, min_val, max_val, True)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """relu6(x + 3) / 6."""
    return _overwrite(_hardsigmoid, input) if inplace else _hardsigmoid(input)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * relu6(x + 3) / 6."""
    return _overwrite(_hardswish, input) if inplace else _hardswish(input)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """Scaled elu with the self-normalising constants (Klambauer et al., arXiv 1706.02515)."""
    return _overwrite(_selu, input) if inplace else _selu(input)


def selu_(input: Tensor) -> Tensor:
    """`selu` into its input."""
    return selu(input, True)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """max(0, x) + min(0, alpha * (exp(x / alpha) - 1)); alpha must not be 0."""
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return _overwrite(_celu, input, alpha) if inplace else _celu(input, alpha)


def celu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """`celu` into its input."""
    return celu(input, alpha, True)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where x > threshold, else value."""
    return _overwrite(_threshold, input, threshold, value) if inplace else _threshold(input, threshold, value)


def threshold_(input: Tensor, threshold_: float, value: float) -> Tensor:
    """`threshold` into its input."""
    return threshold(input, threshold_, value, True)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * tanh(softplus(x))."""
    return _overwrite(_mish, input) if inplace else _mish(input)


def softshrink(input: Tensor, lambd: float = 0.5, *, out: Tensor | None = None) -> Tensor:
    """The input moved towards 0 by lambd (at least 0), and 0 within [-lambd, lambd]."""
    if not lambd >= 0:
        raise RuntimeError(f"softshrink: lambd must not be negative: got {lambd}")
    return _softshrink(input, lambd, out=out)


def rrelu(
    input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """Leaky relu whose slope is drawn from U(lower, upper) while training, and is the mean of both otherwise."""
    if not lower <= upper:
        raise RuntimeError(f"rrelu: lower must not exceed upper: got {lower} and {upper}")
    if not training:
        return leaky_relu(input, (lower + upper) / 2, inplace)
    slope = mg.empty_like(input, requires_grad=False).uniform_(lower, upper)
    if inplace:
        return input.mul_(mg.where(input.detach() > 0, mg.ones_like(slope), slope))
    return mg.where(input > 0, input, input * slope)


def rrelu_(input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False) -> Tensor:
    """`rrelu` into its input."""
    return rrelu(input, lower, upper, training, True)


def tanh(input: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return input.tanh()


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return input.sigmoid()


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """First half of `dim` times the sigmoid of the second half."""
    if input.dim() == 0:
        raise RuntimeError("glu does not support scalars because halving size must be even")
    size = input.shape[dim]
    if size % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {dim} is size {size}")
    first, second = input.split(size // 2, dim)
    return first * second.sigmoid()


def _implicit_dim(name: str, ndim: int, stacklevel: int) -> int:
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an argument.",
        stacklevel=stacklevel,
    )
    return 0 if ndim in (0, 1, 3) else 1


def softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """exp(x) normalised to sum 1 along `dim`."""
    if dim is None:
        dim = _implicit_dim("softmax", input.dim(), _stacklevel)
    return input.softmax(dim) if dtype is None else input.softmax(dim, dtype=dtype)


def softmin(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """softmax of -x."""
    if dim is None:
        dim = _implicit_dim("softmin", input.dim(), _stacklevel)
    return softmax(-input, dim, dtype=dtype)


def log_softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """log(softmax(x)), computed without underflow."""
    if dim is None:
        dim = _implicit_dim("log_softmax", input.dim(), _stacklevel)
    return input.log_softmax(dim) if dtype is None else input.log_softmax(dim, dtype=dtype)


def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """A sample from the Gumbel-softmax distribution (Jang et al., arXiv 1611.01144).

    Args:
        logits: unnormalised log probabilities.
        tau: temperature, > 0.
        hard: return one-hot values whose gradient is that of the soft sample.
        dim: the dimension of the classes.
    """
    gumbels = -mg.empty_like(logits, requires_grad=False).exponential_().log()
    soft = ((logits + gumbels) / tau).softmax(dim)
    if not hard:
        return soft
    index = soft.argmax(dim, keepdim=True)
    one_hot = mg.zeros_like(logits).scatter(dim, index, 1.0)
    return one_hot - soft.detach() + soft
