"""nn.utils.rnn against PyTorch."""

import copy
import pickle

import numpy as np
import pytest

import minigrad as mg
from minigrad.nn.utils import rnn

torch = pytest.importorskip("torch")
trnn = torch.nn.utils.rnn


def both(array):
    return mg.tensor(array), torch.tensor(array)


def same(a, b):
    if a is None or b is None:
        assert a is b
        return
    assert tuple(a.shape) == tuple(b.shape)
    assert str(a.dtype).split(".")[1] == str(b.dtype).split(".")[1]
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-6)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("enforce_sorted", [False, True])
@pytest.mark.parametrize("trailing", [(), (3,), (2, 2)])
def test_pack_and_pad_with_gradients(batch_first, enforce_sorted, trailing):
    lengths = [5, 4, 4, 1] if enforce_sorted else [2, 5, 1, 4]
    shape = (4, 6, *trailing) if batch_first else (6, 4, *trailing)
    x, t = both(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    x.requires_grad_(), t.requires_grad_()
    ours = rnn.pack_padded_sequence(x, lengths, batch_first, enforce_sorted)
    theirs = trnn.pack_padded_sequence(t, lengths, batch_first, enforce_sorted)
    for a, b in zip(ours, theirs):
        same(a, b)
    for total in (None, 8):
        pa, la = rnn.pad_packed_sequence(ours, batch_first, -1.5, total)
        pb, lb = trnn.pad_packed_sequence(theirs, batch_first, -1.5, total)
        same(pa, pb), same(la, lb)
    (pa * pa).sum().backward(), (pb * pb).sum().backward()
    same(x.grad, t.grad)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("side", ["left", "right"])
def test_pad_sequence(batch_first, side):
    arrays = [np.random.default_rng(k).normal(size=(n, 2)) for k, n in enumerate([3, 0, 5, 1])]
    a = [mg.tensor(v, requires_grad=True) for v in arrays]
    b = [torch.tensor(v, requires_grad=True) for v in arrays]
    pa, pb = rnn.pad_sequence(a, batch_first, 7.0, side), trnn.pad_sequence(b, batch_first, 7.0, side)
    same(pa, pb)
    (pa**2).sum().backward(), (pb**2).sum().backward()
    for u, v in zip(a, b):
        same(u.grad, v.grad)


def test_lists_there_and_back():
    arrays = [np.arange(n * 2.0).reshape(n, 2) for n in (2, 4, 1)]
    packed = rnn.pack_sequence([mg.tensor(v) for v in arrays], enforce_sorted=False)
    for got, want in zip(rnn.unpack_sequence(packed), arrays):
        np.testing.assert_array_equal(got.numpy(), want)
    padded = rnn.pad_sequence([mg.tensor(v) for v in arrays])
    for got, want in zip(rnn.unpad_sequence(padded, mg.tensor([2, 4, 1])), arrays):
        np.testing.assert_array_equal(got.numpy(), want)
    perm = mg.tensor([2, 0, 1])
    same(rnn.invert_permutation(perm), trnn.invert_permutation(torch.tensor([2, 0, 1])))


def test_fields_conversion_and_copies():
    packed = rnn.pack_sequence([mg.ones(2, 3), mg.ones(1, 3)])
    assert packed._fields == trnn.PackedSequence._fields
    assert isinstance(packed, tuple) and not packed.is_cuda and packed.cpu() is packed and packed.to(mg.float32) is packed
    for name in ("double", "float", "half", "long", "int", "short", "char", "byte"):
        theirs = getattr(trnn.pack_sequence([torch.ones(2, 3), torch.ones(1, 3)]), name)()
        same(getattr(packed, name)().data, theirs.data)
    data, sizes, sorted_indices, unsorted_indices = packed
    assert sorted_indices is None and unsorted_indices is None and sizes.tolist() == [2, 1]
    assert rnn.PackedSequence((data, sizes)).data is data
    for clone in (copy.deepcopy(packed), pickle.loads(pickle.dumps(packed))):
        assert type(clone) is rnn.PackedSequence
        same(clone.data, torch.ones(3, 3))
    same(packed._replace(data=data * 2).data, torch.ones(3, 3) * 2)


@pytest.mark.parametrize(
    "call",
    [
        lambda m, r: r.pack_padded_sequence(m.ones(3, 2), [1, 3]),
        lambda m, r: r.pack_padded_sequence(m.ones(3, 2), [3, 0]),
        lambda m, r: r.pack_padded_sequence(m.ones(3, 2), [3]),
        lambda m, r: r.pack_padded_sequence(m.ones(3, 0), []),
        lambda m, r: r.pack_padded_sequence(m.ones(3, 2), m.tensor([[3, 1]])),
        lambda m, r: r.pad_sequence([]),
        lambda m, r: r.pad_sequence(3),
        lambda m, r: r.pad_sequence([m.ones(2, 3), m.ones(2, 2)]),
        lambda m, r: r.pad_sequence([m.ones(2)], padding_side="up"),
        lambda m, r: r.pad_packed_sequence(r.pack_sequence([m.ones(3)]), total_length=2),
    ],
)
def test_errors(call):
    with pytest.raises(Exception) as theirs:
        call(torch, trnn)
    with pytest.raises(theirs.type):
        call(mg, rnn)
