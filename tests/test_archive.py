"""PyTorchFileReader and -Writer against PyTorch's."""

from __future__ import annotations

import io

import pytest

import minigrad as mg


def test_records_of_torchs_archives(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"w": torch.arange(5.0)}, tmp_path / "x.pt")
    ours, theirs = mg.PyTorchFileReader(str(tmp_path / "x.pt")), torch._C.PyTorchFileReader(str(tmp_path / "x.pt"))
    assert set(ours.get_all_records()) == set(theirs.get_all_records())
    for name in ours.get_all_records():
        assert ours.has_record(name) and ours.get_record(name) == bytes(theirs.get_record(name))
    assert ours.get_storage_from_record("data/0", 5, mg.float32).tolist() == [0, 1, 2, 3, 4]
    assert not ours.has_record("nothing")
    with pytest.raises(RuntimeError):
        ours.get_record("nothing")
    with pytest.raises(RuntimeError):
        ours.get_storage_from_record("data/0", 6, mg.float32)


def test_written_archive_reads_back():
    file = io.BytesIO()
    writer = mg.PyTorchFileWriter(file)
    writer.write_record("data/0", b"abcd", 3)
    writer.write_end_of_file()
    file.seek(0)
    assert mg.PyTorchFileReader(file).get_record("data/0") == b"abc"
    with pytest.raises(RuntimeError, match="not a ZIP"):
        mg.PyTorchFileReader(io.BytesIO(b"no archive"))
