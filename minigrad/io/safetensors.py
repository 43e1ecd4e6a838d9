"""Reading and writing safetensors files (format: https://github.com/huggingface/safetensors#format).

A file is: 8 bytes N (little endian), N bytes of JSON {"name": {"dtype", "shape", "data_offsets"}, "__metadata__": {…}},
then the values. The format is small enough that both directions live here, with every rule of it checked on reading;
the tests read and write against the reference package. Writing is atomic: a temporary file in the same folder, fsync,
rename.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any

import minigrad as mg
from minigrad import _core

PathLike = str | os.PathLike

# dtype: (name in the file, bytes per element)
_DTYPES = {
    "bool": ("BOOL", 1), "uint8": ("U8", 1), "int8": ("I8", 1), "int16": ("I16", 2), "int32": ("I32", 4),
    "int64": ("I64", 8), "float16": ("F16", 2), "bfloat16": ("BF16", 2), "float32": ("F32", 4), "float64": ("F64", 8),
    "complex64": ("C64", 8),
}  # fmt: skip
_FROM_NAME = {name: (dtype, size) for dtype, (name, size) in _DTYPES.items()}
_MAX_HEADER = 100_000_000  # the format's own limit


class _Corrupt(ValueError):
    """A rule of the format is broken; the message says which."""


def _remedy(tensor: mg.Tensor) -> str:
    return ", which the format lacks. Try minigrad.view_as_real(x)." if tensor.is_complex() else ""


def serialize(tensors: dict[str, mg.Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """The bytes of a safetensors file.

    Raises:
        TypeError: a name that is no text, a value that is no tensor, or a dtype the format lacks.
    """
    header: dict[str, Any] = {}
    if metadata is not None:
        if not all(isinstance(k, str) and isinstance(v, str) for k, v in metadata.items()):
            raise TypeError("safetensors: metadata must map str to str")
        header["__metadata__"] = dict(metadata)
    for name, tensor in tensors.items():
        if not isinstance(name, str) or name == "__metadata__":
            raise TypeError(f"safetensors: {name!r} cannot be the name of a tensor")
        if not isinstance(tensor, mg.Tensor):
            raise TypeError(f"safetensors: wrong kind of value under {name!r}: got {type(tensor)}, expected a Tensor")
        if str(tensor.dtype).rpartition(".")[2] not in _DTYPES:
            raise TypeError(f"safetensors: unsupported dtype under {name!r}: {tensor.dtype}{_remedy(tensor)}")
    # Wide elements first: every tensor then starts at a multiple of its own element size.
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    chunks, offset = [], 0
    for name in order:
        tensor = tensors[name].detach().to("cpu")
        data = _core.to_bytes(tensor)
        dtype_name, _ = _DTYPES[str(tensor.dtype).rpartition(".")[2]]
        shape = [int(size) for size in tensor.shape]
        header[name] = {"dtype": dtype_name, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
        chunks.append(data)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the values start aligned
    return b"".join([len(text).to_bytes(8, "little"), text, *chunks])


def deserialize(data: bytes, source: str = "<bytes>") -> tuple[dict[str, mg.Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file given as bytes.

    Raises:
        RuntimeError: the bytes are no complete safetensors file; names `source` and what is wrong.
    """
    try:
        header, start = _read_header(data)
        metadata = _checked_metadata(header.pop("__metadata__", {}))
        plan = _checked_plan(header, len(data) - start)
    except (_Corrupt, RecursionError) as error:
        raise RuntimeError(f"{source}: not a safetensors file, or truncated or corrupt: {error}") from error
    view = memoryview(data)
    tensors = {}
    for name, (dtype, shape, begin, end) in plan.items():
        try:
            tensors[name] = _tensor_from(bytes(view[start + begin : start + end]), dtype, shape)
        except (RuntimeError, ValueError, OverflowError) as error:
            raise RuntimeError(f"{source}: cannot make the tensor {name!r} {dtype}{shape}: {error}") from error
    return tensors, metadata


