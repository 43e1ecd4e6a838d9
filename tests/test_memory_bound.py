"""Kernels that move memory: transposes in registers, stores around the caches, broadcasting by rows, fused norms and losses."""

import itertools

import numpy as np
import pytest

import minigrad as mg
from minigrad.op import functions

F = mg.nn.functional
LARGE = 9_000_001  # elements whose result is stored around the caches (csrc/cpu/stream.h), with a ragged end


def numbers(*shape, dtype="float32", seed=0):
    return np.asarray(np.random.default_rng(seed).standard_normal(shape) * 3, dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "int8", "bool", "float16"])
@pytest.mark.parametrize("shape", [(5, 7), (33, 70), (130, 257), (3, 40, 50), (2, 64, 33, 17), (1, 100), (0, 5)])
def test_permuted_copies(shape, dtype):
    a = (numbers(*shape) * 20).astype(dtype)
    x = mg.from_numpy(a.copy())
    for order in itertools.islice(itertools.permutations(range(len(shape))), 12):
        want = np.ascontiguousarray(a.transpose(order))
        assert np.array_equal(x.permute(*order).contiguous().numpy(), want)
        room = mg.zeros(*(n + 3 for n in want.shape), dtype=x.dtype)
        target = room[tuple(slice(1, n + 1) for n in want.shape)]
        target.copy_(x.permute(*order))
        assert np.array_equal(target.numpy(), want)
        assert room.ne(0).sum() == target.ne(0).sum()


@pytest.mark.parametrize("shape", [(4096, 2100), (3000, 2999), (64, 300, 450)])
def test_large_copies_and_broadcasts(shape):
    a, x = numbers(*shape), None
    x = mg.from_numpy(a)
    order = tuple(range(len(shape)))[::-1]
    row, column = numbers(shape[-1], seed=1), numbers(*shape[:-1], 1, seed=2)
    assert np.array_equal(x.permute(*order).contiguous().numpy(), a.transpose(order))
    assert np.array_equal(x.clone().numpy(), a)
    assert np.array_equal(x.double().numpy(), a.astype("float64"))
    assert np.array_equal((x + mg.from_numpy(row)).numpy(), a + row)
    assert np.array_equal((x * mg.from_numpy(column)).numpy(), a * column)
    assert np.array_equal((x > mg.from_numpy(column)).numpy(), a > column)
    room = mg.zeros(shape[0] + 1, *shape[1:])
    mg.add(x, x, out=room[1:])  # an output that starts anywhere
    assert np.array_equal(room.numpy()[1:], a + a) and not room[0].any()
    y = mg.from_numpy(np.ascontiguousarray(a.transpose(order)))
    assert np.array_equal((x - y.permute(*order)).numpy(), np.zeros(shape, "float32"))


def test_transposed_operands_and_targets():
    a, b = numbers(300, 200), numbers(200, 300, seed=1)
    x = mg.from_numpy(a.copy())
    assert np.array_equal((x + mg.from_numpy(b).T).numpy(), a + b.T)
    assert np.array_equal((x + mg.from_numpy(b.astype("int32")).T).numpy(), a + b.astype("int32").T.astype("float32"))
    x.T.add_(mg.from_numpy(b))
    assert np.array_equal(x.numpy(), a + b.T)
    square = mg.from_numpy(a[:200].copy())
    square += square.T  # operand and target overlap
    assert np.array_equal(square.numpy(), a[:200] + a[:200].T)
    rows = mg.from_numpy(a.copy())
    rows += rows[0:1]
    assert np.array_equal(rows.numpy(), a + a[0:1])
    with pytest.raises(RuntimeError, match="ZeroDivision"):
        mg.ones(8, 64, dtype=mg.int64) // mg.zeros(64, dtype=mg.int64)


@pytest.mark.parametrize(
    "call",
    [
        lambda a: a.softmax(-1), lambda a: a.log_softmax(-1), lambda a: F.layer_norm(a, [1024]), lambda a: F.rms_norm(a, [1024]),
        lambda a: a.sum(0), lambda a: a + a[0], lambda a: a.T.contiguous(), lambda a: F.group_norm(a.reshape(-1, 64, 16, 9), 8),
        lambda a: a.exp(), lambda a: mg.zeros(7, 1024).index_add(0, mg.arange(len(a)) % 7, a),
    ],
)  # fmt: skip
def test_same_bits_for_any_number_of_threads(call):
    a = mg.sin(mg.arange(9000 * 1024, dtype=mg.float32)).reshape(9000, 1024)
    threads = mg.get_num_threads()
    try:
        mg.set_num_threads(1)
        one = call(a)
        mg.set_num_threads(2)
        assert bool((one == call(a)).all())
    finally:
        mg.set_num_threads(threads)


def test_dropout_keeps_what_its_gradient_keeps():
    for n, dtype in ((1003, mg.float64), (100003, mg.float32), (LARGE, mg.float32), (999, mg.bfloat16)):
        x = mg.ones(n, dtype=dtype, requires_grad=True)
        y = F.dropout(x, 0.3, True)
        y.sum().backward()
        assert bool((x.grad == y.detach()).all())
        assert abs(float((y.detach() != 0).double().mean()) - 0.7) < 5 / n**0.5


