"""Checkpoints across the border: files of torch read here, files of ours read by torch, whole modules, old formats."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import zipfile
from collections import Counter, OrderedDict

import numpy as np
import pytest

import minigrad as mg

torch = pytest.importorskip("torch")

DTYPES = ["float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "bool", "complex64", "complex128"]
WAYS = [{}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 4}]


def values(lib):
    base = lib.arange(24.0)
    state = OrderedDict((name, (lib.arange(12).reshape(3, 4) - 1).to(getattr(lib, name))) for name in DTYPES)
    state.update(
        base=base, view=base[3:9], strided=base.reshape(4, 6).t()[1:, ::2], scalar=base[5], empty=lib.zeros(0, 3),
        expanded=base[:1].expand(3, 4), parameter=lib.nn.Parameter(base.reshape(2, 12)),
        frozen=lib.nn.Parameter(base[:2], requires_grad=False),
        leaf=lib.ones(2, requires_grad=True), size=base.shape, device=lib.device("cpu"), dtype=lib.bfloat16, layout=lib.strided,
        nested={"a": [1, 2.5, (None, True)], 3: "ü", ("t", 1): b"\x00\xff", "big": 10**30, "c": 1 - 2j, "set": {1, 2}, "inf": float("inf")},
        counter=Counter("aab"), array=bytearray(b"xyz"),
    )  # fmt: skip
    return state


def same(ours, theirs, path="") -> None:
    """Equal across the two libraries, kinds included."""
    if isinstance(theirs, torch.Tensor):
        assert type(ours).__name__ == type(theirs).__name__, path
        assert str(ours.dtype).rpartition(".")[2] == str(theirs.dtype).rpartition(".")[2], path
        assert tuple(ours.shape) == tuple(theirs.shape) and ours.stride() == theirs.stride(), path
        assert ours.storage_offset() == theirs.storage_offset() and ours.requires_grad == theirs.requires_grad, path
        assert ours.tolist() == theirs.tolist(), path
    elif isinstance(theirs, dict):
        assert type(ours) is type(theirs) and list(ours) == list(theirs), path
        for key in theirs:
            same(ours[key], theirs[key], f"{path}[{key!r}]")
    elif isinstance(theirs, (list, tuple)) and not isinstance(theirs, torch.Size):
        assert type(ours) is type(theirs) and len(ours) == len(theirs), path
        for k, item in enumerate(theirs):
            same(ours[k], item, f"{path}[{k}]")
    elif type(theirs).__module__.startswith("torch"):
        assert str(ours).replace("minigrad", "torch") == str(theirs), path
    else:
        assert type(ours) is type(theirs) and ours == theirs, path


@pytest.mark.parametrize("options", WAYS, ids=str)
@pytest.mark.parametrize("mmap", [False, True])
def test_reading_what_torch_wrote(tmp_path, options, mmap):
    state = values(torch)
    torch.save(state, tmp_path / "t.pt", **options)
    if mmap and "_use_new_zipfile_serialization" in options:
        with pytest.raises(RuntimeError, match="mmap"):
            mg.load(tmp_path / "t.pt", mmap=True)
        return
    loaded = mg.load(tmp_path / "t.pt", mmap=mmap)
    same(loaded, state)
    loaded["base"].fill_(5)  # storages are shared as they were
    for name in ("view", "strided", "scalar", "expanded", "parameter", "frozen"):
        assert set(loaded[name].detach().flatten().tolist()) == {5.0}, name
    same(mg.load(tmp_path / "t.pt", weights_only=False), state)


@pytest.mark.parametrize("options", WAYS, ids=str)
def test_torch_reads_what_we_wrote(tmp_path, options):
    state = values(mg)
    mg.save(state, tmp_path / "t.pt", metadata={"k": 1}, **options)
    if "pickle_protocol" in options:  # torch's weights_only reads protocol 2
        loaded = torch.load(tmp_path / "t.pt", weights_only=False)
    else:
        loaded = torch.load(tmp_path / "t.pt", weights_only=True)
    same(state, loaded)
    loaded["base"].fill_(5)
    for name in ("view", "strided", "scalar", "expanded", "parameter"):
        assert set(loaded[name].detach().flatten().tolist()) == {5.0}, name
    if "_use_new_zipfile_serialization" not in options:
        same(state, torch.load(tmp_path / "t.pt", weights_only=False, mmap=True))
        with zipfile.ZipFile(tmp_path / "t.pt") as archive:
            assert archive.testzip() is None


def test_numpy_in_checkpoints(tmp_path):
    state = {
        "scalar": np.float64(3.5), "int": np.int32(7), "array": np.arange(6.0).reshape(2, 3), "fortran": np.asfortranarray(np.ones((2, 3))),
        "text": np.array(["ab", "c"]), "dtype": np.dtype("float32"), "big": np.arange(3, dtype=">i4"), "bool": np.array([True]),
        "empty": np.zeros((0, 2)),
    }  # fmt: skip
    for save, options in ((torch.save, {}), (mg.save, {}), (mg.save, {"pickle_protocol": 5}), (mg.save, {"format": "minigrad"})):
        save(state, tmp_path / "n.pt", **options)
        loaded = mg.load(tmp_path / "n.pt")
        for key, value in state.items():
            assert type(loaded[key]) is type(value), key
            np.testing.assert_array_equal(loaded[key], value)
            if key != "big":  # NumPy's pickles of protocol 2 come back in native order
                assert getattr(loaded[key], "dtype", None) == getattr(value, "dtype", None)


def model(lib):
    nn = lib.nn
    net = nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(1, 4, 3), norm=nn.BatchNorm2d(4), act=nn.ReLU(), pool=nn.MaxPool2d(2), flat=nn.Flatten(), lin=nn.Linear(36, 5),
            drop=nn.Dropout(0.3), out=nn.Sequential(nn.GELU(), nn.LayerNorm(5), nn.Linear(5, 5, bias=False)),
        )
    )  # fmt: skip
    net.out[2].tied = net.lin.weight
    return net.eval()


def test_whole_modules(tmp_path):
    theirs = model(torch)
    torch.save(theirs, tmp_path / "m.pt")
    with pytest.raises(pickle.UnpicklingError, match=r"torch\.nn\.modules\.\w+\.\w+.*weights_only=False"):
        mg.load(tmp_path / "m.pt")
    assert "torch.nn.modules.conv.Conv2d" in mg.serialization.get_unsafe_globals_in_checkpoint(tmp_path / "m.pt")
    ours = mg.load(tmp_path / "m.pt", weights_only=False)
    assert repr(ours) == repr(theirs) and list(ours.state_dict()) == list(theirs.state_dict())
    assert ours.out[2].tied is ours.lin.weight
    x = np.random.default_rng(0).normal(size=(2, 1, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(
        ours(mg.from_numpy(x)).detach().numpy(), theirs(torch.from_numpy(x)).detach().numpy(), rtol=1e-5, atol=1e-6
    )
    mg.save(ours, tmp_path / "again.pt")
    again = mg.load(tmp_path / "again.pt", weights_only=False)
    assert again(mg.from_numpy(x)).tolist() == ours(mg.from_numpy(x)).tolist()


def test_hooks_of_whole_modules_still_run(tmp_path):
    theirs = torch.nn.utils.spectral_norm(torch.nn.Linear(4, 3)).eval()
    torch.save(theirs, tmp_path / "m.pt")
    ours = mg.load(tmp_path / "m.pt", weights_only=False)
    x = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    np.testing.assert_allclose(
        ours(mg.from_numpy(x)).detach().numpy(), theirs(torch.from_numpy(x)).detach().numpy(), rtol=1e-4, atol=1e-5
    )


def test_training_state_crosses_over(tmp_path):
    """A run begun in torch goes on here."""
    theirs = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=0.1)
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)

    def step(net, opt, lib):
        opt.zero_grad()
        net(lib.from_numpy(x)).square().mean().backward()
        opt.step()

    step(theirs, optimizer, torch)
    torch.save({"model": theirs.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 1}, tmp_path / "c.pth")
    saved = mg.load(tmp_path / "c.pth")
    ours = mg.nn.Linear(3, 2)
    other = mg.optim.AdamW(ours.parameters(), lr=0.5)
    ours.load_state_dict(saved["model"])
    other.load_state_dict(saved["optimizer"])
    for _ in range(3):
        step(theirs, optimizer, torch)
        step(ours, other, mg)
    np.testing.assert_allclose(ours.weight.detach().numpy(), theirs.weight.detach().numpy(), rtol=1e-5)
    mg.save({"model": ours.state_dict(), "optimizer": other.state_dict()}, tmp_path / "back.pth")
    back = torch.load(tmp_path / "back.pth")
    theirs.load_state_dict(back["model"])
    optimizer.load_state_dict(back["optimizer"])


def test_attributes_and_unsupported_kinds(tmp_path):
    tensor = torch.ones(2)
    tensor.note = "hello"
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.group = 3
    lazily_conjugated = torch.tensor([1 + 2j]).conj()
    torch.save([tensor, parameter, lazily_conjugated], tmp_path / "a.pt")
    a, b, c = mg.load(tmp_path / "a.pt")
    assert a.note == "hello" and b.group == 3 and isinstance(b, mg.nn.Parameter) and c.tolist() == [1 - 2j]
    mg.save([a, b], tmp_path / "b.pt")
    a, b = torch.load(tmp_path / "b.pt", weights_only=True)
    assert a.note == "hello" and b.group == 3 and isinstance(b, torch.nn.Parameter)
    for value, name in (
        (torch.ones(2, dtype=torch.float8_e4m3fn), "float8_e4m3fn|dtype"),
        (torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "QInt8|qtensor"),
    ):  # fmt: skip
        torch.save({"x": value}, tmp_path / "u.pt")
        with pytest.raises(pickle.UnpicklingError, match=name):
            mg.load(tmp_path / "u.pt")


def test_files_without_checksums(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"a": torch.arange(5)}, tmp_path / "a.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert mg.load(tmp_path / "a.pt")["a"].tolist() == [0, 1, 2, 3, 4]


def test_cuda_places_without_cuda(tmp_path):
    torch.save({"a": torch.arange(5)}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    entries["a/data.pkl"] = entries["a/data.pkl"].replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    for where in ("cpu", {"cuda:0": "cpu"}, lambda storage, location: storage):
        assert mg.load(tmp_path / "a.pt", map_location=where)["a"].tolist() == [0, 1, 2, 3, 4]
    if not getattr(mg, "cuda", None) or not mg.cuda.is_available():
        with pytest.raises(RuntimeError, match="map_location=minigrad.device"):
            mg.load(tmp_path / "a.pt")


def test_big_endian_files(tmp_path):
    state = {"f": torch.arange(3.0), "c": torch.tensor([1 + 2j]), "b": torch.tensor([True]), "h": torch.ones(2, dtype=torch.bfloat16)}
    torch.save(state, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    widths = {"a/data/0": 4, "a/data/1": 4, "a/data/3": 2}
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        for name, data in entries.items():
            width = widths.get(name, 1)
            turned = b"".join(data[k : k + width][::-1] for k in range(0, len(data), width))
            archive.writestr(name, b"big" if name == "a/byteorder" else turned)
    loaded = mg.load(tmp_path / "a.pt")
    for key, value in torch.load(tmp_path / "a.pt").items():
        assert loaded[key].tolist() == value.tolist() == state[key].tolist()


def test_legacy_storage_views_and_python_2(tmp_path):
    """What torch no longer writes: views of storages (before 0.4), 8-bit strings (Python 2)."""
    from io_cases import _call, _global, _int

    def short(text):
        return b"U" + bytes([len(text)]) + text.encode()

    view = b"(" + short("7") + b"K\x01K\x02t"
    storage = b"(" + short("storage") + _global("torch.FloatStorage") + short("7") + short("cpu") + b"K\x04" + view + b"tQ"
    shape, stride = b"(" + _int(2) + b"t", b"(" + _int(1) + b"t"
    body = b"\x80\x02}" + short("x") + _call("torch._utils._rebuild_tensor", storage, _int(0), shape, stride) + b"s."
    head = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    tail = pickle.dumps(["7"], 2) + struct.pack("<q", 4) + struct.pack("<4f", 1, 2, 3, 4)
    assert mg.load(io.BytesIO(head + body + tail))["x"].tolist() == [2.0, 3.0]
    assert mg.load(io.BytesIO(head + body + tail), encoding="latin1")["x"].tolist() == [2.0, 3.0]


def test_tar_files(tmp_path):
    """The format before 0.1.10, as torch.load still reads it."""
    def entry(value):
        return pickle.dumps(value, 2)

    class Kind:
        def __init__(self, name):
            self.name = name

    def global_pickle(prefix, name, suffix=b""):
        return b"\x80\x02(" + prefix + f"ctorch\n{name}\n".encode() + suffix + b"t."

    storages = entry(1) + global_pickle(b"K\x05U\x03cpu", "FloatStorage") + struct.pack("<q6f", 6, *range(6)) + entry([(9, 5, 2, 3)])
    tensors = entry(2)
    for key, size, stride, offset, storage in ((11, (2, 3), (3, 1), 0, 5), (12, (2,), (1,), 1, 5)):
        tensors += global_pickle(b"K" + bytes([key]) + b"K" + bytes([storage]), "FloatTensor")
        tensors += struct.pack(f"<ii{len(size)}q{len(size)}qq", len(size), 0, *size, *stride, offset)
    body = b"\x80\x02}(U\x01aU\x0211QU\x01bU\x0212Qu."
    path = tmp_path / "old.pth"
    with tarfile.open(path, "w") as archive:
        for name, data in {"sys_info": entry({}), "storages": storages, "tensors": tensors, "pickle": body}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    loaded = mg.load(path)
    assert loaded["a"].tolist() == [[0, 1, 2], [3, 4, 5]] and loaded["b"].tolist() == [1, 2]
    loaded["b"].zero_()
    assert loaded["a"].tolist() == [[0, 0, 0], [3, 4, 5]]


def test_sharded_bin_files(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "pytorch_model-00001-of-00002.bin")
    torch.save({"b": torch.zeros(2)}, tmp_path / "pytorch_model-00002-of-00002.bin")
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text('{"weight_map": {"a": "pytorch_model-00001-of-00002.bin", "b": "pytorch_model-00002-of-00002.bin"}}')
    assert {k: v.tolist() for k, v in mg.io.load_sharded(index).items()} == {"a": [1, 1], "b": [0, 0]}


def test_sparse_tensors(tmp_path):
    dense = torch.tensor([[0, 2.0, 0], [1, 0, 3]])
    for theirs in (dense.to_sparse(), dense.to_sparse_csr(), dense.to_sparse_csc()):
        torch.save({"s": theirs}, tmp_path / "s.pt")
        ours = mg.load(tmp_path / "s.pt")["s"]
        assert str(ours.layout).replace("minigrad", "torch") == str(theirs.layout) and ours.to_dense().tolist() == dense.tolist()
        mg.save({"s": ours}, tmp_path / "back.pt")
        back = torch.load(tmp_path / "back.pt", weights_only=True)["s"]
        assert back.layout == theirs.layout and torch.equal(back.to_dense(), dense)
        with pytest.raises(TypeError, match="sparse"):
            mg.save({"s": ours}, tmp_path / "s.mg")
    torch.save(torch.sparse_coo_tensor([[0, 5]], [1.0, 2.0], (6,)), tmp_path / "s.pt")
    with zipfile.ZipFile(tmp_path / "s.pt") as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    entries["s/data/0"] = struct.pack("<qq", 0, 6)
    with zipfile.ZipFile(tmp_path / "s.pt", "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    with pytest.raises(pickle.UnpicklingError, match="inconsistent with indices"):
        mg.load(tmp_path / "s.pt")
