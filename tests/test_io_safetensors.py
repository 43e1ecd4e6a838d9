"""safetensors: round trips, lazy reading, shards, the reference package, and files that are not what they should be."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

import minigrad as mg
from minigrad.io import load_sharded, save_sharded
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


def test_lazy_reading(tmp_path):
    path = tmp_path / "t.safetensors"
    w = mg.arange(12.0).reshape(3, 4)
    st.save_file({"w": w, "n": mg.tensor(3), "flags": mg.tensor([True, False])}, path, {"k": "v"})
    with mg.io.safe_open(path, framework="pt", device="cpu") as f:
        assert f.keys() == ["flags", "n", "w"] and set(f.offset_keys()) == set(f.keys()) and f.metadata() == {"k": "v"}
        part = f.get_slice("w")
        assert part.get_shape() == [3, 4] and part.get_dtype() == "F32"
        assert part[:, 1:3].tolist() == w[:, 1:3].tolist() and part[2].tolist() == w[2].tolist()
        kept = f.get_tensor("w")
        with pytest.raises(KeyError, match="nope"):
            f.get_tensor("nope")
    kept.add_(1)  # private: the file stays as it is
    assert st.load_file(path)["w"].tolist() == w.tolist()
    for mmap in (True, False):
        assert st.load_file(path, mmap=mmap)["flags"].tolist() == [True, False]
    loaded = mg.load(path)
    assert loaded["w"].tolist() == w.tolist() and loaded["n"].item() == 3
    mg.save({"w": w.t()}, path, metadata={"epoch": 3})
    assert mg.load(path)["w"].tolist() == w.t().tolist() and mg.io.read_info(path) == {"metadata": {"epoch": "3"}}
    with pytest.raises(TypeError, match="dict of tensors"):
        mg.save([w], path)
    assert mg.load(path)["w"].shape == (4, 3)


def test_bytes_other_than_0_and_1_are_no_bools(tmp_path):
    data = bytearray(st.serialize({"b": mg.tensor([True, False, True])}))
    data[-3:] = bytes([7, 0, 255])
    (tmp_path / "b.safetensors").write_bytes(data)
    for mmap in (True, False):
        loaded = st.load_file(tmp_path / "b.safetensors", mmap=mmap)["b"]
        assert loaded.view(mg.uint8).tolist() == [1, 0, 1]


def test_models_with_tied_weights(tmp_path):
    def make():
        net = mg.nn.Sequential(mg.nn.Linear(5, 5), mg.nn.Linear(5, 5))
        net[1].weight = net[0].weight
        return net

    a, b = make(), make()
    st.save_model(a, tmp_path / "m.safetensors")
    with st.safe_open(tmp_path / "m.safetensors") as f:
        assert len(f.keys()) == 3
    assert st.load_model(b, tmp_path / "m.safetensors") == ([], [])
    for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True):
        assert x.tolist() == y.tolist()


def test_shards(tmp_path):
    state = {f"layer.{i}": mg.randn(10, 10) for i in range(5)}
    index = save_sharded(state, tmp_path, max_shard_size=900)
    assert len(list(tmp_path.glob("*.safetensors"))) == 3
    for where in (index, tmp_path):
        loaded = load_sharded(where)
        assert sorted(loaded) == sorted(state) and all(loaded[k].tolist() == state[k].tolist() for k in state)
    for bad in ("../x.safetensors", "/etc/passwd", "a/b", "..", "a\\b"):
        index.write_text(json.dumps({"weight_map": {"a": bad}}))
        with pytest.raises(RuntimeError, match="same folder"):
            load_sharded(index)
    index.write_text(json.dumps({"weight_map": {"a": "gone.safetensors"}}))
    with pytest.raises(FileNotFoundError, match="gone"):
        load_sharded(index)
    for text in ("[", "[]", '{"weight_map": [1]}', '{"weight_map": {"a": 1}}'):
        index.write_text(text)
        with pytest.raises(RuntimeError, match="index"):
            load_sharded(index)


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
    for load in (st.load_file, lambda p: st.load_file(p, mmap=False), st.safe_open):
        with pytest.raises(RuntimeError, match="broken.safetensors"):
            load(path)
    with pytest.raises((RuntimeError, pickle.UnpicklingError, EOFError), match="broken.safetensors"):
        mg.load(path)
