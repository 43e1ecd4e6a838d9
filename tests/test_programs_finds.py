"""What running PyTorch programs brought to light: small things, each checked against PyTorch."""

from __future__ import annotations

import copy
import functools
import io
import pickle

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn

torch = pytest.importorskip("torch")


def data(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape).astype("float32")


def close(ours: object, theirs: object, tol: float = 1e-6) -> None:
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=tol, atol=tol)


def test_linspace_to_the_last_bit() -> None:
    for start, end, n in ((-1, 1, 4), (1e-4, 0.02, 1000), (0, np.pi, 33), (2, 6, 64), (-3.3, 7.7, 101), (5, 5, 1), (0, 1, 2), (0, 1, 0)):
        assert np.array_equal(mg.linspace(start, end, n).numpy(), torch.linspace(start, end, n).numpy()), (start, end, n)


def test_split_by_keyword() -> None:
    x = mg.arange(10)
    assert [p.tolist() for p in x.split(split_size=4, dim=0)] == [p.tolist() for p in torch.arange(10).split(split_size=4, dim=0)]
    assert [p.tolist() for p in x.split(split_size=[3, 7])] == [p.tolist() for p in x.split([3, 7], 0)]


def test_repr_breaks_lines_where_pytorch_does() -> None:
    for n in (5, 6, 7, 8, 9):
        ours, theirs = mg.arange(n) * 0.5, torch.arange(n) * 0.5
        assert repr(ours.requires_grad_()).replace("minigrad", "torch") == repr(theirs.requires_grad_())
        assert repr((ours * 1.5).exp()).replace("minigrad", "torch") == repr((theirs * 1.5).exp())


def test_frexp_is_a_named_tuple() -> None:
    ours, theirs = mg.frexp(mg.tensor([1.0, 3.0, 0.0, -5.5])), torch.frexp(torch.tensor([1.0, 3.0, 0.0, -5.5]))
    assert ours._fields == ("mantissa", "exponent") and ours.mantissa.tolist() == theirs.mantissa.tolist()
    assert ours.exponent.dtype == mg.int32 and ours.exponent.tolist() == theirs.exponent.tolist()
    out = mg.empty(4), mg.empty(4, dtype=mg.int32)
    assert mg.frexp(mg.tensor([1.0, 3.0, 0.0, -5.5]), out=out).mantissa is out[0]


def test_norm_takes_out_and_dtype_by_position() -> None:
    x = data(3, 4)
    close(mg.norm(mg.tensor(x), 2, 1, True, None, mg.float64), torch.norm(torch.tensor(x), 2, 1, True, None, torch.float64))


def test_attribute_errors_name_the_class() -> None:
    with pytest.raises(AttributeError, match="^'Tensor' object has no attribute 'foo'"):
        mg.ones(1).foo  # noqa: B018


def test_sparse_zeros_stay_sparse() -> None:
    x = mg.eye(3).to_sparse()
    for made in (mg.zeros_like(x), mg.empty_like(x), mg.zeros(3, 3, layout=mg.sparse_coo), mg.zeros_like(mg.eye(3), layout=mg.sparse_coo)):
        assert made.layout is mg.sparse_coo and made._nnz() == 0 and made.shape == (3, 3)
    assert mg.zeros_like(x, layout=mg.strided).tolist() == mg.zeros(3, 3).tolist()
    assert mg.zeros_like(mg.eye(3).to_sparse_csr()).to_dense().tolist() == mg.zeros(3, 3).tolist()
    assert (mg.zeros_like(x) + x).to_dense().tolist() == mg.eye(3).tolist()


@pytest.mark.parametrize(("low", "high", "zero"), [(-8, 7, 0), (0, 255, 3), (-128, 127, -2)])
def test_fake_quantize(low: int, high: int, zero: int) -> None:
    x = data(4, 6) * 2
    ours, theirs = mg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    grid = (0.1, zero, low, high)
    a, b = mg.fake_quantize_per_tensor_affine(ours, *grid), torch.fake_quantize_per_tensor_affine(theirs, *grid)
    close(a, b), a.sum().backward(), b.sum().backward()
    close(ours.grad, theirs.grad)
    scale, zeros = np.array([0.1, 0.2, 0.05, 0.3], "float32"), np.full(4, zero, "int32")
    a = mg.fake_quantize_per_channel_affine(ours, mg.tensor(scale), mg.tensor(zeros), 0, low, high)
    close(a, torch.fake_quantize_per_channel_affine(theirs, torch.tensor(scale), torch.tensor(zeros), 0, low, high))


