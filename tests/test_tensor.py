"""The Python face of Tensor: construction, printing, exchange with NumPy and DLPack, conversion, copying, pickling."""

from __future__ import annotations

import copy
import gc
import pickle

import numpy as np
import pytest

import minigrad as mg

torch = pytest.importorskip("torch", reason="needs torch==2.13.0 as reference")


@pytest.mark.parametrize(
    "data", [1, 1.5, True, [], [1, 2], [1, 2.5], [[True, False]], [[1], [2]], [[], []], (1, (2)), [[[1.0]]], range(3)]
)
def test_tensor_infers_like_torch(data):
    """Shape, dtype and values."""
    a, b = mg.tensor(data), torch.tensor(data)
    assert a.tolist() == b.tolist() and tuple(a.shape) == tuple(b.shape)
    assert str(a.dtype).split(".")[1] == str(b.dtype).split(".")[1]


BAD = [([[1, 2], [3]], ValueError), ([1, [2]], (ValueError, TypeError)), ("abc", TypeError), ([None], RuntimeError)]


@pytest.mark.parametrize("data, error", BAD)
def test_tensor_refuses(data, error):
    """Ragged or foreign data."""
    with pytest.raises(error):
        mg.tensor(data)


def test_tensor_from_arrays_and_tensors():
    """Copies, keeps dtype; lists of arrays are stacked."""
    a = np.arange(6, dtype=np.int16).reshape(2, 3)
    t = mg.tensor(a)
    a[0, 0] = 9
    assert t.dtype == mg.int16 and t[0, 0].item() == 0
    assert mg.tensor([np.float32(1), np.float32(2)]).tolist() == [1.0, 2.0]
    assert mg.tensor([mg.tensor([1, 2]), mg.tensor([3, 4])]).tolist() == [[1, 2], [3, 4]]
    assert mg.tensor(np.float64(2.5)).dtype == mg.float64


REPRS = [
    lambda m: m.tensor([1.0, 2.0]),
    lambda m: m.tensor([1.5, -2.25, 1e-3]),
    lambda m: m.tensor([1e10, 1.0]),
    lambda m: m.tensor([1e-8, 1.0]),
    lambda m: m.tensor([float("nan"), float("inf"), -float("inf"), 1.0]),
    lambda m: m.tensor([float("nan")]),
    lambda m: m.tensor([[1, 20], [300, 4]]),
    lambda m: m.tensor([True, False]),
    lambda m: m.tensor(3.0),
    lambda m: m.tensor(7),
    lambda m: m.zeros(0),
    lambda m: m.zeros(0, 3),
    lambda m: m.zeros(2, 0, dtype=m.int32),
    lambda m: m.arange(2000),
    lambda m: m.arange(10000).reshape(100, 100),
    lambda m: m.arange(24.0).reshape(2, 3, 4) / 7,
    lambda m: m.ones(2, 2, dtype=m.float64, requires_grad=True),
    lambda m: m.ones(3, dtype=m.float16),
    lambda m: m.arange(40.0) * 1.1,
    lambda m: m.zeros(4, dtype=m.uint8),
    lambda m: -m.arange(5.0) / 3,
]


@pytest.mark.parametrize("make", REPRS, ids=range(len(REPRS)))
def test_repr_equals_torch(make):
    """Character by character, but for the library's name."""
    assert repr(make(mg)).replace("minigrad.", "torch.") == repr(make(torch))


def test_repr_names_grad_fn_and_format():
    """grad_fn is shown; 0-d tensors take format specs."""
    x = mg.ones(2, requires_grad=True)
    assert "grad_fn=<MulBackward0>" in repr(x * 2)
    assert f"{mg.tensor(3.14159):.2f}" == "3.14"
    assert repr(mg.nn.Parameter(mg.ones(1))).startswith("Parameter containing:\ntensor([1.], requires_grad=True)")


