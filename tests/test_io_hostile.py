"""Checkpoints made to do harm, and random damage: every one is refused with a clear error; nothing runs, nothing crashes."""

from __future__ import annotations

import io
import os
import pickle
import struct
import time
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
from io_cases import REFUSALS, good_files, hostile_pickles, inside, mutate, rezipped, tensor, without_checksums

import minigrad as mg

FLAG = "pwned-by-a-checkpoint"


@pytest.mark.parametrize("name", hostile_pickles(FLAG))
def test_hostile_pickles_are_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    body = hostile_pickles(FLAG)[name]
    legacy = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2) + body
    legacy += pickle.dumps(["0"], 2) + struct.pack("<q", 4) + bytes(16)
    tracemalloc.start()
    start = time.process_time()
    for data in (rezipped(body), legacy):
        for mmap in (False, True):
            if mmap and data is legacy:
                continue
            (tmp_path / "x.pt").write_bytes(data)
            with pytest.raises(REFUSALS, match="x.pt|restore data location"):
                mg.load(tmp_path / "x.pt", mmap=mmap)
    assert time.process_time() - start < 5
    assert tracemalloc.get_traced_memory()[1] < 100 << 20
    tracemalloc.stop()
    assert os.listdir(tmp_path) == ["x.pt"]


def test_the_good_twin_of_the_hostile_tensors_loads():
    loaded = mg.load(io.BytesIO(rezipped(b"\x80\x02" + tensor(offset=1, size=(3,)) + b".")))
    assert loaded.shape == (3,) and loaded.storage_offset() == 1


def test_refusals_name_the_global_and_the_remedy(tmp_path):
    remedy = r"Weights only load failed.*os\.system.*add_safe_globals\(\[system\]\).*weights_only=False"
    with pytest.raises(pickle.UnpicklingError, match=remedy):
        mg.load(io.BytesIO(rezipped(hostile_pickles(FLAG)["os.system"])))


class Config:
    def __init__(self, lr):
        self.lr = lr


class Slotted:
    __slots__ = ("a", "b")


class MyList(list):
    pass


def test_registered_classes():
    slotted = Slotted()
    slotted.a = mg.ones(2)
    for value in (Config(mg.ones(2)), slotted, MyList([mg.ones(2), 3])):
        buffer = io.BytesIO()
        mg.save({"x": value}, buffer)
        buffer.seek(0)
        assert mg.serialization.get_unsafe_globals_in_checkpoint(buffer) != []
        buffer.seek(0)
        with pytest.raises(pickle.UnpicklingError, match=type(value).__name__):
            mg.load(buffer)
        with mg.serialization.safe_globals([type(value), (object, "builtins.object")]):
            buffer.seek(0)
            loaded = mg.load(buffer)["x"]
        assert type(loaded) is type(value)
        assert mg.serialization.get_safe_globals() == []
        buffer.seek(0)
        assert type(mg.load(buffer, weights_only=False)["x"]) is type(value)
    mg.serialization.add_safe_globals([Config])
    assert mg.serialization.get_safe_globals() == [Config]
    mg.serialization.clear_safe_globals()
    assert mg.serialization.get_safe_globals() == []
    with pytest.raises(TypeError, match="add_safe_globals"):
        mg.serialization.add_safe_globals([3])


def zipped(entries, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", compression) as archive:
        warnings.simplefilter("ignore")
        for name, data in entries:
            archive.writestr(name, data)
    return buffer.getvalue()


def hostile_archives():
    good = rezipped(b"\x80\x02" + tensor() + b".")
    overlapping = bytearray(good)
    at = overlapping.rfind(b"PK\x01\x02")
    first = overlapping.find(b"PK\x01\x02")
    overlapping[at + 42 : at + 46] = overlapping[first + 42 : first + 46]
    return {
        "bomb": zipped([("x/data.pkl", b"\x80\x02N."), ("x/data/0", bytes(50_000_000))], zipfile.ZIP_DEFLATED),
        "compressed pickle": zipped([("x/data.pkl", b"\x80\x02" + b"N0" * 1_000_000 + b"N.")], zipfile.ZIP_DEFLATED),
        "twice": zipped([("x/data.pkl", b"\x80\x02N."), ("x/data.pkl", b"\x80\x02N.")]),
        "no pickle": zipped([("x/other", b"1")]),
        "TorchScript": zipped([("x/data.pkl", b"\x80\x02N."), ("x/constants.pkl", b"")]),
        "byteorder": rezipped(b"\x80\x02N.", {"x/byteorder": b"middle"}),
        "empty": zipped([]),
        "only a head": b"PK\x03\x04" + bytes(100),
        "overlapping": bytes(overlapping),
        "own format, other version": zipped([("minigrad.json", b'{"format":"minigrad.state","version":2,"tree":1}')]),
        "a bare pickle": pickle.dumps({"a": 1}),
        "text": b"hello, this is no checkpoint at all",
        "zeros": bytes(2000),
        "tar": b"\0" * 257 + b"ustar" + b"\0" * 300,
    }


@pytest.mark.parametrize("name", hostile_archives())
def test_hostile_archives_are_refused(name, tmp_path):
    (tmp_path / "x.pt").write_bytes(hostile_archives()[name])
    for mmap in (False, True):
        with pytest.raises(REFUSALS, match="x.pt"):
            mg.load(tmp_path / "x.pt", mmap=mmap)


TREES = [
    "", "[", '["nope", 1]', '["tensor", "7", "float32", [1], [1], 0, false]', '["tensor"]', '["float", "x"]', '["dict", [[1]]]', "[[1]]",
    '["dict", [[["list", []], 1]]]', '["bytes", "*"]', '["list", 3]', '["tensor", 0, false]', "{}", '["device", "mars"]',
    '["dtype", "save"]', '["dtype", "Tensor"]',
    '["tensor", "w", "float32", [5], [1], 0, false]', '["tensor", "w", "float32", [2], [1], -1, false]',
    '["tensor", "w", "float64", [4], [1], 0, false]', '["tensor", "w", "float32", [2], [-1], 3, false]', '["numpy.dtype", "O"]',
    '["tensor", "w", "float32", [2, 2], [1], 0, false]', '["tensor", "w", "float32", [4.0], [1], 0, false]',
    '["tensor", "w", "float32", [1000000000000], [1], 0, false]', '["numpy.array", "<f8", [99999999999], "AAAAAAAAAAA="]',
    '["numpy.array", "|O", [1], "AAAAAAAAAAA="]', '["defaultdict:eval", []]', '["layout", "minigrad.save"]', '["range", 0.5, 1, 2]',
    '["size", ["x"]]', '["list", [' * 5000, '["tensor", "w", "int64", [1], [1], 0, true]',
]  # fmt: skip


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree[:50])
def test_broken_descriptions_are_refused(tree):
    payload = mg.io.safetensors.serialize({"w": mg.zeros(4)})
    text = '{"format":"minigrad.state","version":1,"tree":' + tree + "}"
    data = zipped([("minigrad.json", text), ("tensors.safetensors", payload)])
    with pytest.raises(REFUSALS, match="file object"):
        mg.load(io.BytesIO(data))


