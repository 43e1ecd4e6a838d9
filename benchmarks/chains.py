"""Chains of pointwise ops on 4 Mi elements (2048 x 2048 float32), some with a normalisation behind them: what fusion is for.

A chain is written once for PyTorch and minigrad and once with jax.numpy. Without fusion each op reads and writes all elements.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

from benchmarks.models import numbers


def _norm_chain(torch: Any, o: dict[str, Any]) -> Any:
    F = torch.nn.functional
    y = F.gelu(o["x"] + o["bias"])
    y = torch.where(o["mask"], y, 0.0) * 1.25 + o["residual"]
    return F.layer_norm(y, (y.shape[1],), o["weight"], o["shift"])


def _bias_gelu(torch: Any, o: dict[str, Any]) -> Any:
    return torch.nn.functional.gelu(o["x"] + o["bias"]) * 0.5 + o["residual"]


def _arithmetic(torch: Any, o: dict[str, Any]) -> Any:
    y = o["x"] * 2.0 + o["residual"]
    y = (y - o["bias"]) * y
    return torch.clamp(y, -3.0, 3.0) * o["x"] + 1.0


def _swiglu(torch: Any, o: dict[str, Any]) -> Any:
    return o["x"] * torch.sigmoid(o["x"]) * o["residual"]


def _softmax_chain(torch: Any, o: dict[str, Any]) -> Any:
    return torch.softmax((o["x"] * 0.125 + o["residual"]).masked_fill(~o["mask"], -1e9), 1)


CHAINS = {"chain/bias_gelu_mask_norm": _norm_chain, "chain/bias_gelu_residual": _bias_gelu, "chain/arithmetic": _arithmetic,
          "chain/swiglu": _swiglu, "chain/scale_mask_softmax": _softmax_chain}  # fmt: skip


def operands(torch: Any, tiny: bool) -> dict[str, Any]:
    """Equal numbers in either library."""
    n = 32 if tiny else 2048
    x, residual = numbers(torch, (n, n)), numbers(torch, (n, n), 1)
    bias, weight, shift = (numbers(torch, (n,), seed) for seed in (2, 3, 4))
    return {"x": x, "residual": residual, "bias": bias, "weight": weight, "shift": shift,
            "mask": numbers(torch, (n, n), 5) > 0}  # fmt: skip


def make(library: Any, name: str, tiny: bool) -> Callable[[], Any]:
    """The chain's call."""
    given, chain = operands(library, tiny), CHAINS[name]
    return lambda: chain(library, given)


class _AsTorch:
    """The few names of torch that the chains use, in JAX."""

    def __init__(self, jax: Any) -> None:
        self.sigmoid, self.where = jax.nn.sigmoid, jax.numpy.where
        self.clamp = jax.numpy.clip
        self.softmax = jax.nn.softmax
        self.nn, self.functional = self, self
        self.gelu = lambda x: jax.nn.gelu(x, approximate=False)
        self._rsqrt = jax.lax.rsqrt

    def layer_norm(self, x: Any, shape: tuple, weight: Any, shift: Any) -> Any:
        """As in torch, over the last dimension."""
        mean = x.mean(-1, keepdims=True)
        return (x - mean) * self._rsqrt(x.var(-1, keepdims=True) + 1e-5) * weight + shift


def make_jax(name: str, tiny: bool) -> Callable[[], Any] | None:
    """The chain jitted, or None without JAX."""
    if importlib.util.find_spec("jax") is None:
        return None
    import jax

    import minigrad as mg

    given = {k: jax.numpy.asarray(v.numpy()) for k, v in operands(mg, tiny).items()}
    torch, chain = _AsTorch(jax), CHAINS[name]
    if name == "chain/scale_mask_softmax":
        jitted = jax.jit(lambda o: jax.nn.softmax(jax.numpy.where(o["mask"], o["x"] * 0.125 + o["residual"], -1e9), 1))
    else:
        jitted = jax.jit(lambda o: chain(torch, o))
    return lambda: jitted(given).block_until_ready()