class TestNumpy:
    """Zero-copy both ways."""

    def test_from_numpy_shares(self):
        a = np.zeros((2, 3), dtype=np.float32)
        t = mg.from_numpy(a)
        t[0, 1] = 5
        a[1, 2] = 7
        assert a[0, 1] == 5 and t[1, 2].item() == 7

    def test_numpy_shares_and_keeps_alive(self):
        t = mg.arange(6.0).reshape(2, 3).t()
        a = t.numpy()
        t[0, 1] = 50
        del t
        gc.collect()
        assert a[0, 1] == 50 and a.strides == (4, 12)

    def test_from_numpy_keeps_the_array_alive(self):
        t = mg.from_numpy(np.full(1000, 3.0))
        gc.collect()
        assert t.sum().item() == 3000.0

    @pytest.mark.parametrize("bad", [np.zeros(3)[::-1], np.zeros(2, dtype=">f4"), np.zeros(2, dtype=np.clongdouble), np.array(["a"])])
    def test_refused_arrays(self, bad):
        with pytest.raises((ValueError, TypeError)):
            mg.from_numpy(bad)

    def test_array_protocol_and_mixing(self):
        t = mg.tensor([1.0, 2.0])
        assert np.asarray(t).dtype == np.float32 and np.add(np.asarray(t), 1).tolist() == [2.0, 3.0]
        assert (t + np.array([1.0, 1.0], dtype=np.float32)).tolist() == [2.0, 3.0]
        assert (t * np.float32(2)).dtype == mg.float32
        with pytest.raises(RuntimeError, match="detach"):
            mg.ones(1, requires_grad=True).numpy()
        with pytest.raises(TypeError, match="bfloat16"):
            mg.ones(1, dtype=mg.bfloat16).numpy()


class TestDLPack:
    """Exchange with NumPy and torch through capsules."""

    @pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "uint8", "bool", "float16", "bfloat16"])
    def test_round_trip_with_torch(self, dtype):
        t = torch.arange(6).reshape(2, 3).to(getattr(torch, dtype)).t()
        ours = mg.from_dlpack(t)
        back = torch.from_dlpack(ours)
        assert ours.data_ptr() == t.data_ptr() == back.data_ptr() and torch.equal(t, back)
        assert ours.stride() == t.stride()

    def test_numpy_and_lifetime(self):
        a = np.arange(5.0)
        t = mg.from_dlpack(a)
        del a
        gc.collect()
        assert t.tolist() == [0, 1, 2, 3, 4]
        b = np.from_dlpack(mg.arange(4))
        gc.collect()
        assert b.tolist() == [0, 1, 2, 3]

    def test_unused_capsule_is_freed(self):
        mg.ones(3).__dlpack__()
        gc.collect()

    def test_requires_grad_is_refused(self):
        with pytest.raises(TypeError, match="detach"):
            mg.ones(1, requires_grad=True).__dlpack__()


def test_to_forms():
    """to(dtype), to(device), to(other), copies only when something changes."""
    x = mg.ones(2)
    assert x.to(mg.float32) is x and x.to("cpu") is x and x.to(mg.float32, copy=True) is not x
    assert x.to(mg.float64).dtype == x.to("cpu", mg.float64).dtype == x.to(mg.ones(1, dtype=mg.float64)).dtype == mg.float64
    assert x.double().dtype == mg.float64 and x.long().dtype == mg.int64 and x.bool().tolist() == [True, True]
    assert x.type() == "minigrad.FloatTensor" and x.type(mg.int32).dtype == mg.int32
    with pytest.raises(AssertionError, match="CUDA"):
        x.to("cuda")
    with pytest.raises(TypeError):
        x.to(object())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int64", "bool"])
