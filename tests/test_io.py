"""save and load in minigrad's own format and in PyTorch's: round trips, sharing, places, metadata, atomic writes."""

from __future__ import annotations

import gzip
import io
import math
import os
import pathlib
import pickle
from collections import OrderedDict

import numpy as np
import pytest

import minigrad as mg

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


FORMATS = [{"format": "minigrad"}, {"format": "torch"}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 5}]


@pytest.mark.parametrize("options", FORMATS, ids=str)
def test_nested_state_round_trip(tmp_path, options):
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
    path = tmp_path / "state"
    mg.save(state, path, **options)
    loaded = mg.load(path)
    assert list(loaded) == list(state)
    for key, value in state.items():
        if isinstance(value, mg.Tensor) and key != "parameter":
            same(loaded[key], value)
        elif key not in ("ordered", "parameter", "empty"):
            assert loaded[key] == value and type(loaded[key]) is type(value), key
    assert math.copysign(1, loaded["floats"][-1]) == -1
    assert type(loaded["ordered"]) is OrderedDict
    z, (a, (b,)) = loaded["ordered"].values()
    assert z.data_ptr() == a.data_ptr() == b.data_ptr()
    assert isinstance(loaded["parameter"], mg.nn.Parameter) and loaded["parameter"].requires_grad
    buffer = io.BytesIO()
    mg.save(state, buffer, **options)
    buffer.seek(0)
    assert list(mg.load(buffer)) == list(state)
    mg.save(3, path, **options)
    assert mg.load(path) == 3


@pytest.mark.parametrize("name", ["check.mg", "check.pt"])
def test_training_resumes(tmp_path, name):
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
    path = tmp_path / name
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


@pytest.mark.parametrize("name", ["tied.mg", "tied.pt"])
def test_tied_parameters_are_stored_once(tmp_path, name):
    net = mg.nn.Sequential(mg.nn.Linear(50, 50, bias=False), mg.nn.Linear(50, 50, bias=False))
    net[1].weight = net[0].weight
    path = tmp_path / name
    mg.save(net.state_dict(), path)
    assert path.stat().st_size < 50 * 50 * 4 * 1.3
    loaded = mg.load(path)
    assert loaded["0.weight"].data_ptr() == loaded["1.weight"].data_ptr()


@pytest.mark.parametrize(
    ("value", "error", "where"),
    [
        ({"a": [1, object()]}, TypeError, r"obj\.a\.1"),
        ({"f": len}, TypeError, r"obj\.f"),
        (mg.nn.Module, TypeError, "obj"),
    ],
)
def test_what_cannot_be_saved(value, error, where, tmp_path):
    with pytest.raises(error, match=where):
        mg.save(value, tmp_path / "x.mg")
    assert not list(tmp_path.iterdir())


def test_cycles_are_refused(tmp_path):
    loop = [1]
    loop.append(loop)
    with pytest.raises(ValueError, match="contains itself"):
        mg.save(loop, tmp_path / "x.mg")
    mg.save(loop, tmp_path / "x.pt")  # pickles can
    back = mg.load(tmp_path / "x.pt")
    assert back[1] is back


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
    with pytest.raises(RuntimeError, match="Parent directory"):
        mg.save(1, tmp_path / "no" / "folder")


@pytest.mark.parametrize("options", FORMATS, ids=str)
def test_views_and_shared_storages_come_back(tmp_path, options):
    base = mg.arange(12.0)
    state = {
        "base": base, "part": base[2:5], "transposed": base.reshape(3, 4).t(), "expanded": base[:1].expand(5),
        "parameter": mg.nn.Parameter(base.reshape(4, 3)), "leaf": mg.ones(2, requires_grad=True), "scalar": base[3],
        "last": base.reshape(3, 4)[:, ::2], "none": base[12:], "c128": mg.ones(2, dtype=mg.complex128),
    }  # fmt: skip
    mg.save(state, tmp_path / "x", **options)
    loaded = mg.load(tmp_path / "x")
    for name, value in state.items():
        got = loaded[name]
        assert type(got) is type(value) and got.dtype == value.dtype and got.requires_grad == value.requires_grad, name
        assert got.stride() == value.stride() and got.storage_offset() == value.storage_offset(), name
        assert got.tolist() == value.tolist(), name
    loaded["base"].fill_(7)
    for name in ("part", "transposed", "expanded", "parameter", "scalar", "last"):
        assert set(loaded[name].flatten().tolist()) == {7.0}, name


@pytest.mark.parametrize("name", ["x.mg", "x.pt"])
def test_mapped_files(tmp_path, name):
    path = tmp_path / name
    state = {"w": mg.randn(100, 7), "b": mg.tensor([True, False]), "h": mg.ones(3, dtype=mg.bfloat16), "empty": mg.zeros(0, 2)}
    mg.save(state, path)
    loaded = mg.load(path, mmap=True)
    for key, value in state.items():
        same(loaded[key], value)
    loaded["w"].zero_()  # private: the file stays
    same(mg.load(path)["w"], state["w"])
    os.unlink(path)
    same(loaded["h"], state["h"])
    with pytest.raises(ValueError, match="file path"):
        mg.load(io.BytesIO(b"PK"), mmap=True)


