"""save/load and safetensors: round trips, the reference package, and files that are not what they should be."""

from __future__ import annotations

import io
import json
import math
import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest

import minigrad as mg
from minigrad.io import safetensors as st

DTYPES = ["float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "bool"]


def tensors():
    made = {}
    for i, name in enumerate(DTYPES):
        made[f"t.{name}"] = (mg.arange(12).reshape(3, 4) - i).to(getattr(mg, name))
        made[f"e.{name}"] = mg.zeros(0, 3, dtype=getattr(mg, name))
        made[f"s.{name}"] = mg.tensor(1).to(getattr(mg, name))
    return made


def same(a, b):
    assert a.dtype == b.dtype and tuple(a.shape) == tuple(b.shape)
    np.testing.assert_array_equal(a.to(mg.float64).numpy(), b.to(mg.float64).numpy())


def test_safetensors_round_trip(tmp_path):
    path = tmp_path / "t.safetensors"
    original = tensors()
    original["strided"] = mg.arange(6).reshape(2, 3).t()
    st.save_file(original, path, {"about": "ünïcode"})
    loaded = st.load_file(path)
    assert set(loaded) == set(original)
    for name in original:
        same(loaded[name], original[name])
    assert st.deserialize(path.read_bytes())[1] == {"about": "ünïcode"}
    for name, tensor in st.load(st.save(original)).items():
        same(tensor, original[name])


def test_against_the_reference_package(tmp_path):
    pytest.importorskip("safetensors")
    reference = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "t.safetensors"
    mine = {k: v for k, v in tensors().items() if "bfloat16" not in k}
    st.save_file(mine, path)
    for name, value in reference.load_file(path).items():
        np.testing.assert_array_equal(value, mine[name].numpy())
        assert str(value.dtype) == str(mine[name].dtype).rpartition(".")[2]
    values = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([True, False]), "c": np.array(3)}
    reference.save_file(values, path, {"k": "v"})
    for name, tensor in st.load_file(path).items():
        np.testing.assert_array_equal(tensor.numpy(), values[name])
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    bf = torch.tensor([1.5, -2.0, float("inf")], dtype=torch.bfloat16)
    save_file({"bf": bf}, path)
    assert st.load_file(path)["bf"].tolist() == bf.tolist()
    st.save_file({"bf": mg.tensor([1.5, -2.0], dtype=mg.bfloat16)}, path)
    assert load_file(path)["bf"].tolist() == [1.5, -2.0]


def test_nested_state_round_trip(tmp_path):
    shared = mg.arange(4)
    state = {
        "ints": {0: 1, -5: "x", (1, 2): None, None: True},
        "floats": [1.5, math.inf, -math.inf, 0.1, -0.0],
        "text": ("ü", b"\x00\xff", "1e3"),
        "sets": {1, 2},
        "frozen": frozenset({"a"}),
        "ordered": OrderedDict([("z", shared), ("a", [shared, (shared,)])]),
        "dtype": mg.bfloat16,
        "device": mg.device("cpu"),
        "size": mg.zeros(2, 3).shape,
        "big": 10**40,
        "complex": 1 + 2j,
        "parameter": mg.nn.Parameter(mg.ones(2)),
        "scalar": np.float32(2.5),
        "empty": [(), {}, [], mg.zeros(0)],
        **tensors(),
    }
    path = tmp_path / "state.mg"
    mg.save(state, path)
    loaded = mg.load(path)
    assert list(loaded) == list(state)
    for key, value in state.items():
        if isinstance(value, mg.Tensor) and key != "parameter":
            same(loaded[key], value)
        elif key not in ("ordered", "parameter", "empty"):
            assert loaded[key] == value and type(loaded[key]) is (float if key == "scalar" else type(value)), key
    assert math.copysign(1, loaded["floats"][-1]) == -1
    assert type(loaded["ordered"]) is OrderedDict
    z, (a, (b,)) = loaded["ordered"].values()
    assert z.data_ptr() == a.data_ptr() == b.data_ptr()
    assert isinstance(loaded["parameter"], mg.nn.Parameter) and loaded["parameter"].requires_grad
    buffer = io.BytesIO()
    mg.save(state, buffer)
    buffer.seek(0)
    assert list(mg.load(buffer)) == list(state)
    mg.save(3, path)
    assert mg.load(path) == 3