def test_pickle_and_deepcopy(dtype):
    """Values, dtype, requires_grad and attributes survive."""
    x = mg.ones(2, 3).to(getattr(mg, dtype))
    if dtype == "float32":
        x.requires_grad_()
    for y in (pickle.loads(pickle.dumps(x)), copy.deepcopy(x)):
        assert y.tolist() == x.tolist() and y.dtype == x.dtype and y.requires_grad == x.requires_grad
        assert y.data_ptr() != x.data_ptr()
    for value in (x.dtype, x.device, x.shape, mg.strided, mg.add):
        assert pickle.loads(pickle.dumps(value)) == value or value is mg.add
    with pytest.raises(RuntimeError, match="leaves"):
        copy.deepcopy(mg.ones(1, requires_grad=True) * 2)


def test_identity_and_attributes_survive():
    """One tensor, one Python object, even while only the graph holds it."""
    x = mg.ones(2, requires_grad=True)
    x.note = "kept"
    (x * 2).sum().backward()
    assert x.grad is x.grad
    x.grad.tag = 5
    gc.collect()
    assert x.grad.tag == 5 and x.note == "kept"


def test_python_protocols():
    """len, iteration, truth, index, hash, contains, unpacking."""
    x = mg.tensor([[1, 2], [3, 4]])
    a, b = x
    assert len(x) == 2 and a.tolist() == [1, 2] and [r.tolist() for r in x] == [[1, 2], [3, 4]]
    assert bool(mg.tensor([1])) and not bool(mg.tensor(0.0)) and [10, 20, 30][mg.tensor(1)] == 20
    assert 3 in x and 9 not in x and hash(x) == hash(x) and x in {x: 1}
    assert float(mg.tensor(2.5)) == 2.5 and int(mg.tensor(7.9)) == 7
    for bad in (lambda: bool(x), lambda: x.item(), lambda: float(x)):
        with pytest.raises(RuntimeError):
            bad()
    with pytest.raises(TypeError):
        len(mg.tensor(1))
    assert (x == None) is False and (x != None) is True  # noqa: E711


def test_attributes_match_torch():
    """Shape, strides, flags."""
    for make in (lambda m: m.zeros(2, 3, 4).transpose(0, 2)[1:], lambda m: m.tensor(1.0), lambda m: m.zeros(0, 2)):
        a, b = make(mg), make(torch)
        assert tuple(a.shape) == tuple(b.shape) and a.stride() == b.stride() and a.is_contiguous() == b.is_contiguous()
        assert a.numel() == b.numel() and a.storage_offset() == b.storage_offset() and a.element_size() == b.element_size()
        assert a.T.shape == tuple(b.permute(tuple(reversed(range(b.dim())))).shape)
    s = mg.zeros(2, 3).shape
    assert repr(s) == "minigrad.Size([2, 3])" and s.numel() == 6 and isinstance(s[1:], mg.Size) and s + (4,) == (2, 3, 4)


def test_memory_limit_names_the_holders():
    """Out of memory: who holds it, and what to do."""
    keep = mg.ones(1 << 20) + 1
    held = mg.memory_stats()["allocated"]
    mg.set_memory_limit(held + (1 << 20))
    try:
        with pytest.raises(mg.OutOfMemoryError) as error:
            mg.empty(1 << 22)
    finally:
        mg.set_memory_limit(None)
    assert "add" in str(error.value) and keep.numel() == 1 << 20
    assert mg.empty(1 << 22).numel() == 1 << 22


def test_attributes_are_a_dict_that_copies_keep():
    import weakref

    class Mark:
        pass

    for x in (mg.ones(2), mg.nn.Parameter(mg.ones(2))):
        assert x.__dict__ == {}
        x.note = [1]
        x.__dict__["more"] = 2
        assert x.more == 2 and vars(x) == {"note": [1], "more": 2}
        assert pickle.loads(pickle.dumps(x)).note == [1]
    x = mg.ones(2)
    x.note = [1]
    copied = copy.deepcopy(x)
    assert copied.note == [1] and copied.note is not x.note
    mark = Mark()
    seen = weakref.ref(mark)
    vars(x).update(me=x, mark=mark)  # a cycle through the dict is collected
    del x, copied, mark
    gc.collect()
    assert seen() is None
