"""The training steps of models.py in JAX: the same layers, sizes and optimizers, written with jax.numpy, jitted whole, with donated state.

Weights are random numbers of the same shapes (results are not compared). `step(name, tiny)` returns the call, or None without JAX.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import models


def step(name: str, tiny: bool) -> Callable[[], Any] | None:
    """One jitted training step of that model; it waits for its result."""
    if importlib.util.find_spec("jax") is None:
        return None
    import jax

    loss, params, data, rule, clip = _MODELS[name](jax, tiny)
    rng_key = jax.random.PRNGKey(0)
    tree = jax.tree_util.tree_map
    state = [tree(jax.numpy.asarray, params), tree(jax.numpy.zeros_like, params), tree(jax.numpy.zeros_like, params), jax.numpy.zeros(())]

    def update(p: Any, m: Any, v: Any, t: Any) -> Any:
        value, g = jax.value_and_grad(loss)(p, data, jax.random.fold_in(rng_key, t.astype("int32")))
        if clip:
            norm = jax.numpy.sqrt(sum(jax.numpy.sum(x * x) for x in jax.tree_util.tree_leaves(g)))
            scale = jax.numpy.minimum(1.0, clip / (norm + 1e-6))
            g = tree(lambda x: x * scale, g)
        p, m, v = rule(jax, p, m, v, g, t + 1)
        return p, m, v, t + 1, value

    jitted = jax.jit(update, donate_argnums=(0, 1, 2, 3))

    def run() -> Any:
        *state[:], value = jitted(*state)
        return value.block_until_ready()

    return run


def _adam(lr: float, b1: float = 0.9, b2: float = 0.999, decay: float = 0.0) -> Callable:
    def rule(jax: Any, p: Any, m: Any, v: Any, g: Any, t: Any) -> Any:
        tree = jax.tree_util.tree_map
        m, v = tree(lambda m, g: b1 * m + (1 - b1) * g, m, g), tree(lambda v, g: b2 * v + (1 - b2) * g * g, v, g)
        root = jax.numpy.sqrt(1 - b2**t)
        return tree(lambda p, m, v: p * (1 - lr * decay) - lr / (1 - b1**t) * m / (jax.numpy.sqrt(v) / root + 1e-8), p, m, v), m, v

    return rule


def _sgd(lr: float, momentum: float, decay: float) -> Callable:
    def rule(jax: Any, p: Any, m: Any, v: Any, g: Any, t: Any) -> Any:
        tree = jax.tree_util.tree_map
        m = tree(lambda m, g, p: momentum * m + g + decay * p, m, g, p)
        return tree(lambda p, m: p - lr * m, p, m), m, v

    return rule


class _Numbers:
    """Random float32 arrays, scaled like an initialisation."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def __call__(self, *shape: int, scale: float | None = None) -> np.ndarray:
        fan = int(np.prod(shape[1:])) if len(shape) > 1 else 1
        return self.rng.standard_normal(shape, dtype=np.float32) * (scale if scale is not None else fan**-0.5)

    def linear(self, inside: int, out: int) -> dict[str, np.ndarray]:
        return {"w": self(out, inside), "b": np.zeros(out, np.float32)}

    def labels(self, *shape: int, high: int) -> np.ndarray:
        return self.rng.integers(0, high, shape).astype(np.int32)


def _cross_entropy(jax: Any, logits: Any, y: Any) -> Any:
    return -jax.numpy.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1).mean()


def _linear(p: Any, x: Any) -> Any:
    return x @ p["w"].T + p["b"]


def _mlp(jax: Any, tiny: bool) -> tuple:
    n, batch = _Numbers(), 4 if tiny else 64
    params = {"a": n.linear(784, 128), "b": n.linear(128, 10)}
    data = n(batch, 784, scale=1.0), n.labels(batch, high=10)
    return lambda p, d, key: _cross_entropy(jax, _linear(p["b"], jax.nn.relu(_linear(p["a"], d[0]))), d[1]), params, data, _adam(1e-3), 0.0