def test_storages_of_files_and_windows(tmp_path: object) -> None:
    path = str(tmp_path / "bytes")
    with open(path, "wb") as file:
        file.write(bytes(range(16)))
    storage = mg.UntypedStorage.from_file(path, False, 16)
    assert storage.untyped() is storage and storage.nbytes() == 16
    part = storage[4:8]
    seen = mg.asarray(part, dtype=mg.uint8)
    assert seen.tolist() == [4, 5, 6, 7] == seen.view(mg.int32).view(mg.uint8).tolist()
    part[0] = 99
    assert storage[4] == 99 and open(path, "rb").read()[4] == 4
    shared = mg.UntypedStorage.from_file(path, True, 32)
    shared[31] = 7
    assert open(path, "rb").read()[31] == 7 and len(shared) == 32


def test_selective_checkpoint_contexts_are_taken() -> None:
    from minigrad.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

    x = mg.tensor(data(3, 3), requires_grad=True)
    for policy in (lambda ctx, op, *a, **k: CheckpointPolicy.MUST_SAVE, []):
        make = functools.partial(create_selective_checkpoint_contexts, policy)
        x.grad = None
        checkpoint(lambda t: (t @ t).sigmoid(), x, use_reentrant=False, context_fn=make).sum().backward()
        close(x.grad, mg.autograd.grad((x @ x).sigmoid().sum(), x)[0])
    with pytest.raises(TypeError, match="function or a list"):
        create_selective_checkpoint_contexts(1)


# --- forward mode --------------------------------------------------------------------------------------------------------
def test_dual_tensors() -> None:
    import torch.autograd.forward_ad as theirs

    import minigrad.autograd.forward_ad as ours

    x, t, y = data(3, 4), data(3, 4, seed=1), data(3, 4, seed=2)

    def program(m: object, fw: object) -> list:
        primal, tangent, plain = m.tensor(x), m.tensor(t), m.tensor(y)
        with fw.dual_level():
            d = fw.make_dual(primal, tangent)
            assert fw.unpack_dual(d).tangent is tangent and fw.unpack_dual(plain).tangent is None
            found = [fw.unpack_dual(f(d)) for f in (
                lambda v: v**2 + plain**2, lambda v: (v.exp() * plain).sum(), lambda v: m.linalg.svdvals(v), lambda v: m.cat([v, plain]),
                lambda v: v.clone().mul_(3), lambda v: v.softmax(1), lambda v: v.t() @ v,
            )]  # fmt: skip
            assert not any(f.primal.requires_grad for f in found)
            late = d * 2
        assert fw.unpack_dual(late).tangent is None
        return [part for f in found for part in f]

    for a, b in zip(program(mg, ours), program(torch, theirs), strict=True):
        close(a, b, 1e-4)


def test_dual_tensors_of_parameters_and_mixed_modes() -> None:
    import minigrad.autograd.forward_ad as fw

    x = mg.tensor(data(3), requires_grad=True)
    with fw.dual_level():
        tangent = fw.unpack_dual((fw.make_dual(x, mg.ones(3)) ** 3).sum()).tangent
    tangent.backward()
    close(x.grad, 6 * x)
    layer = nn.Linear(3, 2)
    weight = layer.weight
    with fw.dual_level():
        del layer.weight
        layer.weight = fw.make_dual(weight, mg.ones(2, 3))
        out = fw.unpack_dual(layer(x.detach()[None]))
    close(out.tangent, x.detach().sum().expand(1, 2))


def test_dual_level_errors() -> None:
    import minigrad.autograd.forward_ad as fw

    with pytest.raises(RuntimeError, match="no level exists"):
        fw.make_dual(mg.ones(1), mg.ones(1))
    with pytest.raises(RuntimeError):
        fw.exit_dual_level()
    with fw.dual_level():
        with pytest.raises(RuntimeError, match="Nested forward mode AD is not supported"):
            fw.enter_dual_level()
        with pytest.raises(ValueError, match="Expected primal to be floating point"):
            fw.make_dual(mg.ones(1, dtype=mg.int64), mg.ones(1))
        with pytest.raises(RuntimeError, match="one shape"):
            fw.make_dual(mg.ones(1), mg.ones(2))


def test_pickles_of_storages_keep_what_they_share() -> None:
    x = mg.arange(4.0)
    a, b = pickle.loads(pickle.dumps((x, x[1:])))
    assert a.data_ptr() + 4 == b.data_ptr() or a.tolist() == x.tolist()
    again = copy.deepcopy(x.untyped_storage())
    buffer = io.BytesIO()
    mg.save(again, buffer)
    assert len(again) == 16


