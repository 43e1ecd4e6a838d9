"""The blocked kernel of scaled_dot_product_attention: against float64 and PyTorch, over shapes, masks, strides and dtypes.

Legend: B batch, H heads, G key heads, L queries, S keys, E width, V width of the values.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import minigrad as mg
from minigrad.nn._functional.attention import composite_attention
from minigrad.op import functions

F, TF = mg.nn.functional, torch.nn.functional
# (B, H, G, L, S, E, V): blocks of 64 queries and keys, whole and cut; odd widths; decoding; few heads; groups
SHAPES = [
    (2, 3, 3, 7, 5, 4, 6),
    (1, 2, 2, 64, 64, 32, 32),
    (2, 2, 2, 130, 130, 64, 64),
    (1, 3, 3, 100, 257, 33, 17),
    (1, 2, 2, 200, 70, 80, 128),
    (1, 1, 1, 70, 66, 256, 256),
    (2, 4, 2, 65, 129, 16, 16),
    (1, 6, 1, 40, 90, 24, 24),
    (3, 2, 2, 1, 300, 64, 64),
    (1, 1, 1, 1, 4100, 20, 9),
    (2, 4, 2, 3, 257, 40, 24),
]
MASKS = ("none", "causal", "bool", "float", "keys", "row")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def make(rng, shape, dtype=np.float32):
    b, h, g, n, s, e, v = shape
    return [rng.standard_normal(x).astype(dtype) for x in ((b, h, n, e), (b, g, s, e), (b, g, s, v), (b, h, n, v))]


def make_mask(rng, kind, shape):
    b, h, _, n, s, _, _ = shape
    if kind == "bool":
        return rng.random((b, 1, n, s)) < 0.7
    if kind == "float":
        return rng.standard_normal((h, n, s)).astype(np.float32)
    if kind == "keys":
        return rng.random((b, 1, 1, s)) < 0.7
    return rng.standard_normal((n, 1)).astype(np.float32) if kind == "row" else None


def attend(lib, function, arrays, mask, dtype, kind, gqa, **options):
    """Output and gradients as float64 arrays."""
    tensor = (lambda a: mg.tensor(a)) if lib is mg else (lambda a: torch.from_numpy(a.copy()))
    q, k, v = (tensor(x).to(dtype).requires_grad_() for x in arrays[:3])
    given = None if mask is None else tensor(mask) if mask.dtype == bool else tensor(mask).to(dtype)
    out = function(q, k, v, attn_mask=given, is_causal=kind == "causal", enable_gqa=gqa, **options)
    grads = lib.autograd.grad(out, (q, k, v), tensor(arrays[3]).to(dtype))
    return [x.detach().double().numpy() for x in (out, *grads)]


def scale_of(x):
    """Its largest number; 1 for gradients that vanish, where rounding leaves the operands' last digits."""
    largest = float(np.abs(x).max()) if x.size else 0.0
    return largest if largest > 1e-9 else 1.0


@pytest.mark.parametrize(("shape", "kind"), list(itertools.product(SHAPES, MASKS)), ids=str)
def test_error_against_float64_is_that_of_torch(rng, shape, kind):
    arrays, mask, gqa = make(rng, shape), make_mask(rng, kind, shape), shape[1] != shape[2]
    exact = attend(torch, TF.scaled_dot_product_attention, arrays, mask, torch.float64, kind, gqa)
    theirs = attend(torch, TF.scaled_dot_product_attention, arrays, mask, torch.float32, kind, gqa)
    ours = attend(mg, F.scaled_dot_product_attention, arrays, mask, mg.float32, kind, gqa)
    wide = attend(mg, F.scaled_dot_product_attention, arrays, mask, mg.float64, kind, gqa)
    for e, t, o, w in zip(exact, theirs, ours, wide, strict=True):
        np.testing.assert_allclose(w, e, rtol=0, atol=2e-14 * scale_of(e))
        rms_ours, rms_theirs = np.sqrt(np.mean((o - e) ** 2)), np.sqrt(np.mean((t - e) ** 2))
        assert rms_ours <= 1.5 * rms_theirs + 2e-7 * scale_of(e), (rms_ours, rms_theirs)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("shape", [SHAPES[2], SHAPES[3], SHAPES[6], SHAPES[8], SHAPES[10]], ids=str)