def _tensor_from(data: bytes, dtype: str, shape: list[int]) -> mg.Tensor:
    if dtype == "bool":  # any byte may stand in a file; a bool in memory must be 0 or 1
        return _core.from_bytes(data, mg.uint8, tuple(shape)) != 0
    return _core.from_bytes(data, getattr(mg, dtype), tuple(shape))


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _Corrupt("the header has a name twice")
    return result


def _read_header(data: bytes) -> tuple[dict[str, Any], int]:
    if len(data) < 8:
        raise _Corrupt(f"{len(data)} bytes are too few for a header")
    size = int.from_bytes(data[:8], "little")
    if size > _MAX_HEADER:
        raise _Corrupt(f"header length {size} is above the limit of {_MAX_HEADER}")
    if size > len(data) - 8:
        raise _Corrupt(f"header length {size}, but only {len(data) - 8} bytes follow")
    try:
        header = json.loads(bytes(data[8 : 8 + size]).decode("utf-8"), object_pairs_hook=_no_duplicates)
    except _Corrupt:
        raise
    except ValueError as error:
        raise _Corrupt(f"the header is no JSON ({error})") from error
    if not isinstance(header, dict):
        raise _Corrupt("the header is no JSON object")
    return header, 8 + size


def _checked_metadata(metadata: Any) -> dict[str, str]:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _Corrupt("__metadata__ must map text to text")
    return metadata


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _checked_plan(header: dict[str, Any], available: int) -> dict[str, tuple[str, list[int], int, int]]:
    """dtype, shape, begin and end of every tensor; they must tile the rest of the file exactly."""
    plan = {}
    for name, entry in header.items():
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise _Corrupt(f"the entry {name!r} needs dtype, shape and data_offsets")
        dtype_name, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype_name, str) or dtype_name not in _FROM_NAME:
            known = ", ".join(sorted(_FROM_NAME))
            raise _Corrupt(f"{name!r} has dtype {dtype_name!r}; minigrad reads {known}")
        if not isinstance(shape, list) or not all(_is_count(size) for size in shape):
            raise _Corrupt(f"{name!r} has the shape {shape!r}")
        if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_count(offset) for offset in offsets):
            raise _Corrupt(f"{name!r} has the offsets {offsets!r}")
        dtype, size = _FROM_NAME[dtype_name]
        begin, end = offsets
        if end - begin != math.prod(shape) * size:
            raise _Corrupt(f"{name!r} {dtype_name}{shape} needs {math.prod(shape) * size} bytes, has {end - begin}")
        plan[name] = (dtype, shape, begin, end)
    reached = 0
    for name, (_, _, begin, end) in sorted(plan.items(), key=lambda item: item[1][2:]):
        if begin != reached:
            raise _Corrupt(f"{name!r} starts at byte {begin}, expected {reached}")
        reached = end
    if reached != available:
        raise _Corrupt(f"the tensors take {reached} bytes, the file holds {available}")
    return plan


def write_atomic(path: PathLike, data: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one, never a part."""
    path = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    with contextlib.suppress(OSError):  # make the rename itself durable, where folders can be synced
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def save_file(tensors: dict[str, mg.Tensor], filename: PathLike, metadata: dict[str, str] | None = None) -> None:
    """Write named tensors to a safetensors file, atomically.

    Args:
        tensors: names to tensors; each is written in full, also where they share memory.
        filename: where to.
        metadata: text to text, kept in the header.
    """
    write_atomic(filename, serialize(tensors, metadata))


def load_file(filename: PathLike, device: Any = "cpu") -> dict[str, mg.Tensor]:
    """Read the named tensors of a safetensors file.

    Raises:
        FileNotFoundError: there is no such file.
        RuntimeError: it is no safetensors file, or truncated or corrupt.
    """
    tensors, _ = deserialize(Path(filename).read_bytes(), str(filename))
    return tensors if str(device) == "cpu" else {name: tensor.to(device) for name, tensor in tensors.items()}


def save(tensors: dict[str, mg.Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """The bytes of a safetensors file; alias of `serialize`."""
    return serialize(tensors, metadata)


def load(data: bytes) -> dict[str, mg.Tensor]:
    """The named tensors in the bytes of a safetensors file."""
    return deserialize(data)[0]