# --- torchvision's ops --------------------------------------------------------------------------------------------------
def bilinear(plane: np.ndarray, y: float, x: float) -> float:
    height, width = plane.shape
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    low, right = min(top + 1, height - 1), min(left + 1, width - 1)
    a, b = y - top, x - left
    return (1 - a) * ((1 - b) * plane[top, left] + b * plane[top, right]) + a * ((1 - b) * plane[low, left] + b * plane[low, right])


@pytest.mark.parametrize("ratio", [2, 0])
@pytest.mark.parametrize("aligned", [True, False])
def test_roi_align(ratio: int, aligned: bool) -> None:
    from minigrad.compat._torchvision_ops import roi_align, roi_align_backward

    x = mg.tensor(data(2, 3, 7, 9), dtype=mg.float64, requires_grad=True)
    rois = mg.tensor([[0.0, 1, 1, 12, 9], [1, 0, 0, 31, 27], [1, -9, -4, 6, 60], [0, 20.5, 3.25, 21, 3.5]])
    out = roi_align(x, rois, 0.25, 2, 3, ratio, aligned)
    expected = np.zeros((4, 3, 2, 3))
    for k, (n, *corners) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = (c * 0.25 - 0.5 * aligned for c in corners)
        long_y, long_x = (y2 - y1, x2 - x1) if aligned else (max(y2 - y1, 1), max(x2 - x1, 1))
        ny, nx = (ratio, ratio) if ratio else (int(np.ceil(long_y / 2)), int(np.ceil(long_x / 3)))
        for c, i, j in np.ndindex(3, 2, 3):
            samples = [
                bilinear(x.detach().numpy()[int(n), c], y1 + (i + (a + 0.5) / ny) * long_y / 2, x1 + (j + (b + 0.5) / nx) * long_x / 3)
                for a in range(ny) for b in range(nx)
            ]  # fmt: skip
            expected[k, c, i, j] = np.mean(samples)
    np.testing.assert_allclose(out.detach().numpy(), expected, rtol=1e-6, atol=1e-9)
    g = mg.tensor(data(4, 3, 2, 3), dtype=mg.float64)
    again = roi_align_backward(g, rois, 0.25, 2, 3, 2, 3, 7, 9, ratio, aligned)
    close(mg.autograd.grad(out, x, g)[0], again)
    assert roi_align(x, mg.empty(0, 5), 1.0, 2, 2, ratio, aligned).shape == (0, 3, 2, 2)


def test_nms() -> None:
    from minigrad.compat._torchvision_ops import nms

    corner, size, scores = data(40, 2), np.abs(data(40, 2, seed=1)) + 0.2, data(40)
    boxes = np.concatenate([corner, corner + size], 1)
    kept: list[int] = []
    for k in np.argsort(-scores, kind="stable"):
        common = [np.clip(np.minimum(boxes[k, 2:], boxes[o, 2:]) - np.maximum(boxes[k, :2], boxes[o, :2]), 0, None).prod() for o in kept]
        if all(c / (size[k].prod() + size[o].prod() - c) <= 0.3 for c, o in zip(common, kept, strict=True)):
            kept.append(int(k))
    assert nms(mg.tensor(boxes), mg.tensor(scores), 0.3).tolist() == kept and 1 < len(kept) < 40
    assert nms(mg.empty(0, 4), mg.empty(0), 0.5).shape == (0,)


def test_only_torchvisions_library_has_a_stand_in() -> None:
    with pytest.raises(OSError, match="extensions of libtorch"):
        mg.ops.load_library("/somewhere/_C.so")
    mg.ops.load_library("/somewhere/torchvision/_C.so")
    assert mg.ops.torchvision.nms(mg.tensor([[0.0, 0, 1, 1]]), mg.ones(1), 0.5).tolist() == [0]
    with pytest.raises(NotImplementedError, match="roi_pool"):
        mg.ops.torchvision.roi_pool(mg.ones(1))


@pytest.mark.parametrize("m", [mg, torch], ids=["minigrad", "torch"])
def test_indices_out_of_range_raise_what_pytorch_raises(m: object) -> None:
    x, i = m.ones(2), m.tensor([3])
    for call in (lambda: x.gather(0, i), lambda: x.scatter(0, i, 1.0), lambda: x.scatter_add(0, i, m.ones(1))):
        with pytest.raises(RuntimeError, match="index 3 is out of bounds for dimension 0 with size 2"):
            call()
    for call in (lambda: x.index_select(0, i), lambda: x[i], lambda: x.index_copy(0, i, m.ones(1))):
        with pytest.raises(IndexError):
            call()


def test_memory_formats_print_as_in_pytorch() -> None:
    for name in ("contiguous_format", "channels_last", "preserve_format"):
        assert str(getattr(mg, name)).replace("minigrad", "torch") == str(getattr(torch, name))