def test_training_resumes(tmp_path):
    def make():
        net = mg.nn.Sequential(mg.nn.Linear(3, 4), mg.nn.BatchNorm1d(4), mg.nn.Tanh(), mg.nn.Linear(4, 1))
        net[3].weight.data.mul_(1.0)
        return net, mg.optim.AdamW(net.parameters(), lr=0.01, amsgrad=True)

    def steps(net, optimizer, n):
        for i in range(n):
            optimizer.zero_grad()
            x = mg.tensor(np.random.default_rng(i).normal(size=(5, 3)).astype(np.float32).tolist())
            net(x).square().mean().backward()
            optimizer.step()

    net, optimizer = make()
    steps(net, optimizer, 3)
    path = tmp_path / "check.mg"
    mg.save({"model": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}, path)
    steps(net, optimizer, 2)
    other, other_optimizer = make()
    saved = mg.load(path)
    assert saved["model"]._metadata["1"] == {"version": 2}
    other.load_state_dict(saved["model"])
    other_optimizer.load_state_dict(saved["optimizer"])
    steps(other, other_optimizer, 2)
    for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_tied_parameters_are_stored_once(tmp_path):
    net = mg.nn.Sequential(mg.nn.Linear(50, 50, bias=False), mg.nn.Linear(50, 50, bias=False))
    net[1].weight = net[0].weight
    path = tmp_path / "tied.mg"
    mg.save(net.state_dict(), path)
    assert path.stat().st_size < 50 * 50 * 4 * 1.3
    loaded = mg.load(path)
    assert loaded["0.weight"].data_ptr() == loaded["1.weight"].data_ptr()