@pytest.mark.parametrize("kind", ["none", "causal", "float"])
def test_low_precision_rounds_once(rng, shape, kind, dtype):
    gqa = shape[1] != shape[2]
    mask = make_mask(rng, kind, shape)
    arrays = [torch.from_numpy(x).to(getattr(torch, dtype)).float().numpy() for x in make(rng, shape)]
    mask = None if mask is None else torch.from_numpy(mask).to(getattr(torch, dtype)).float().numpy()
    exact = attend(torch, TF.scaled_dot_product_attention, arrays, mask, torch.float64, kind, gqa)
    ours = attend(mg, F.scaled_dot_product_attention, arrays, mask, getattr(mg, dtype), kind, gqa)
    eps = 2.0**-10 if dtype == "float16" else 2.0**-7
    for e, o in zip(exact, ours, strict=True):
        np.testing.assert_allclose(o, e, rtol=0, atol=1.5 * eps * scale_of(e))


LAYOUTS = {
    "heads inside": lambda x: x.transpose(1, 2).contiguous().transpose(1, 2),
    "part of qkv": lambda x: mg.cat([x.transpose(1, 2), x.transpose(1, 2)], -1)[..., : x.shape[-1]].transpose(1, 2),
    "columns apart": lambda x: x.mT.contiguous().mT,
    "2 KiB rows": lambda x: mg.cat([x, mg.zeros(*x.shape[:-1], 512 - x.shape[-1])], -1)[..., : x.shape[-1]],
    "every other row": lambda x: x.repeat_interleave(2, -2)[..., ::2, :],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["none", "causal"])
@pytest.mark.parametrize("queries", [70, 2])
def test_operands_are_read_as_they_lie(rng, layout, kind, queries):
    q, k, v = (mg.tensor(x) for x in make(rng, (2, 3, 3, queries, 100, 32, 32))[:3])
    plain = F.scaled_dot_product_attention(q, k, v, is_causal=kind == "causal")
    views = [LAYOUTS[layout](x).requires_grad_() for x in (q, k, v)]
    out = F.scaled_dot_product_attention(*views, is_causal=kind == "causal")
    np.testing.assert_allclose(out.detach().numpy(), plain.numpy(), rtol=0, atol=1e-6)
    same = [x.detach().contiguous().requires_grad_() for x in (q, k, v)]
    plain = F.scaled_dot_product_attention(*same, is_causal=kind == "causal")
    g = mg.tensor(rng.standard_normal(plain.shape).astype(np.float32))
    for a, b in zip(mg.autograd.grad(out, views, LAYOUTS[layout](g)), mg.autograd.grad(plain, same, g), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=0, atol=5e-6)


def test_results_have_the_layout_of_the_operands():
    q, k, v = (mg.randn(2, 5, 3, 8).transpose(1, 2).requires_grad_() for _ in range(3))
    out = F.scaled_dot_product_attention(q, k, v)
    assert out.transpose(1, 2).is_contiguous()
    for x in mg.autograd.grad(out.sum(), (q, k, v)):
        assert x.transpose(1, 2).is_contiguous()


@pytest.mark.parametrize("shapes", [
    ((5, 4), (3, 4), (3, 2)),
    ((2, 5, 4), (2, 3, 4), (2, 3, 2)),
    ((2, 1, 3, 5, 4), (7, 3, 6, 4), (2, 7, 1, 6, 2)),
    ((2, 3, 5, 4), (6, 4), (1, 6, 2)),
    ((0, 3, 5, 4), (0, 3, 6, 4), (0, 3, 6, 2)),
    ((1, 2, 0, 4), (1, 2, 6, 4), (1, 2, 6, 2)),
    ((1, 2, 5, 4), (1, 2, 0, 4), (1, 2, 0, 2)),
    ((1, 2, 9, 4), (1, 2, 0, 4), (1, 2, 0, 2)),
    ((1, 2, 9, 0), (1, 2, 6, 0), (1, 2, 6, 2)),
    ((1, 2, 9, 3), (1, 2, 6, 3), (1, 2, 6, 0)),
], ids=str)  # fmt: skip
def test_ranks_broadcasting_and_nothing(rng, shapes):
    q, k, v = (mg.tensor(rng.standard_normal(s)).requires_grad_() for s in shapes)
    out = F.scaled_dot_product_attention(q, k, v, scale=0.5)
    want = composite_attention(q, k, v, scale=0.5)
    assert out.shape == want.shape
    np.testing.assert_allclose(out.detach().numpy(), want.detach().numpy(), rtol=1e-12, atol=1e-14)
    g = mg.tensor(rng.standard_normal(out.shape))
    for a, b in zip(mg.autograd.grad(out, (q, k, v), g), mg.autograd.grad(want, (q, k, v), g), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("kind", [*MASKS, "dropout"])
@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[6]], ids=str)
def test_fused_gradient_equals_the_differentiable_one(rng, kind, shape):
    gqa = shape[1] != shape[2]
    q, k, v = (mg.tensor(x).double().requires_grad_() for x in make(rng, shape)[:3])
    mask = make_mask(rng, kind, shape)
    mask = None if mask is None else mg.tensor(mask)
    mg.manual_seed(3)
    out, _, _ = functions["_attention"](q, k, v, mask, 0.3 if kind == "dropout" else 0.0, kind == "causal", 0.4, gqa)
    g = mg.tensor(rng.standard_normal(out.shape))
    fused = mg.autograd.grad(out, (q, k, v), g, retain_graph=True)
    plain = mg.autograd.grad(out, (q, k, v), g, create_graph=True)
    for a, b in zip(fused, plain, strict=True):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-10, atol=1e-12)


