"""Which ops of the registry run the Triton kernels of this package on CUDA: a kernel in Python in front of the plain CUDA kernel
(csrc/python/bind_python_kernels.cpp). It is called behind the op's checks and allocation, so gradients, version counters and errors are the
op's; it refuses what it is not made for (other dtypes, an inner dim, nothing to do), and the plain kernel does that.

install() is called when the CUDA backend is loaded (minigrad/cuda/_door.py) and imports no triton; the first call does. MINIGRAD_TRITON=0
leaves the plain kernels in place. All kernels named here add in a fixed order, so deterministic mode changes nothing.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
from collections.abc import Callable, Iterator
from typing import Any

from minigrad import _core
from minigrad.kernels import available

_WORKS_IN = ("minigrad.float32", "minigrad.float16", "minigrad.bfloat16")
TABLE: dict[str, Callable[..., Any]] = {}  # op -> function(*arguments) -> results, or None: not for this kernel


def _override(name: str) -> Callable[[Callable], Callable]:
    def note(function: Callable) -> Callable:
        TABLE[name] = function
        return function

    return note


def _kernel(name: str) -> Any:
    return importlib.import_module(f"minigrad.kernels.{name}")


def _fits(*tensors: Any) -> bool:
    return all(t is None or (str(t.dtype) in _WORKS_IN and t.numel() < 2**31) for t in tensors) and tensors[0].numel() > 0


def _empty_like(x: Any) -> Any:
    from minigrad.kernels._memory import empty_like

    return empty_like(x)


def _is_last(x: Any, dim: int) -> bool:
    return x.dim() > 0 and dim % x.dim() == x.dim() - 1


@_override("softmax")
def _softmax(x: Any, dim: int, dtype: Any) -> Any:
    if dtype not in (None, x.dtype) or not _fits(x) or not _is_last(x, dim):
        return None
    return _kernel("softmax").softmax.compute({"x": x, "dim": -1})


@_override("log_softmax")
def _log_softmax(x: Any, dim: int, dtype: Any) -> Any:
    if dtype not in (None, x.dtype) or not _fits(x) or not _is_last(x, dim):
        return None
    return _kernel("softmax").log_softmax.compute({"x": x, "dim": -1})


def _softmax_gradient(name: str, g: Any, y: Any, dim: int) -> Any:
    if not _fits(g, y) or not _is_last(y, dim):
        return None
    return (getattr(_kernel("softmax"), name).backward(g=g, y=y, dim=-1),)


@_override("_softmax_backward")
def _softmax_backward(g: Any, y: Any, dim: int) -> Any:
    return _softmax_gradient("softmax", g, y, dim)


@_override("_log_softmax_backward")
def _log_softmax_backward(g: Any, y: Any, dim: int) -> Any:
    return _softmax_gradient("log_softmax", g, y, dim)


def _as_rows(x: Any, ndim: int) -> Any:
    """x with its last `ndim` dims as one."""
    return x if ndim == 1 else x.flatten(-ndim)


def _flat(x: Any) -> Any:
    return None if x is None else x.reshape(-1)


@_override("_layer_norm")
def _layer_norm(x: Any, weight: Any, bias: Any, shape: tuple, eps: float) -> Any:
    if not _fits(x, weight, bias):
        return None
    return _kernel("layer_norm").layer_norm.compute(dict(x=_as_rows(x, len(shape)), weight=_flat(weight), bias=_flat(bias), eps=eps))


@_override("_layer_norm_backward")
def _layer_norm_backward(g: Any, x: Any, mean: Any, rstd: Any, weight: Any, ndim: int) -> Any:
    if not _fits(g, x, weight) or weight is None:  # without a weight there may still be a bias, whose gradient the op wants
        return None
    values = dict(x=_as_rows(x, ndim), weight=_flat(weight), bias=_flat(weight), eps=0.0)
    found = _kernel("layer_norm").layer_norm.gradients([_as_rows(g, ndim)], values, (None, mean.reshape(-1), rstd.reshape(-1)))
    return found["x"], found["weight"], found["bias"]


@_override("_rms_norm")
def _rms_norm(x: Any, weight: Any, shape: tuple, eps: float) -> Any:
    if not _fits(x, weight):
        return None
    return _kernel("rms_norm").rms_norm.compute(dict(x=_as_rows(x, len(shape)), weight=_flat(weight), eps=eps))


@_override("_rms_norm_backward")
def _rms_norm_backward(g: Any, x: Any, rstd: Any, weight: Any, ndim: int) -> Any:
    if not _fits(g, x, weight) or weight is None:
        return None
    values = dict(x=_as_rows(x, ndim), weight=_flat(weight), eps=0.0)
    found = _kernel("rms_norm").rms_norm.gradients([_as_rows(g, ndim)], values, (None, rstd.reshape(-1)))
    return found["x"], found["weight"]


@_override("_group_norm")
def _group_norm(x: Any, weight: Any, bias: Any, groups: int, eps: float) -> Any:
    if not _fits(x, weight, bias):
        return None
    return _kernel("group_norm").group_norm.compute(dict(x=x, groups=groups, weight=weight, bias=bias, eps=eps))


@_override("_group_norm_backward")
def _group_norm_backward(g: Any, x: Any, mean: Any, rstd: Any, weight: Any, groups: int) -> Any:
    if not _fits(g, x, weight) or weight is None:
        return None
    values = dict(x=x, groups=groups, weight=weight, bias=weight, eps=0.0)
    found = _kernel("group_norm").group_norm.gradients([g], values, (None, mean.reshape(-1), rstd.reshape(-1)))
    return found["x"], found["weight"], found["bias"]


def _cross_entropy_takes(x: Any, target: Any, weight: Any) -> bool:
    return weight is None and x.dim() == 2 and _fits(x) and target.dim() == 1


@_override("_cross_entropy")
def _cross_entropy(x: Any, target: Any, weight: Any, ignore_index: int, reduction: int, smoothing: float) -> Any:
    if not _cross_entropy_takes(x, target, weight):
        return None
    loss, top, total = _kernel("cross_entropy").cross_entropy.forward(x, target, ignore_index, smoothing)
    used = (target != ignore_index).sum().float()
    if reduction != 0:
        loss = loss.sum() / used if reduction == 1 else loss.sum()
    return loss, top + total.log(), used


@_override("_cross_entropy_backward")
def _cross_entropy_backward(
    g: Any, x: Any, target: Any, weight: Any, lse: Any, count: Any, ignore: int, reduction: int, smoothing: float
) -> Any:
    if not _cross_entropy_takes(x, target, weight):
        return None
    g = (g.float() / count if reduction == 1 else g.float()).expand(target.shape)
    one = lse.new_ones(()).expand(lse.shape).contiguous()
    values = dict(logits=x, target=target, ignore_index=ignore, label_smoothing=smoothing)
    return (_kernel("cross_entropy").cross_entropy.gradients([g], values, (None, lse.float().contiguous(), one))["logits"],)


def _attention_takes(q: Any, k: Any, v: Any, mask: Any) -> bool:
    shapes = q.dim() == k.dim() == 4 and v.shape == k.shape and q.shape[0] == k.shape[0] and q.shape[3] == k.shape[3]
    masks = mask is None or (mask.numel() > 0 and (str(mask.dtype) == "minigrad.bool" or _fits(mask)))
    return shapes and q.dtype == k.dtype == v.dtype and masks and q.shape[3] <= 256 and _fits(q, k, v) and k.numel() > 0


def _attention_problem(q: Any, k: Any, v: Any, mask: Any, causal: bool, scale: float, dropout: float, rng: Any) -> Any:
    if mask is not None:
        mask = mask.expand(*q.shape[:3], k.shape[2])
    return _kernel("attention").Problem(q, k, v, mask, None, causal, 0, None, scale, dropout=dropout, rng=rng)


def _draw(q: Any, keys: int, generator: Any) -> Any:
    """Seed and position of the numbers that dropout takes, as many as the plain kernel: queries count in blocks of 64."""
    import minigrad as mg
    from minigrad.cuda._door import backend
    from minigrad.kernels._memory import empty

    rng = empty((2,), mg.int64, q.device)
    backend.draw_range(rng.data_ptr(), generator, q.shape[0] * q.shape[1] * keys * -(-q.shape[2] // 64) * 64, q.device.index)
    return rng


_LN2 = math.log(2)  # the kernel's logsumexp is of base 2


@_override("_attention")
def _attention(
    q: Any, k: Any, v: Any, mask: Any, dropout: float, causal: bool, scale: float, gqa: bool, generator: Any, unseen: float
) -> Any:
    if unseen != 0 or not _attention_takes(q, k, v, mask):
        return None
    rng = _draw(q, k.shape[2], generator) if dropout > 0 else None
    out, lse = _attention_problem(q, k, v, mask, causal, scale, dropout, rng).forward(_empty_like(q))
    return out, lse.mul_(_LN2), lse if rng is None else rng  # without dropout the last is empty


@_override("_attention_backward")
def _attention_backward(
    g: Any, q: Any, k: Any, v: Any, mask: Any, out: Any, lse: Any, rng: Any, dropout: float, causal: bool, scale: float, gqa: bool
) -> Any:
    if not _attention_takes(q, k, v, mask):
        return None
    found = [_empty_like(t) for t in (q, k, v)]  # a gradient of the mask is computed elsewhere
    out = out if out.stride(-1) == 1 else out.contiguous()
    _attention_problem(q, k, v, mask, causal, scale, dropout, rng).backward(g, out, lse / _LN2, *found)
    return tuple(found)


def _deliver(outs: tuple, results: tuple) -> None:
    """Results into the op's outputs: most are there already (_memory.offering), the rest is copied."""
    pairs = [(o, r) for o, r in zip(outs, results) if r.data_ptr() != o.data_ptr() and o.numel()]
    if len(pairs) > 1:  # a result may lie in another's output
        pairs = [(o, r.clone()) for o, r in pairs]
    for o, r in pairs:
        o.copy_(r.reshape(o.shape))


def _python_kernel(function: Callable[..., Any]) -> Callable[..., bool]:
    def kernel(outs: tuple, *args: Any) -> bool:
        from minigrad.kernels._memory import offering

        with offering(outs):
            results = function(*args)
        if results is None:
            return False
        _deliver(outs, results)
        return True

    return kernel


def install(on: bool = True) -> None:
    """Put the kernels in (where Triton can run), or take them out again."""
    on = on and os.environ.get("MINIGRAD_TRITON") != "0" and available()
    for name, function in TABLE.items():
        _core.set_python_kernel(name, "cuda", _python_kernel(function) if on else None)


@contextlib.contextmanager
def disabled() -> Iterator[None]:
    """The plain CUDA kernels inside."""
    install(False)
    try:
        yield
    finally:
        install()