INSIDE = [("torch", "data.pkl"), ("protocol 5", "data.pkl"), ("minigrad", "minigrad.json"), ("minigrad", ".safetensors")]


def run_mutations(count: int, seed: int) -> dict[str, tuple[int, int]]:
    """Load `count` damaged files per format; how many were refused and how many still made sense."""
    files = good_files()
    tally = {}
    cases = [(name, data, "") for name, data in files.items()]
    cases += [(f"{entry} of {name}", files[name], entry) for name, entry in INSIDE]
    for name, data, entry in cases:
        rng = np.random.default_rng([seed, len(name)])
        refused = 0
        for i in range(count):
            # Half with checksums, which catch nearly everything, half without, so that the damage gets through.
            if entry:
                damaged = inside(data, entry, rng, list(files.values()))
            else:
                damaged = mutate(data, rng, list(files.values()), checksums=i % 2 == 0)
            try:
                loaded = mg.load(io.BytesIO(damaged))
            except REFUSALS as error:
                assert str(error), type(error)
                refused += 1
                continue
            touch(loaded)
        tally[name] = (refused, count - refused)
    return tally


def touch(value, depth=0):
    """Look at every tensor: a wrong bound would show here (above all under AddressSanitizer)."""
    if isinstance(value, mg.Tensor):
        if value.numel() < 1_000_000:
            value.detach().clone()
            if value.dtype == mg.bool and value.numel():
                assert int(value.view(mg.uint8).max()) <= 1
    elif isinstance(value, dict) and depth < 50:
        for item in value.values():
            touch(item, depth + 1)
    elif isinstance(value, (list, tuple, set)) and depth < 50:
        for item in value:
            touch(item, depth + 1)


def test_damaged_files_are_refused():
    tally = run_mutations(500, seed=1)
    assert len(tally) == 9
    for name, (refused, _) in tally.items():
        assert refused > 200, (name, refused)


@pytest.mark.slow
def test_thousands_of_damaged_files_are_refused():
    run_mutations(4000, seed=int(os.environ.get("MINIGRAD_FUZZ_SEED", "7")))


@pytest.mark.parametrize("name", good_files())
def test_every_cut_is_refused(name):
    data = good_files()[name]
    for end in range(0, len(data), max(1, len(data) // 300)):
        with pytest.raises(REFUSALS):
            mg.load(io.BytesIO(data[:end]))


@pytest.mark.parametrize("name", ["minigrad", "torch"])
def test_every_flipped_bit_of_the_values_is_noticed(name):
    data = good_files()[name]
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = ("/data/", "data.pkl", ".safetensors", "minigrad.json")
        infos = [info for info in archive.infolist() if any(name in info.filename for name in names)]
    for info in infos:
        start = info.header_offset + 30 + sum(struct.unpack_from("<HH", data, info.header_offset + 26))
        for at in range(start, start + info.file_size, max(1, info.file_size // 40)):
            damaged = bytearray(data)
            damaged[at] ^= 1 << (at % 8)
            with pytest.raises(RuntimeError, match="checksum"):
                mg.load(io.BytesIO(bytes(damaged)))
    assert infos


def test_archives_without_checksums_load():
    data = good_files()["torch"]
    assert list(mg.load(io.BytesIO(without_checksums(data)))) == list(mg.load(io.BytesIO(data)))