def test_second_derivatives_and_the_gradient_of_a_bias(rng):
    q, k, v = (mg.tensor(rng.standard_normal((1, 2, 4, 3))).requires_grad_() for _ in range(3))
    bias = mg.tensor(rng.standard_normal((2, 4, 4))).requires_grad_()
    assert mg.autograd.gradcheck(lambda *x: F.scaled_dot_product_attention(*x), (q, k, v, bias))
    assert mg.autograd.gradgradcheck(lambda *x: F.scaled_dot_product_attention(*x, is_causal=True), (q, k, v))


@pytest.mark.parametrize("kind", ["bool", "float"])
@pytest.mark.parametrize("queries", [3, 70])
def test_a_query_that_sees_no_key(rng, kind, queries):
    arrays = make(rng, (1, 2, 2, queries, 90, 8, 8))
    seen = rng.random((queries, 90)) < 0.6
    seen[1] = False
    seen[:, :64] &= rng.random(64) < 0  # the first block of keys hidden from everybody
    mask = seen if kind == "bool" else np.where(seen, 0, -np.inf).astype(np.float32)
    ours = attend(mg, F.scaled_dot_product_attention, arrays, mask, mg.float32, kind, False)
    theirs = attend(torch, TF.scaled_dot_product_attention, arrays, mask, torch.float32, kind, False)
    assert not ours[0][:, :, 1].any() and not ours[1][:, :, 1].any()
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=3e-6)


@pytest.mark.parametrize("queries", [2, 70])
@pytest.mark.parametrize("dtype", [mg.float32, mg.float64])
def test_extremes(rng, queries, dtype):
    q, k, v = (mg.tensor(x).to(dtype) for x in make(rng, (1, 1, 1, queries, 130, 16, 16))[:3])
    big = F.scaled_dot_product_attention(q * 1e4, k * 1e4, v)  # one weight is 1, the others underflow
    best = (q.double() @ k.double().mT).argmax(-1)
    np.testing.assert_array_equal(big.numpy()[0, 0], v.numpy()[0, 0, best.numpy()[0, 0]])
    for value, bad in ((float("nan"), True), (float("inf"), True), (-0.0, False)):
        odd = q.clone()
        odd[0, 0, 1, 0] = value
        out = F.scaled_dot_product_attention(odd, k, v).numpy()
        assert np.isnan(out[0, 0, 1]).all() == bad and not np.isnan(out[0, 0, 0]).any()
    keys = k.clone()
    keys[0, 0, 129] = float("nan")
    assert np.isnan(F.scaled_dot_product_attention(q, keys, v).numpy()).all()
    later = F.scaled_dot_product_attention(q, keys, v, is_causal=True).numpy()
    assert not np.isnan(later).any()  # nobody sees that key


def bits(tensors):
    return b"".join(x.detach().contiguous().view(mg.uint8).numpy().tobytes() for x in tensors)