@pytest.mark.parametrize(
    ("value", "error", "where"),
    [
        ({"a": [1, object()]}, TypeError, r"obj\['a'\]\[1\]"),
        ({"f": len}, TypeError, r"obj\['f'\]"),
        (mg.nn.Module, TypeError, "obj"),
    ],
)
def test_what_cannot_be_saved(value, error, where, tmp_path):
    with pytest.raises(error, match=where):
        mg.save(value, tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_cycles_are_refused(tmp_path):
    loop = [1]
    loop.append(loop)
    with pytest.raises(ValueError, match="contains itself"):
        mg.save(loop, tmp_path / "x")


def test_write_is_atomic(tmp_path, monkeypatch):
    path = tmp_path / "x.mg"
    mg.save({"a": 1}, path)

    def fail(*args):
        raise OSError("disk on fire")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="fire"):
        mg.save({"a": 2}, path)
    monkeypatch.undo()
    assert mg.load(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.mg"]
    with pytest.raises(FileNotFoundError):
        mg.load(tmp_path / "missing.mg")
    with pytest.raises(FileNotFoundError):
        mg.save(1, tmp_path / "no" / "folder")


def header(entries, data=b""):
    text = json.dumps(entries).encode() if not isinstance(entries, bytes) else entries
    return len(text).to_bytes(8, "little") + text + data


ONE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
BROKEN = {
    "empty": b"",
    "short": b"abc",
    "length beyond the file": (2**40).to_bytes(8, "little") + b"{}",
    "length beyond the limit": (2**63).to_bytes(8, "little") + b"{}",
    "no json": header(b"not json"),
    "no utf-8": header(b"\xff\xfe"),
    "a list": header([1]),
    "twice": header(b'{"a":%s,"a":%s}' % ((b'{"dtype":"U8","shape":[0],"data_offsets":[0,0]}',) * 2)),
    "missing entry": header({"a": {"dtype": "F32", "shape": [2]}}, b"12345678"),
    "unknown dtype": header({"a": {**ONE, "dtype": "F7"}}, b"12345678"),
    "dtype no text": header({"a": {**ONE, "dtype": ["F32"]}}, b"12345678"),
    "negative shape": header({"a": {**ONE, "shape": [-2]}}, b"12345678"),
    "shape no list": header({"a": {**ONE, "shape": 2}}, b"12345678"),
    "float shape": header({"a": {**ONE, "shape": [2.0]}}, b"12345678"),
    "huge shape": header({"a": {**ONE, "shape": [2**62, 2**62]}}, b"12345678"),
    "huge empty shape": header({"a": {**ONE, "shape": [0, 2**62, 2**62], "data_offsets": [0, 0]}}),
    "offsets swapped": header({"a": {**ONE, "data_offsets": [8, 0]}}, b"12345678"),
    "offsets outside": header({"a": {**ONE, "data_offsets": [4, 12]}}, b"12345678"),
    "a hole": header({"a": {**ONE, "data_offsets": [1, 9]}}, b"123456789"),
    "overlap": header({"a": ONE, "b": ONE}, b"12345678"),
    "truncated": header({"a": ONE}, b"1234"),
    "trailing bytes": header({"a": ONE}, b"12345678x"),
    "metadata no text": header({"__metadata__": {"a": 1}}),
    "deep": header(b'{"a":' + b"[" * 100000),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused(name, tmp_path):
    path = tmp_path / "broken.safetensors"
    path.write_bytes(BROKEN[name])
    for load in (st.load_file, mg.load):
        with pytest.raises(RuntimeError, match="broken.safetensors"):
            load(path)


@pytest.mark.parametrize(
    "tree",
    ["", "[", '["nope", 1]', '["tensor", "7", false]', '["tensor"]', '["float", "x"]', '["dict", [[1]]]', "[[1]]",
     '["dict", [[["list", []], 1]]]', '["bytes", "*"]', '["list", 3]', '["tensor", 0, false]', "{}",
     '["device", "mars"]', '["dtype", "save"]'],
)  # fmt: skip
def test_broken_descriptions_are_refused(tree, tmp_path):
    path = tmp_path / "broken.mg"
    path.write_bytes(st.serialize({"0": mg.zeros(1)}, {"format": "minigrad.state.v1", "tree": tree}))
    with pytest.raises(RuntimeError, match="broken.mg"):
        mg.load(path)


def test_foreign_files_are_named(tmp_path):
    path = tmp_path / "f"
    st.save_file({"a": mg.zeros(1)}, path)
    with pytest.raises(RuntimeError, match="load_file"):
        mg.load(path)

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "pwned"),)

    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(RuntimeError, match="pickle"):
        mg.load(path)
    assert not (tmp_path / "pwned").exists()
    path.write_bytes(b"PK\x03\x04" + b"\0" * 100)
    with pytest.raises(RuntimeError, match="zip"):
        mg.load(path)


def test_mutated_files_never_crash(tmp_path):
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    mg.save({"w": mg.arange(20).to(mg.float32), "b": mg.tensor([True, False]), "n": [1, 2.5, {"k": "v"}]}, buffer)
    good = buffer.getvalue()
    for i in range(2000):
        data = bytearray(good)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(len(data))] = rng.integers(256)
        if i % 3 == 0:
            data = data[: rng.integers(len(data))]
        try:
            loaded = mg.load(io.BytesIO(bytes(data)))
        except RuntimeError as error:
            assert "<file object>" in str(error)
        else:
            if isinstance(loaded, dict) and isinstance(loaded.get("b"), mg.Tensor) and loaded["b"].dtype == mg.bool:
                assert set(loaded["b"].to(mg.uint8).tolist()) <= {0, 1}