def _conv(jax: Any, x: Any, w: Any, stride: int = 1, padding: int = 0) -> Any:
    return jax.lax.conv_general_dilated(x, w, (stride, stride), [(padding, padding)] * 2, dimension_numbers=("NCHW", "OIHW", "NCHW"))


def _dropout(jax: Any, x: Any, p: float, key: Any) -> Any:
    return jax.numpy.where(jax.random.bernoulli(key, 1 - p, x.shape), x / (1 - p), 0)


def _cnn(jax: Any, tiny: bool) -> tuple:
    n, batch = _Numbers(), 2 if tiny else 64
    params = {
        "c1": n(32, 1, 3, 3),
        "d1": n(32, scale=0.1),
        "c2": n(64, 32, 3, 3),
        "d2": n(64, scale=0.1),
        "a": n.linear(9216, 128),
        "b": n.linear(128, 10),
    }
    data = n(batch, 1, 28, 28, scale=1.0), n.labels(batch, high=10)

    def loss(p: Any, d: Any, key: Any) -> Any:
        k1, k2 = jax.random.split(key)
        x = jax.nn.relu(_conv(jax, d[0], p["c1"]) + p["d1"][:, None, None])
        x = jax.nn.relu(_conv(jax, x, p["c2"]) + p["d2"][:, None, None])
        x = jax.lax.reduce_window(x, -np.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
        x = _dropout(jax, x, 0.25, k1).reshape(x.shape[0], -1)
        return _cross_entropy(jax, _linear(p["b"], _dropout(jax, jax.nn.relu(_linear(p["a"], x)), 0.5, k2)), d[1])

    return loss, params, data, _adam(1e-3), 0.0


def _resnet(jax: Any, tiny: bool) -> tuple:
    n, (batch, base) = _Numbers(), (2, 4) if tiny else (32, 64)

    def layer(inside: int, out: int, k: int) -> dict:
        return {"w": n(out, inside, k, k), "g": np.ones(out, np.float32), "b": np.zeros(out, np.float32)}

    params: dict[str, Any] = {"stem": layer(3, base, 3), "blocks": []}
    strides, inside = [], base
    for stage in range(4):
        out = base << stage
        for k in range(2):
            stride = 2 if stage and not k else 1
            block = {"a": layer(inside, out, 3), "b": layer(out, out, 3)}
            if stride != 1 or inside != out:
                block["short"] = layer(inside, out, 1)
            params["blocks"].append(block)
            strides.append(stride)
            inside = out
    params["head"] = n.linear(inside, 10)
    data = n(batch, 3, 32, 32, scale=1.0), n.labels(batch, high=10)

    def norm(p: Any, x: Any, stride: int, padding: int) -> Any:
        x = _conv(jax, x, p["w"], stride, padding)
        mean, var = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
        return (x - mean) * jax.lax.rsqrt(var + 1e-5) * p["g"][:, None, None] + p["b"][:, None, None]

    def loss(p: Any, d: Any, key: Any) -> Any:
        x = jax.nn.relu(norm(p["stem"], d[0], 1, 1))
        for block, stride in zip(p["blocks"], strides):
            y = norm(block["b"], jax.nn.relu(norm(block["a"], x, stride, 1)), 1, 1)
            x = jax.nn.relu(y + (norm(block["short"], x, stride, 0) if "short" in block else x))
        return _cross_entropy(jax, _linear(p["head"], x.mean((2, 3))), d[1])

    return loss, params, data, _sgd(0.01, 0.9, 5e-4), 0.0


def _gpt_of(batch: int, vocabulary: int, context: int, layers: int, heads: int, width: int) -> Callable:
    def make(jax: Any, tiny: bool) -> tuple:
        n = _Numbers()

        def norm() -> dict:
            return {"g": np.ones(width, np.float32), "b": np.zeros(width, np.float32)}

        blocks = [{"n1": norm(), "qkv": n.linear(width, 3 * width), "proj": n.linear(width, width), "n2": norm(),
                   "up": n.linear(width, 4 * width), "down": n.linear(4 * width, width)} for _ in range(layers)]  # fmt: skip
        params = {"wte": n(vocabulary, width, scale=0.02), "wpe": n(context, width, scale=1.0), "blocks": blocks, "n": norm()}
        data = n.labels(batch, context, high=vocabulary), n.labels(batch, context, high=vocabulary)
        mask = np.tril(np.ones((context, context), bool))

        def layer_norm(p: Any, x: Any) -> Any:
            mean = x.mean(-1, keepdims=True)
            return (x - mean) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-5) * p["g"] + p["b"]

        def attention(p: Any, x: Any) -> Any:
            b, t, d = x.shape
            q, k, v = (a.reshape(b, t, heads, d // heads).transpose(0, 2, 1, 3) for a in jax.numpy.split(_linear(p["qkv"], x), 3, -1))
            scores = jax.numpy.where(mask, q @ k.transpose(0, 1, 3, 2) * (d // heads) ** -0.5, -np.inf)
            return _linear(p["proj"], (jax.nn.softmax(scores) @ v).transpose(0, 2, 1, 3).reshape(b, t, d))

        def loss(p: Any, d: Any, key: Any) -> Any:
            x = p["wte"][d[0]] + p["wpe"][None]
            for block in p["blocks"]:
                x = x + attention(block, layer_norm(block["n1"], x))
                x = x + _linear(block["down"], jax.nn.gelu(_linear(block["up"], layer_norm(block["n2"], x)), approximate=False))
            logits = layer_norm(p["n"], x) @ p["wte"].T
            return _cross_entropy(jax, logits.reshape(-1, logits.shape[-1]), d[1].reshape(-1))

        return loss, params, data, _adam(3e-4, 0.9, 0.95, 0.1), 1.0

    return make


def _gpt(jax: Any, tiny: bool) -> tuple:
    return _gpt_of(*((2, 11, 8, 1, 2, 16) if tiny else (4, 4096, 256, 6, 6, 384)))(jax, tiny)


def _chargpt(jax: Any, tiny: bool) -> tuple:
    return _gpt_of(*((2, 11, 8, 1, 2, 16) if tiny else (12, 65, 64, 4, 4, 128)))(jax, tiny)


def _lstm(jax: Any, tiny: bool) -> tuple:
    n, (batch, steps, vocabulary, width) = _Numbers(), (2, 5, 11, 8) if tiny else (16, 64, 1000, 256)
    cells = [{"x": n.linear(width, 4 * width), "h": n.linear(width, 4 * width)} for _ in range(2)]
    params = {"table": n(vocabulary, width, scale=1.0), "cells": cells, "head": n.linear(width, vocabulary)}
    data = n.labels(batch, steps, high=vocabulary), n.labels(batch, steps, high=vocabulary)

    def layer(p: Any, x: Any) -> Any:  # x: steps, batch, width; the input's product for all steps at once
        gates = _linear(p["x"], x)

        def cell(carry: Any, gate: Any) -> Any:
            h, c = carry
            i, f, g, o = jax.numpy.split(gate + _linear(p["h"], h), 4, -1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jax.numpy.tanh(g)
            h = jax.nn.sigmoid(o) * jax.numpy.tanh(c)
            return (h, c), h

        start = jax.numpy.zeros((x.shape[1], width), "float32")
        return jax.lax.scan(cell, (start, start), gates)[1]

    def loss(p: Any, d: Any, key: Any) -> Any:
        x = p["table"][d[0].T]
        for cell in p["cells"]:
            x = layer(cell, x)
        return _cross_entropy(jax, _linear(p["head"], x).reshape(-1, vocabulary), d[1].T.reshape(-1))

    return loss, params, data, _adam(1e-3), 0.5


_MODELS = {"mlp": _mlp, "cnn28": _cnn, "resnet18_32": _resnet, "gpt": _gpt, "chargpt": _chargpt, "lstm_lm": _lstm}
assert set(_MODELS) == set(models.TRAINING)