def test_map_location(tmp_path):
    path = tmp_path / "x.pt"
    mg.save({"a": mg.ones(3), "b": mg.zeros(2)}, path)
    seen = []

    def place(storage, location):
        seen.append((storage.nbytes(), location))

    for where in ("cpu", mg.device("cpu"), {"cpu": "cpu"}, {"cuda:0": "cpu"}, place, lambda storage, location: storage):
        assert mg.load(path, map_location=where)["a"].tolist() == [1, 1, 1]
    assert seen == [(12, "cpu"), (8, "cpu")]
    with pytest.raises(TypeError, match="map_location"):
        mg.load(path, map_location=1.5)
    with pytest.raises(RuntimeError, match="restore data location"):
        mg.load(path, map_location={"cpu": "xla:1"})


def test_what_a_file_says_about_itself(tmp_path, monkeypatch, capsys):
    from minigrad.io.__main__ import main

    repository = tmp_path / "repo"
    (repository / ".git" / "refs" / "heads").mkdir(parents=True)
    (repository / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (repository / ".git" / "refs" / "heads" / "main").write_text("0123456789abcdef0123456789abcdef01234567\n")
    monkeypatch.chdir(repository)
    for name in ("x.mg", "x.pt", "x.safetensors"):
        mg.save({"weight": mg.ones(3, 2)}, name, metadata={"config": {"lr": 0.1}})
        info = mg.io.read_info(name)
        if name != "x.safetensors":
            assert info["minigrad"] == mg.__version__ and info["seed"] == mg.initial_seed()
            assert info["git_commit"].startswith("0123456") and info["metadata"] == {"config": {"lr": 0.1}}
        assert main([name]) == 0
        out = capsys.readouterr().out
        assert "weight" in out and "float32" in out and "3, 2" in out and "0.1" in out
    assert main(["missing.pt"]) == 1
    assert "missing.pt" in capsys.readouterr().err
    first = pathlib.Path("x.pt").read_bytes()
    mg.save({"weight": mg.ones(3, 2)}, "x.pt", metadata={"config": {"lr": 0.1}})
    assert pathlib.Path("x.pt").read_bytes() == first  # the same state gives the same file
    with pytest.raises(TypeError, match="JSON"):
        mg.save(1, "x.pt", metadata={"a": object()})
    assert pathlib.Path("x.pt").read_bytes() == first


@pytest.mark.parametrize("name", ["x.mg", "x.pt", "x.safetensors"])
def test_a_full_disk_leaves_the_old_file(name, tmp_path, monkeypatch):
    path = tmp_path / name
    mg.save({"a": mg.ones(4)}, path)
    before = path.read_bytes()
    real = os.fdopen

    class Full:
        def __init__(self, *args):
            self.file = real(*args)
            self.left = 300

        def write(self, data):
            self.left -= len(data)
            if self.left < 0:
                raise OSError(28, "No space left on device")
            return self.file.write(data)

        def __getattr__(self, attribute):
            return getattr(self.file, attribute)

        def __enter__(self):
            return self

        def __exit__(self, *exc):
            self.file.close()

    monkeypatch.setattr(os, "fdopen", Full)
    with pytest.raises(OSError, match="No space"):
        mg.save({"a": mg.ones(4000)}, path)
    monkeypatch.undo()
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_arguments(tmp_path):
    mg.save(1, tmp_path / "x.pt")
    with pytest.raises(RuntimeError, match="pickle_module"):
        mg.load(tmp_path / "x.pt", pickle_module=pickle, weights_only=True)
    with pytest.raises(TypeError, match="nonsense"):
        mg.load(tmp_path / "x.pt", nonsense=1)
    with pytest.raises(ValueError, match="unknown format"):
        mg.save(1, tmp_path / "x.pt", format="hdf5")
    with pytest.raises(ValueError, match="pickle_protocol"):
        mg.save(1, tmp_path / "x.pt", pickle_protocol=1)
    with pytest.raises(AttributeError, match="read"):
        mg.load(3)
    with pytest.raises(AttributeError, match="write"):
        mg.save(1, 3)
    with pytest.raises(EOFError, match="empty"):
        mg.load(io.BytesIO())
    a = mg.zeros(4)
    with pytest.raises(RuntimeError, match="different types"):
        mg.save([a, a.view(mg.int32)], tmp_path / "y.pt")
    mg.save([a, a.view(mg.int32)], tmp_path / "y.mg")
    x, y = mg.load(tmp_path / "y.mg")
    x.fill_(1)
    assert y[0].item() == 0x3F800000

    class WriteOnly:
        def __init__(self):
            self.data = b""

        def write(self, data):
            self.data += bytes(data)

    file = WriteOnly()
    mg.save({"a": a}, file)
    assert mg.load(io.BytesIO(file.data))["a"].shape == (4,)
    for opener in (gzip.open, open):
        with opener(tmp_path / "f", "wb") as stream:
            mg.save({"a": a}, stream)
        with opener(tmp_path / "f", "rb") as stream:
            assert mg.load(stream)["a"].shape == (4,)
    buffer = io.BytesIO(b"before")
    buffer.seek(6)
    mg.save({"a": a}, buffer)  # an archive in the middle of a file
    buffer.seek(6)
    assert mg.load(buffer)["a"].shape == (4,)
