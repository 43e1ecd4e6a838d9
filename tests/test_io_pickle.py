"""Plain pickle and copy of tensors, storages, parameters, modules, and of what surrounds them."""

from __future__ import annotations

import copy
import pickle

import pytest

import minigrad as mg


class Tagged(mg.Tensor):
    pass


@pytest.mark.parametrize("protocol", range(2, 6))
def test_everything_pickles(protocol):
    def back(value):
        return pickle.loads(pickle.dumps(value, protocol))

    base = mg.arange(12.0)
    parameter = mg.nn.Parameter(base.reshape(3, 4))
    parameter.note = "n"
    leaf = mg.ones(2, requires_grad=True)
    a, view, p, q, l2, nonleaf = back((base, base.reshape(3, 4).t()[1:], parameter, parameter, leaf, leaf * 2))
    assert view.stride() == (1, 4) and view.storage_offset() == 1 and p is q and p.note == "n" and type(p) is mg.nn.Parameter
    assert l2.requires_grad and l2.is_leaf and nonleaf.requires_grad and nonleaf.is_leaf
    a.fill_(3)
    assert set(view.flatten().tolist()) == set(p.detach().flatten().tolist()) == {3.0}
    tagged = mg.ones(3).as_subclass(Tagged) if hasattr(mg.Tensor, "as_subclass") else mg.Tensor._make_subclass(Tagged, mg.ones(3), False)
    tagged.label = [1]
    made = back(tagged)
    assert type(made) is Tagged and made.label == [1] and made.tolist() == [1, 1, 1]
    for value in (mg.float32, mg.device("cpu"), mg.Size([1, 2]), mg.strided, mg.channels_last, mg.complex128):
        assert back(value) == value and type(back(value)) is type(value)
    for dtype in ("bool", "bfloat16", "complex128", "int16"):
        x = mg.arange(4).to(getattr(mg, dtype))
        assert back(x).tolist() == x.tolist() and back(x).dtype == x.dtype
    net = mg.nn.Sequential(mg.nn.Linear(2, 3), mg.nn.BatchNorm1d(3), mg.nn.LSTM(3, 2))
    net[0].bias = net[1].bias
    other = back(net)
    assert repr(other) == repr(net) and other[0].bias is other[1].bias
    for x, y in zip(net.state_dict().values(), other.state_dict().values(), strict=True):
        assert x.tolist() == y.tolist()
    generator = mg.Generator().manual_seed(5)
    mg.rand(3, generator=generator)
    twin = back(generator)
    assert mg.rand(4, generator=twin).tolist() == mg.rand(4, generator=generator).tolist() and twin.initial_seed() == 5


def test_deepcopy_keeps_sharing():
    base = mg.arange(6.0)
    a, b = copy.deepcopy((base, base[2:4]))
    a.fill_(9)
    assert b.tolist() == [9, 9] and base.tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(RuntimeError, match="graph leaves"):
        copy.deepcopy(mg.ones(2, requires_grad=True) * 2)
    x = copy.deepcopy(base.reshape(2, 3).t())
    assert x.stride() == (1, 3)


def test_storages():
    x = mg.arange(6.0)
    storage = x.untyped_storage()
    assert storage is x[2:].untyped_storage() and storage.nbytes() == 24 and storage.data_ptr() == x.data_ptr() and len(storage) == 24
    typed = x.storage()
    assert len(typed) == 6 and typed[2] == 2.0 and typed.tolist() == x.tolist() and isinstance(typed, mg.FloatStorage)
    assert typed.dtype is mg.float32 and typed.data_ptr() == storage.data_ptr()
    typed[0] = 7
    assert x[0].item() == 7
    y = mg.empty(0).set_(storage, 2, (2, 2), (1, 1))
    assert y.tolist() == [[2, 3], [3, 4]]
    y[0, 0] = -1
    assert x[2].item() == -1
    z = mg.zeros(3)
    z.set_(x)
    assert z.data_ptr() == x.data_ptr() and mg.zeros(2).set_().numel() == 0
    with pytest.raises(RuntimeError, match="need a storage"):
        mg.empty(0).set_(storage, 0, (7,), (1,))
    with pytest.raises(NotImplementedError, match="shrink"):
        storage.resize_(0)
    assert pickle.loads(pickle.dumps(storage)).tolist() == storage.tolist()
    assert copy.deepcopy(typed).tolist() == typed.tolist() and mg.UntypedStorage(4).nbytes() == 4
    assert mg.LongStorage([1, 2]).tolist() == [1, 2]
    shared = mg.ones(4)
    assert shared.untyped_storage().share_memory_().is_shared() and shared.is_shared() and shared.tolist() == [1, 1, 1, 1]
    fresh = mg.zeros(2)
    fresh.untyped_storage().resize_(16)
    assert fresh.untyped_storage().nbytes() == 16
    with pytest.raises(AttributeError):
        mg.NoSuchStorage  # noqa: B018
