"""The meta device (csrc/core/meta_device.h): shapes, dtypes and history without memory. Every op's results are checked by `meta_device` of
test_ops.py; here is what programs do with such tensors, PyTorch's behaviour throughout.
"""

from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(), nn.Linear(4, 2))


def test_repr_and_attributes() -> None:
    x = mg.empty(2, 3, device="meta")
    assert repr(x) == "tensor(..., device='meta', size=(2, 3))"
    assert repr(x.to(mg.float64)[0].sum()) == "tensor(..., device='meta', size=(), dtype=minigrad.float64)"
    assert f"{x.sum()}" == "tensor(..., device='meta', size=())"
    assert x.is_meta and x.device == mg.device("meta") and x.device.index is None and str(x.device) == "meta"
    assert x.data_ptr() == 0 and x.untyped_storage().nbytes() == 24 and x.element_size() == 4
    assert x.t().stride() == (1, 3) and x.t().contiguous().stride() == (2, 1)


@pytest.mark.parametrize(
    ("read", "kind", "text"),
    [
        (lambda x: x.sum().item(), RuntimeError, "Tensor.item() cannot be called on meta tensors"),
        (lambda x: bool(x.sum()), RuntimeError, "Tensor.item() cannot be called on meta tensors"),
        (lambda x: complex(x.to(mg.complex64).sum()), RuntimeError, "Tensor.item() cannot be called on meta tensors"),
        (lambda x: x.cpu(), NotImplementedError, "Cannot copy out of meta tensor; no data!"),
        (lambda x: x.tolist(), NotImplementedError, "Cannot copy out of meta tensor; no data!"),
        (lambda x: mg.zeros(2, 3).copy_(x), NotImplementedError, "Cannot copy out of meta tensor; no data!"),
        (lambda x: x.numpy(), TypeError, "can't convert meta device type tensor to numpy"),
        (lambda x: np.asarray(x), TypeError, "can't convert meta device type tensor to numpy"),
        (lambda x: mg.utils.dlpack.to_dlpack(x), BufferError, "Cannot pack tensors on meta"),
        (lambda x: x.nonzero(), NotImplementedError, "Meta tensors"),
        (lambda x: x[x > 0], NotImplementedError, "Meta tensors"),
        (lambda x: mg.bincount(x[0].long()), NotImplementedError, "Meta tensors"),
        (lambda x: x + mg.ones(2, 3), RuntimeError, "same device"),
        (lambda x: mg.ones(2, 3) + x, RuntimeError, "same device"),
        (lambda x: mg.ones(2, 3).mul_(x), RuntimeError, "device"),
        (lambda x: mg.add(mg.ones(2, 3), 1, out=x), RuntimeError, "lives on"),
        (lambda x: mg.nn.functional.linear(mg.ones(1, 3), x), RuntimeError, "device"),
    ],
)
def test_what_needs_values_raises(read: object, kind: type, text: str) -> None:
    with pytest.raises(kind) as raised:
        read(mg.empty(2, 3, device="meta"))
    assert text in str(raised.value)


def test_numbers_and_indices_of_the_cpu_may_mix() -> None:
    x = mg.empty(2, 3, device="meta")
    assert (x + mg.tensor(1.0)).is_meta and (mg.tensor(1.0) * x).is_meta
    assert x[mg.tensor([0, 1, 1])].shape == (3, 3) and x[[0]].is_meta
    assert x.copy_(mg.ones(3)) is x
    x[0] = 1.0
    x[:, 1] = mg.tensor(2.0)


def test_backward() -> None:
    w = mg.empty(3, 4, device="meta", requires_grad=True)
    loss = (mg.empty(2, 3, device="meta") @ w).relu().sum()
    (g,) = mg.autograd.grad(loss, w, create_graph=True)
    assert g.is_meta and g.shape == (3, 4)
    loss.backward()
    assert w.grad.is_meta and repr(loss).startswith("tensor(..., device='meta', size=(), grad_fn=<SumBackward0>")
    with pytest.raises(RuntimeError, match="assigned grad is on meta"):
        nn.Parameter(mg.ones(3, 4)).grad = w.grad


def test_default_device() -> None:
    with mg.device("meta"):
        made = [mg.tensor(1), mg.arange(3), mg.rand(2), mg.zeros(2), mg.as_tensor(np.ones(2)), mg.randperm(3), mg.eye(2)]
        assert all(t.is_meta for t in made) and mg.get_default_device() == mg.device("meta")
        assert not mg.Tensor(2, 3).is_meta and not mg.FloatTensor(2).is_meta and not mg.from_numpy(np.ones(2)).is_meta
        assert not mg.zeros(2, device="cpu").is_meta
        with mg.device("cpu"):
            assert not mg.zeros(2).is_meta
    assert not mg.zeros(2).is_meta
    mg.set_default_device("meta")
    try:
        assert mg.ones(2).is_meta
    finally:
        mg.set_default_device(None)

    @mg.device("meta")
    def build() -> nn.Module:
        return net()

    assert all(p.is_meta for p in build().parameters())