@pytest.mark.parametrize("shape", [*SHAPES, (1, 1, 1, 700, 700, 32, 32), (1, 2, 1, 1, 9000, 64, 64)], ids=str)
@pytest.mark.parametrize("kind", ["none", "causal", "bool"])
def test_threads_do_not_change_a_bit(rng, shape, kind):
    arrays, mask = make(rng, shape), make_mask(rng, kind, shape)
    found = set()
    before = mg.get_num_threads()
    try:
        for threads in (1, 2, 5):
            mg.set_num_threads(threads)
            q, k, v = (mg.tensor(x).requires_grad_() for x in arrays[:3])
            given = None if mask is None else mg.tensor(mask)
            out = F.scaled_dot_product_attention(q, k, v, given, is_causal=kind == "causal", enable_gqa=shape[1] != shape[2])
            found.add(bits([out, *mg.autograd.grad(out, (q, k, v), mg.tensor(arrays[3]))]))
    finally:
        mg.set_num_threads(before)
    assert len(found) == 1


def test_dropout_draws_the_same_weights_again(rng):
    q, k, v = (mg.tensor(rng.standard_normal((2, 2, 130, 8))) for _ in range(3))
    mg.manual_seed(5)
    out, lse, state = functions["_attention"](q, k, v, None, 0.25, False, 0.3, False)
    kept = functions["_attention_keep"](state, 0.25, (2, 2, 130, 130))
    assert abs(kept.double().mean().item() - 0.75) < 0.005
    assert abs((kept[0, 0] == kept[1, 1]).double().mean().item() - 0.625) < 0.02  # heads draw on their own
    weights = ((q @ k.mT) * 0.3 - lse.unsqueeze(-1)).exp() * kept / 0.75
    np.testing.assert_allclose(out.numpy(), (weights @ v).numpy(), rtol=0, atol=1e-13)
    mg.manual_seed(5)
    again = F.scaled_dot_product_attention(q, k, v, dropout_p=0.25, scale=0.3)
    np.testing.assert_array_equal(again.numpy(), out.numpy())
    assert (F.scaled_dot_product_attention(q, k, v, dropout_p=0.25) != F.scaled_dot_product_attention(q, k, v, dropout_p=0.25)).any()
    assert not F.scaled_dot_product_attention(q, k, v, dropout_p=1.0).any()


@pytest.mark.parametrize("shape", [SHAPES[8], SHAPES[10], (1, 1, 1, 1, 5000, 33, 17), (2, 2, 2, 70, 130, 16, 16)], ids=str)
@pytest.mark.parametrize("kind", ["none", "bool", "float"])
def test_int8_cache(rng, shape, kind):
    from minigrad.nn.attention.int8_cache import int8_cache_attention, quantize_int8

    q, k, v = (mg.tensor(x) for x in make(rng, shape)[:3])
    mask = make_mask(rng, kind, shape)
    mask = None if mask is None else mg.tensor(mask)
    (ki, ks), (vi, vs) = quantize_int8(k), quantize_int8(v)
    assert ((ki.float() * ks.unsqueeze(-1) - k).abs() <= 0.5001 * ks.unsqueeze(-1)).all()
    gqa = shape[1] != shape[2]
    out = int8_cache_attention(q, ki, vi, ks, vs, mask, enable_gqa=gqa)
    stands_for = [x.double() * s.double().unsqueeze(-1) for x, s in ((ki, ks), (vi, vs))]
    mask = mask if mask is None or mask.dtype == mg.bool else mask.double()
    want = F.scaled_dot_product_attention(q.double(), *stands_for, mask, enable_gqa=gqa)
    np.testing.assert_allclose(out.numpy(), want.numpy(), rtol=0, atol=2e-6)
    apart = [x.mT.contiguous().mT for x in (ki, vi)]
    if kind == "none":
        np.testing.assert_array_equal(int8_cache_attention(q, *apart, ks, vs, enable_gqa=gqa).numpy(), out.numpy())
    with pytest.raises(RuntimeError, match="a number for each row"):
        int8_cache_attention(q, ki, vi, ks[..., :1], vs, enable_gqa=gqa)
    with pytest.raises(RuntimeError, match="int8"):
        int8_cache_attention(q, k, v, ks, vs, enable_gqa=gqa)


def test_memory_grows_with_the_keys_alone():
    def extra(length):
        q, k, v = (mg.randn(1, 1, length, 16, requires_grad=True) for _ in range(3))
        mg._core.reset_peak_memory()
        before = mg.memory_stats()["peak_allocated"]
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        mg.autograd.grad(out.sum(), (q, k, v))
        return mg.memory_stats()["peak_allocated"] - before

    extra(4096)  # from here on the number of shares of a head no longer grows
    assert extra(16384) < 5 * extra(4096) < 16384 * 4096


