"""nn.attention: contexts, causal biases and flex_attention against PyTorch."""

import numpy as np
import pytest
from by_device import device_type

import minigrad as mg
import minigrad.nn.attention as attention
from minigrad.nn.attention import bias as mbias
from minigrad.nn.attention import flex_attention as mflex

torch = pytest.importorskip("torch")
tflex = pytest.importorskip("torch.nn.attention.flex_attention")
pytestmark = pytest.mark.filterwarnings("ignore")


def qkv(heads=2, length=5, keys=7, width=4, shared=None):
    rng = np.random.default_rng(0)
    shapes = [(2, heads, length, width), (2, shared or heads, keys, width), (2, shared or heads, keys, 3)]
    return [rng.normal(size=s).astype(np.float32) for s in shapes]


def close(a, b, tol=1e-5):
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=tol, atol=tol)


def run(lib, flex, score_mod=None, mask_mod=None, shared=None, **options):
    """Outputs, and for minigrad gradients too (PyTorch's has none on the CPU): to compare with `reference`."""
    tensors = [lib.tensor(a, requires_grad=lib is mg) for a in qkv(4 if shared else 2, shared=shared)]
    mask = flex.create_block_mask(mask_mod, 2, tensors[0].shape[1], 5, 7, device=device_type(lib), BLOCK_SIZE=4) if mask_mod else None
    out = flex.flex_attention(*tensors, score_mod=score_mod, block_mask=mask, enable_gqa=shared is not None, return_lse=True, **options)
    if lib is torch:
        return [*out, *reference(score_mod, mask_mod, shared, **options)]
    (out[0] ** 2).sum().backward()
    return [*out, *(t.grad for t in tensors)]


def reference(score_mod, mask_mod, shared, scale=0.5):
    """PyTorch's gradients of the same, one score at a time."""
    tensors = [torch.tensor(a, requires_grad=True) for a in qkv(4 if shared else 2, shared=shared)]
    q, k, v = (t if t.shape[1] == tensors[0].shape[1] else t.repeat_interleave(2, 1) for t in tensors)
    scores = q @ k.transpose(-2, -1) * scale
    index = [torch.tensor(i) for i in range(8)]
    rows = []
    for b, h, i, j in np.ndindex(*scores.shape):
        s = scores[b, h, i, j]
        s = s if score_mod is None else score_mod(s, index[b], index[h], index[i], index[j])
        rows.append(s if mask_mod is None or mask_mod(index[b], index[h], index[i], index[j]) else torch.tensor(-float("inf")))
    scores = torch.stack(rows).reshape(scores.shape)
    empty = (scores == -float("inf")).all(-1, keepdim=True)
    weights = scores.masked_fill(empty, 0).softmax(-1).masked_fill(empty, 0)
    ((weights @ v) ** 2).sum().backward()
    return [t.grad for t in tensors]


SCORES = {
    "none": lambda lib: None,
    "relative": lambda lib: lambda s, b, h, q, k: s + (q - k),
    "alibi": lambda lib: lambda s, b, h, q, k: s + lib.tensor([0.5, 0.25, 0.1, 0.2])[h] * (k - q),
    "softcap": lambda lib: lambda s, b, h, q, k: 2 * lib.tanh(s / 2),
    "table": lambda lib: lambda s, b, h, q, k: s * lib.arange(70.0).reshape(2, 5, 7)[b][q][k].sin(),
    "causal": lambda lib: lambda s, b, h, q, k: lib.where(q >= k, s, -float("inf")),
}
MASKS = {
    "causal": lambda lib: lambda b, h, q, k: q >= k,
    "window": lambda lib: lambda b, h, q, k: (q - k).abs() <= 1,
    "documents": lambda lib: lambda b, h, q, k: lib.tensor([0, 0, 1, 1, 2, 2, 2])[q] == lib.tensor([0, 0, 1, 1, 2, 2, 2])[k],
    "by_head": lambda lib: lambda b, h, q, k: (h == 0) | (k < 3),
    "some_rows_empty": lambda lib: lambda b, h, q, k: (q > 2) & (k < 4),
}


@pytest.mark.parametrize("name", SCORES)
def test_score_mods(name):
    for a, b in zip(run(mg, mflex, SCORES[name](mg)), run(torch, tflex, SCORES[name](torch))):
        close(a, b)