def test_random_numbers_are_not_used_up() -> None:
    mg.manual_seed(0)
    before = mg.get_rng_state()
    with mg.device("meta"):
        mg.randn(100)
        net()
    assert (mg.get_rng_state() == before).all()


@pytest.mark.parametrize("build", [net, lambda: nn.LSTM(3, 4, 2), lambda: nn.TransformerEncoderLayer(8, 2, 16), lambda: nn.Embedding(5, 3)])
def test_modules_are_built_moved_and_filled(build: object) -> None:
    with mg.device("meta"):
        model = build()
    assert all(t.is_meta for t in model.state_dict().values())
    with pytest.raises(NotImplementedError, match="to_empty"):
        model.to("cpu")
    real = build()
    other = copy.deepcopy(model)
    assert other.load_state_dict(real.state_dict(), assign=True)
    assert all(not t.is_meta and mg.equal(t, r) for t, r in zip(other.state_dict().values(), real.state_dict().values(), strict=True))
    assert all(type(p) is nn.Parameter and p.requires_grad for p in other.parameters())
    model.load_state_dict(real.state_dict())  # nothing to copy into
    assert all(t.is_meta for t in model.state_dict().values())
    assert model.to_empty(device="cpu") is model
    model.load_state_dict(real.state_dict())
    assert all(mg.equal(a, b) for a, b in zip(model.state_dict().values(), real.state_dict().values(), strict=True))
    with pytest.raises(RuntimeError, match="Cannot copy out of meta tensor"):
        with mg.device("meta"):
            empty = build()
        real.load_state_dict(empty.state_dict())


def test_a_model_runs_and_steps() -> None:
    with mg.device("meta"):
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(4 * 36, 5))
        x, y = mg.empty(2, 3, 8, 8), mg.empty(2, dtype=mg.int64)
    for make in (lambda p: mg.optim.Adam(p), lambda p: mg.optim.SGD(p, 0.1, momentum=0.9)):
        optimizer = make(model.parameters())
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    assert loss.is_meta and loss.shape == ()
    functional = mg.func.functional_call(model, dict(model.named_parameters()), (x,))
    assert functional.shape == (2, 5)
    assert mg.func.vmap(lambda v: v * 2)(x).is_meta


def test_initialisers_do_nothing() -> None:
    w = mg.empty(4, 6, device="meta")
    for fill in (
        nn.init.xavier_uniform_, nn.init.kaiming_normal_, nn.init.orthogonal_, nn.init.trunc_normal_, nn.init.eye_, nn.init.zeros_,
        lambda t: nn.init.sparse_(t, 0.5), lambda t: nn.init.constant_(t, 3.0),
    ):  # fmt: skip
        assert fill(w) is w and w.is_meta
    made = nn.utils.skip_init(nn.Linear, 3, 4)
    assert made.weight.shape == (4, 3) and not made.weight.is_meta


def test_copies_and_files() -> None:
    x = nn.Parameter(mg.empty(2, 3, device="meta").t())
    for again in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert type(again) is nn.Parameter and again.is_meta and again.stride() == (1, 3)
    buffer = io.BytesIO()
    mg.save({"x": x, "y": mg.empty(2, device="meta", dtype=mg.int64), "z": mg.ones(2)}, buffer)
    buffer.seek(0)
    back = mg.load(buffer)
    assert back["x"].is_meta and back["x"].stride() == (1, 3) and back["x"].requires_grad and back["y"].dtype == mg.int64
    assert mg.equal(back["z"], mg.ones(2))
    buffer.seek(0)
    assert mg.load(buffer, map_location="meta")["z"].is_meta


def test_nothing_stays_counted() -> None:
    before = mg._core.handlers_alive()
    x = mg.empty(2, 3, device="meta")
    y = (x.t() @ x).resize_(2, 2)
    assert mg._core.handlers_alive() > before
    del x, y
    assert mg._core.handlers_alive() == before


def test_absent_devices_raise_pytorchs_errors() -> None:
    x = mg.ones(1)
    for move in (x.cuda, lambda: mg.ones(1, device="cuda"), nn.Linear(1, 1).cuda, lambda: x.to("cuda:0")):
        with pytest.raises(AssertionError, match="^Torch not compiled with CUDA enabled$"):
            move()
    with pytest.raises(AssertionError, match="XPU"):
        mg.ones(1).to("xpu")
    with pytest.raises(NotImplementedError, match="mps"):
        mg.ones(1, device="mps")