def torch_pair(name, ours, theirs, *arrays, tolerance=2e-5):
    """Values and gradients of a call beside PyTorch's."""
    torch = pytest.importorskip("torch")
    x = [mg.from_numpy(a.copy()).requires_grad_() for a in arrays]
    t = [torch.from_numpy(a.copy()).requires_grad_() for a in arrays]
    y, u = ours(*x), theirs(*t)
    g = numbers(*u.shape, dtype=arrays[0].dtype, seed=9)
    pairs = zip([y, *mg.autograd.grad(y, x, mg.from_numpy(g))], [u, *torch.autograd.grad(u, t, torch.from_numpy(g))])
    for found, wanted in pairs:
        found, wanted = found.detach().numpy(), wanted.detach().numpy()
        np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * max(1, abs(wanted).max()), err_msg=str(name))


@pytest.mark.parametrize(
    "shape, groups", [((2, 6, 5, 5), 3), ((2, 6), 2), ((3, 8, 7), 8), ((2, 32, 16, 16), 8), ((1, 4, 33, 65), 1), ((5, 12, 1), 4)]
)
def test_group_and_instance_norm(shape, groups):
    torch = pytest.importorskip("torch")
    TF = torch.nn.functional
    x, w, b = numbers(*shape) + 3, numbers(shape[1], seed=1), numbers(shape[1], seed=2)
    torch_pair("group", lambda x, w, b: F.group_norm(x, groups, w, b), lambda x, w, b: TF.group_norm(x, groups, w, b), x, w, b)
    torch_pair("plain", lambda x: F.group_norm(x, groups), lambda x: TF.group_norm(x, groups), x)
    if shape[2:] and shape[2] > 1:
        torch_pair(
            "instance", lambda x, w, b: F.instance_norm(x, None, None, w, b), lambda x, w, b: TF.instance_norm(x, None, None, w, b), x, w, b
        )


def test_group_norm_in_vmap_and_twice():
    x, w, b = (mg.from_numpy(numbers(*s, dtype="float64", seed=i)) for i, s in enumerate([(4, 2, 6, 5), (4, 6), (6,)]))
    batched = mg.func.vmap(lambda x, w: F.group_norm(x, 3, w, b))(x, w)
    each = mg.stack([F.group_norm(x[k], 3, w[k], b) for k in range(4)])
    assert mg.allclose(batched, each)
    x, w, b = (v.requires_grad_() for v in (x[0], w[0], b))
    assert mg.autograd.gradgradcheck(lambda *v: F.group_norm(v[0], 3, v[1], v[2]), (x, w, b))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    "name, options",
    [
        ("l1_loss", {}), ("smooth_l1_loss", {}), ("smooth_l1_loss", {"beta": 0.3}), ("smooth_l1_loss", {"beta": 0.0}),
        ("huber_loss", {"delta": 0.7}), ("binary_cross_entropy_with_logits", {}), ("kl_div", {}),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:reduction")
def test_one_pass_losses(name, options, reduction):
    torch = pytest.importorskip("torch")
    x, target = numbers(7, 9), np.random.default_rng(1).random((7, 9)).astype("float32")
    torch_pair(
        name, lambda a, b: getattr(F, name)(a, b, reduction=reduction, **options),
        lambda a, b: getattr(torch.nn.functional, name)(a, b, reduction=reduction, **options), x, target,
    )  # fmt: skip


def test_losses_of_other_dtypes():
    whole = mg.tensor([1, 5])
    assert F.l1_loss(whole, mg.tensor([3, 3]), reduction="sum").item() == 4
    assert F.smooth_l1_loss(mg.tensor([1.0, 5.0]), whole).item() == 0
    assert F.l1_loss(mg.tensor([3 + 4j]), mg.tensor([0j])).item() == 5
    assert F.kl_div(mg.tensor([0.0, -1.0]), mg.tensor([0.0, 0.0]), reduction="sum").item() == 0


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(5, 7), (12, 18), (3, 4), (6, 9), (1, 1), (13, 2)])
def test_interpolate_both_ways(mode, size):
    torch = pytest.importorskip("torch")
    options = {} if "near" in mode else {"align_corners": False}
    torch_pair(
        mode, lambda x: F.interpolate(x, size=size, mode=mode, **options),
        lambda x: torch.nn.functional.interpolate(x, size=size, mode=mode, **options), numbers(2, 3, 6, 9), tolerance=5e-5,
    )  # fmt: skip


def test_nearest_gradient_of_pixels_that_nobody_reads():
    x = mg.full((1, 1, 1, 5), float("nan"), requires_grad=True)
    g = mg.tensor([[[[float("nan"), 1.0]]]])
    (dx,) = mg.autograd.grad(F.interpolate(x, size=(1, 2)), x, g)
    assert dx[0, 0, 0].isnan().tolist() == [True, False, False, False, False]
    assert dx[0, 0, 0, 1:].tolist() == [0.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("shape", [(40, 1024), (7, 33), (5, 600)])
def test_index_add_of_wide_and_narrow_rows(shape):
    index = np.random.default_rng(0).integers(0, 11, shape[0])
    x, s = numbers(11, shape[1], dtype="float64"), numbers(*shape, dtype="float64", seed=1)
    want = x.copy()
    np.add.at(want, index, s)
    found = mg.from_numpy(x).index_add(0, mg.from_numpy(index), mg.from_numpy(s))
    assert np.array_equal(found.numpy(), want)
    assert functions["index_add"](found, 0, mg.zeros(0, dtype=mg.int64), mg.zeros(0, shape[1], dtype=mg.float64)).equal(found)