@pytest.mark.parametrize("name", MASKS)
def test_mask_mods(name):
    for a, b in zip(run(mg, mflex, mask_mod=MASKS[name](mg)), run(torch, tflex, mask_mod=MASKS[name](torch))):
        close(a, b)
    ours = mflex.create_mask(MASKS[name](mg), 2, 2, 5, 7)
    theirs = tflex.create_mask(MASKS[name](torch), 2, 2, 5, 7, device="cpu")
    assert ours.dtype == mg.bool and np.array_equal(ours.numpy(), theirs.numpy())


def test_grouped_heads_scale_and_aux():
    for a, b in zip(run(mg, mflex, shared=2, scale=0.3), run(torch, tflex, shared=2, scale=0.3)):
        close(a, b)
    q, k, v = (mg.tensor(a) for a in qkv())
    out, aux = mflex.flex_attention(q, k, v, return_aux=mflex.AuxRequest(lse=True, max_scores=True))
    close(aux.max_scores, (q @ k.transpose(-2, -1) / 2).amax(-1))
    with pytest.raises(ValueError, match="enable_gqa"):
        mflex.flex_attention(q, k[:, :1], v[:, :1])


def test_captured_tensors_get_gradients():
    grads = []
    for lib, flex in ((mg, mflex), (torch, tflex)):
        table = lib.zeros(2, requires_grad=True)
        q, k, v = (lib.tensor(a) for a in qkv())
        flex.flex_attention(q, k, v, score_mod=lambda s, b, h, i, j: s + table[h] * (i - j)).pow(2).sum().backward()  # noqa: B023
        grads.append(table.grad)
    close(*grads, 1e-4)


def test_block_mask_object():
    def mod(b, h, q, k):
        return q >= k

    ours = mflex.create_block_mask(mod, None, None, 300, 256, device=device_type())
    theirs = tflex.create_block_mask(mod, None, None, 300, 256, device="cpu")
    assert ours.shape == theirs.shape and ours.sparsity() == theirs.sparsity() and repr(ours) == repr(theirs).replace("torch.", "minigrad.")
    assert str(ours) == str(theirs) and ours.BLOCK_SIZE == theirs.BLOCK_SIZE and ours.numel() == theirs.numel()
    for name in ("kv_num_blocks", "full_kv_num_blocks", "q_num_blocks", "full_q_num_blocks", "kv_indices", "q_indices"):
        assert np.array_equal(getattr(ours, name).numpy(), getattr(theirs, name).numpy()), name
    assert np.array_equal(ours.to_dense().numpy(), theirs.to_dense().numpy())
    assert ours[0].shape == theirs[0].shape
    both = mflex.and_masks(mod, lambda b, h, q, k: q - k < 3)
    either = mflex.or_masks(mod, lambda b, h, q, k: k == 5)
    assert mflex.create_mask(both, 1, 1, 6, 6).sum() == 15 and mflex.create_mask(either, 1, 1, 6, 6).sum() == 26


@pytest.mark.parametrize("make", ["causal_upper_left", "causal_lower_right"])
def test_causal_bias(make):
    tbias = pytest.importorskip("torch.nn.attention.bias")
    q, k, v = qkv()
    ours, theirs = getattr(mbias, make)(5, 7), getattr(tbias, make)(5, 7)
    assert isinstance(ours, mg.Tensor) and tuple(ours.shape) == (5, 7) and ours.seq_len_q == 5 and ours.variant.name == theirs.variant.name
    assert repr(ours) == repr(theirs)
    a = mg.nn.functional.scaled_dot_product_attention(*(mg.tensor(x) for x in (q, k, v)), attn_mask=ours)
    b = torch.nn.functional.scaled_dot_product_attention(*(torch.tensor(x) for x in (q, k, v)), attn_mask=theirs)
    close(a, b)


def test_sdpa_kernel():
    q = mg.randn(1, 2, 3, 4)
    with attention.sdpa_kernel(attention.SDPBackend.MATH):
        assert attention._cur_sdpa_kernel_backends() == [attention.SDPBackend.MATH]
        mg.nn.functional.scaled_dot_product_attention(q, q, q)
    with attention.sdpa_kernel([attention.SDPBackend.FLASH_ATTENTION, attention.SDPBackend.MATH], set_priority=True):
        pass
    assert len(attention._cur_sdpa_kernel_backends()) == 5
    with pytest.raises(AssertionError), attention.sdpa_kernel("math"):
        pass

    @attention.sdpa_kernel(attention.SDPBackend.MATH)
    def decorated():
        return attention._cur_sdpa_kernel_backends()

    assert decorated() == decorated() == [attention.SDPBackend.MATH]
    assert repr(attention.SDPBackend.MATH) == "<SDPBackend.MATH: 0>" and int(attention.SDPBackend.ERROR) == -1