@pytest.mark.parametrize(("arguments", "options"), [
    (((2, 3), (4, 5), (4, 2)), {}),
    (((2, 3), (4, 3), (5, 2)), {}),
    (((2, 2, 3), (3, 4, 3), (3, 4, 2)), {}),
    (((3, 2, 3), (2, 4, 3), (2, 4, 2)), {"enable_gqa": True}),
    (((2, 3), (4, 3), (4, 2)), {"enable_gqa": True}),
    (((2, 3), (4, 3), (4, 2)), {"attn_mask": (3, 4)}),
    (((2, 3), (4, 3), (4, 2)), {"dropout_p": 1.5}),
])  # fmt: skip
def test_wrong_arguments_raise(arguments, options):
    if "attn_mask" in options:
        options = {"attn_mask": mg.zeros(*options["attn_mask"])}
    with pytest.raises(RuntimeError, match="scaled_dot_product_attention|dropout probability"):
        F.scaled_dot_product_attention(*(mg.zeros(*s) for s in arguments), **options)


def test_function_transforms(rng):
    q, k, v = (mg.tensor(rng.standard_normal((3, 2, 5, 4))) for _ in range(3))
    want = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    batched = mg.func.vmap(lambda *x: F.scaled_dot_product_attention(*x, is_causal=True))(q, k, v)
    np.testing.assert_allclose(batched.numpy(), want.numpy(), rtol=1e-12)
    tangent = mg.tensor(rng.standard_normal(q.shape))
    _, slope = mg.func.jvp(lambda x: F.scaled_dot_product_attention(x, k, v), (q,), (tangent,))
    step = 1e-6
    ends = [F.scaled_dot_product_attention(q + s * step * tangent, k, v) for s in (1, -1)]
    np.testing.assert_allclose(slope.numpy(), ((ends[0] - ends[1]) / (2 * step)).numpy(), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("isa", ["avx2", "portable"])
def test_other_instruction_sets(isa):
    program = (
        "import minigrad as mg, sys\n"
        "from minigrad.nn._functional.attention import composite_attention as plain\n"
        "f = mg.nn.functional.scaled_dot_product_attention\n"
        "mg.manual_seed(0)\n"
        "for dtype in (mg.float32, mg.float64, mg.bfloat16, mg.float16):\n"
        "  for n, s, e in ((70, 130, 33), (2, 300, 40), (64, 64, 64)):\n"
        "    for causal in (False, True):\n"
        "      q, k, v = ((mg.randn(2, 2, x, e) * 0.5).to(dtype).requires_grad_() for x in (n, s, s))\n"
        "      w = [x.detach().double().requires_grad_() for x in (q, k, v)]\n"
        "      a, b = f(q, k, v, is_causal=causal), plain(*w, is_causal=causal)\n"
        "      g = mg.randn(2, 2, n, e).to(dtype)\n"
        "      pairs = [(a, b), *zip(mg.autograd.grad(a, (q, k, v), g), mg.autograd.grad(b, w, g.double()))]\n"
        "      for x, y in pairs:\n"
        "        assert (x.double() - y).abs().max() <= 8 * mg.finfo(dtype).eps * max(y.abs().max(), 1), (dtype, n, causal)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], env={**os.environ, "MINIGRAD_ISA": isa}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("mask", [None, "causal", "padding"])
def test_multihead_attention_without_weights_is_the_fused_one(rng, mask):
    layer = mg.nn.MultiheadAttention(32, 4, batch_first=True, dtype=mg.float64)
    x = mg.tensor(rng.standard_normal((2, 9, 32))).requires_grad_()
    options = {}
    if mask == "causal":
        options = {"attn_mask": mg.nn.Transformer.generate_square_subsequent_mask(9).double(), "is_causal": True}
    elif mask == "padding":
        options = {"key_padding_mask": mg.tensor(rng.random((2, 9)) < 0.3)}
    fused, weights = layer(x, x, x, need_weights=False, **options)
    plain, _ = layer(x, x, x, need_weights=True, **options)
    assert weights is None
    np.testing.assert_allclose(fused.detach().numpy(), plain.detach().numpy(), rtol=1e-10, atol=1e-12)
    parameters = [x, *layer.parameters()]
    for a, b in zip(mg.autograd.grad(fused.sum(), parameters), mg.autograd.grad(plain.sum(), parameters), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-10)
