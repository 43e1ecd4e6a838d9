"""scaled_dot_product_attention on the device: blocks, masks, causal, shared heads, dropout, layouts, dtypes, int8 keys and values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from both import agree, gradients

import minigrad as mg

attention = mg.nn.functional.scaled_dot_product_attention
CASES = {  # query, key and value, options
    "plain": ((2, 3, 5, 8), (2, 3, 7, 8), 6, {}),
    "two blocks": ((1, 2, 40, 8), (1, 2, 37, 8), 8, {}),
    "causal": ((2, 40, 8), (2, 40, 8), 8, {"is_causal": True}),
    "causal, more queries": ((1, 70, 4), (1, 40, 4), 4, {"is_causal": True}),
    "causal, more keys": ((1, 33, 4), (1, 70, 4), 4, {"is_causal": True}),
    "shared heads": ((2, 6, 5, 8), (2, 2, 37, 8), 8, {"enable_gqa": True}),
    "shared heads, causal": ((1, 4, 35, 8), (1, 2, 37, 8), 8, {"enable_gqa": True, "is_causal": True}),
    "dropout": ((2, 2, 5, 8), (2, 2, 9, 8), 8, {"dropout_p": 0.4}),
    "dropout, two blocks": ((1, 40, 4), (1, 70, 4), 4, {"dropout_p": 0.3, "is_causal": True}),
    "broadcast batch": ((2, 1, 5, 8), (3, 7, 8), 4, {"scale": 0.3}),
    "width 60": ((1, 5, 60), (1, 9, 60), 33, {}),
    "width 100": ((1, 5, 100), (1, 9, 100), 128, {}),
    "width 200": ((1, 17, 200), (1, 18, 200), 8, {}),
    "no queries": ((2, 0, 8), (2, 4, 8), 8, {}),
    "no keys": ((2, 3, 8), (2, 0, 8), 8, {}),
}


def operands(query: Any, key: Any, values: int) -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(s) for s in (query, key, (*key[:-1], values))]


def both_passes(put: Any, arrays: list[Any], dtype: Any, **options: Any) -> list[mg.Tensor]:
    leaves = [put(a, dtype, True) for a in arrays]
    out = attention(*leaves, **options)
    return [out, *gradients(out, leaves)]


@pytest.mark.parametrize("case", CASES)
def test_cases(case: str) -> None:
    *shapes, options = CASES[case]
    agree(lambda put: both_passes(put, operands(*shapes), mg.float32, **options))


@pytest.mark.parametrize("dtype", [mg.float64, mg.float16, mg.bfloat16], ids=str)
def test_dtypes(dtype: Any) -> None:
    agree(lambda put: both_passes(put, operands((2, 2, 5, 8), (2, 2, 34, 8), 6), dtype))


@pytest.mark.parametrize("kind", ["bool", "float", "per key", "all hidden"])
def test_masks(kind: str) -> None:
    rng = np.random.default_rng(1)
    mask = {
        "bool": rng.random((5, 36)) > 0.5,
        "float": rng.standard_normal((2, 1, 5, 36)).astype(np.float32),
        "per key": np.where(rng.random((2, 1, 1, 36)) > 0.5, 0, -np.inf).astype(np.float32),
        "all hidden": np.arange(5)[:, None] + np.zeros((1, 36)) > 1,
    }[kind]
    arrays = operands((2, 2, 5, 8), (2, 2, 36, 8), 8)
    agree(lambda put: both_passes(put, arrays, mg.float32, attn_mask=put(mask)))


def test_layouts() -> None:
    x = np.random.default_rng(0).standard_normal((2, 9, 24))

    def compute(put: Any) -> list[mg.Tensor]:
        leaf = put(x, mg.float32, True)
        q, k, v = (t.reshape(2, 9, 2, 4).transpose(1, 2) for t in leaf.split(8, -1))
        out = attention(q, k, v)
        return [out, *gradients(out, [leaf]), attention(q.flip(-1), k[..., ::2].repeat(1, 1, 1, 2), v)]

    agree(compute)


def test_int8_keys_and_values() -> None:
    rng = np.random.default_rng(0)
    query, key, value = rng.standard_normal((2, 4, 3, 8)), rng.integers(-127, 128, (2, 2, 40, 8)), rng.integers(-127, 128, (2, 2, 40, 8))
    key_scale, value_scale = rng.random((2, 2, 40)) / 100, rng.random((2, 2, 40)) / 100

    def compute(put: Any) -> list[mg.Tensor]:
        rest = [put(key, mg.int8), put(value, mg.int8), None, put(key_scale, mg.float32), put(value_scale, mg.float32), 0.35, True]
        return [mg.op.functions["_attention_int8"](put(query, dtype), *rest) for dtype in (mg.float32, mg.bfloat16)]

    agree(compute)


def test_dropout_draws_again_what_it_drew() -> None:
    rng = np.array([12345, 678])
    agree(lambda put: mg.op.functions["_attention_keep"](put(rng), 0.3, (2, 5, 70)))


def test_wide_heads_are_refused_by_name() -> None:
    q = mg.ones(1, 2, 300, device="cuda")
    with pytest.raises(NotImplementedError, match="width 300"):
        attention(q, q, q)
