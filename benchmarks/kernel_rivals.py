"""What other libraries do in the place of a kernel: PyTorch's own function (cuBLAS, cuDNN, scaled_dot_product_attention behind it) and,
where it has one without writing a kernel, CuPy's. Each takes the library and the parameters of the kernel by name, as its arrays.

A kernel of one's own names its rival in its declaration (`rival=`); that of this table is used where it names none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

TORCH: dict[str, Callable[..., Any]] = {}
CUPY: dict[str, Callable[..., Any]] = {}
BEHIND = {"matmul": "cuBLAS", "matmul_persistent": "cuBLAS", "linear": "cuBLAS", "conv2d": "cuDNN", "attention": "SDPA",
          "attention_decode": "SDPA"}  # the library that torch's form calls  # fmt: skip


def _torch(function: Callable[..., Any]) -> Callable[..., Any]:
    TORCH[function.__name__.strip("_")] = function
    return function


def _cupy(function: Callable[..., Any]) -> Callable[..., Any]:
    CUPY[function.__name__.removeprefix("_cupy_")] = function
    return function


@_torch
def softmax(torch: Any, x: Any, dim: int) -> Any:
    return torch.softmax(x, dim)


@_torch
def log_softmax(torch: Any, x: Any, dim: int) -> Any:
    return torch.log_softmax(x, dim)


@_torch
def layer_norm(torch: Any, x: Any, weight: Any, bias: Any, eps: float) -> Any:
    return torch.nn.functional.layer_norm(x, x.shape[-1:], weight, bias, eps)


@_torch
def rms_norm(torch: Any, x: Any, weight: Any, eps: float) -> Any:
    return torch.nn.functional.rms_norm(x, x.shape[-1:], weight, eps)


@_torch
def add_rms_norm(torch: Any, x: Any, residual: Any, weight: Any, eps: float) -> Any:
    h = x + residual
    return rms_norm(torch, h, weight, eps), h


@_torch
def group_norm(torch: Any, x: Any, groups: int, weight: Any, bias: Any, eps: float) -> Any:
    return torch.nn.functional.group_norm(x, groups, weight, bias, eps)


def _activated(torch: Any, x: Any, activation: str) -> Any:
    functional = torch.nn.functional
    if activation == "gelu_tanh":
        return functional.gelu(x, approximate="tanh")
    return x if activation == "none" else getattr(functional, activation)(x)


@_torch
def bias_activation(torch: Any, x: Any, bias: Any, activation: str) -> Any:
    return _activated(torch, x if bias is None else x + bias, activation)


@_torch
def gated(torch: Any, gate: Any, up: Any, activation: str) -> Any:
    return _activated(torch, gate, activation) * up


@_torch
def dropout(torch: Any, x: Any, residual: Any, p: float, **_: Any) -> Any:
    y = torch.nn.functional.dropout(x, p)
    return y if residual is None else residual + y


@_torch
def uniform(torch: Any, like: Any, **_: Any) -> Any:
    return torch.rand_like(like)


@_torch
def rope(torch: Any, x: Any, cos: Any, sin: Any, interleaved: bool) -> Any:
    a, b = (x[..., 0::2], x[..., 1::2]) if interleaved else x.chunk(2, -1)
    turned = a * cos - b * sin, b * cos + a * sin
    return torch.stack(turned, -1).flatten(-2) if interleaved else torch.cat(turned, -1)


@_torch
def cross_entropy(torch: Any, logits: Any, target: Any, ignore_index: int, label_smoothing: float) -> Any:
    options = dict(ignore_index=ignore_index, reduction="none", label_smoothing=label_smoothing)
    return torch.nn.functional.cross_entropy(logits, target.long(), **options)


@_torch
def linear_cross_entropy(torch: Any, x: Any, weight: Any, target: Any, ignore_index: int, **_: Any) -> Any:
    return cross_entropy(torch, x @ weight.mT, target, ignore_index, 0.0)


@_torch
def embedding(torch: Any, index: Any, weight: Any, padding_idx: int | None) -> Any:
    return torch.nn.functional.embedding(index, weight, padding_idx)


@_torch
def matmul(torch: Any, a: Any, b: Any, **_: Any) -> Any:
    return a @ b


TORCH["matmul_persistent"] = matmul


@_torch
def linear(torch: Any, x: Any, weight: Any, bias: Any, activation: str, **_: Any) -> Any:
    return _activated(torch, torch.nn.functional.linear(x, weight, bias), activation)


@_torch
def int8_linear(torch: Any, x: Any, weight: Any, scale: Any) -> Any:
    return x @ (weight.to(x.dtype) * scale.to(x.dtype).unsqueeze(1)).mT


@_torch
def float8_linear(torch: Any, x: Any, scale_x: Any, weight: Any, scale_weight: Any, like: Any, format: str, **_: Any) -> Any:
    kind = torch.float8_e4m3fn if format == "e4m3" else torch.float8_e5m2
    one = (scale_x.unsqueeze(1), scale_weight.unsqueeze(0))
    return torch._scaled_mm(x.view(kind), weight.view(kind).mT, *one, out_dtype=like.dtype)


@_torch
def grouped_matmul(torch: Any, x: Any, weight: Any, starts: list[int]) -> Any:
    return torch.cat([x[a:b] @ w for a, b, w in zip(starts[:-1], starts[1:], weight)])


@_torch
def conv2d(torch: Any, x: Any, weight: Any, bias: Any, **options: Any) -> Any:
    return torch.nn.functional.conv2d(x, weight, bias, **options)


@_torch
def attention(torch: Any, q: Any, k: Any, v: Any, bias: Any, causal: bool, scale: float | None, **_: Any) -> Any:
    options = dict(is_causal=causal, scale=scale, enable_gqa=q.shape[1] != k.shape[1])
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, bias, **options)


@_torch
def attention_decode(torch: Any, q: Any, k: Any, v: Any, length: Any, scale: float | None) -> Any:
    k, v = (x.transpose(1, 2) for x in (k, v))
    queries, keys = (torch.arange(x.shape[2], device=x.device) for x in (q, k))
    seen = keys < (length.view(-1, 1) - q.shape[2] + 1 + queries).unsqueeze(-1)
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, seen.unsqueeze(1), scale=scale, enable_gqa=q.shape[1] != k.shape[1])


@_torch
def cumsum(torch: Any, x: Any, **_: Any) -> Any:
    return x.cumsum(-1)


@_torch
def histogram(torch: Any, index: Any, bins: int, **_: Any) -> Any:
    return torch.bincount(index.reshape(-1), minlength=bins)


@_cupy
def _cupy_matmul(cupy: Any, a: Any, b: Any, **_: Any) -> Any:
    return a @ b


CUPY["matmul_persistent"] = _cupy_matmul


@_cupy
def _cupy_softmax(cupy: Any, x: Any, dim: int) -> Any:
    e = cupy.exp(x - x.max(dim, keepdims=True))
    return e / e.sum(dim, keepdims=True)


@_cupy
def _cupy_layer_norm(cupy: Any, x: Any, weight: Any, bias: Any, eps: float) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    return centred / cupy.sqrt((centred * centred).mean(-1, keepdims=True) + x.dtype.type(eps)) * weight + bias


@_cupy
def _cupy_rms_norm(cupy: Any, x: Any, weight: Any, eps: float) -> Any:
    return x / cupy.sqrt((x * x).mean(-1, keepdims=True) + x.dtype.type(eps)) * weight


@_cupy
def _cupy_cumsum(cupy: Any, x: Any, **_: Any) -> Any:
    return cupy.cumsum(x, -1)


@_cupy
def _cupy_embedding(cupy: Any, index: Any, weight: Any, **_: Any) -> Any:
    return weight[index]


@_cupy
def _cupy_histogram(cupy: Any, index: Any, bins: int, **_: Any) -> Any:
    return cupy.bincount(index.reshape(-1), minlength=bins)
