"""Reading and writing safetensors files (format: https://github.com/huggingface/safetensors#format).

A file is: 8 bytes N (little endian), N bytes of JSON {"name": {"dtype", "shape", "data_offsets"}, "__metadata__": {…}},
then the values. The format is small enough that both directions live here, with every rule of it checked on reading;
the tests read and write against the reference package. Writing is atomic: a temporary file in the same folder, fsync,
rename.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import minigrad as mg
from minigrad import _core

from ._files import PathLike, Source, atomic_file, byte_view, is_path

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


def _plan_of(tensors: dict[str, mg.Tensor], metadata: dict[str, str] | None) -> tuple[bytes, list[str]]:
    """Length, header and the order of the tensors' data."""
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
    offset = 0
    for name in order:
        tensor = tensors[name]
        size = tensor.numel() * tensor.element_size()
        dtype_name, _ = _DTYPES[str(tensor.dtype).rpartition(".")[2]]
        header[name] = {"dtype": dtype_name, "shape": [int(n) for n in tensor.shape], "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the values start aligned
    return len(text).to_bytes(8, "little") + text, order


def write_parts(tensors: dict[str, mg.Tensor], metadata: dict[str, str] | None = None) -> Iterator[Any]:
    """The bytes of a safetensors file, part by part: no copy of all tensors is made."""
    head, order = _plan_of(tensors, metadata)
    yield head
    for name in order:
        yield byte_view(tensors[name].detach().to("cpu").contiguous())


def serialize(tensors: dict[str, mg.Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """The bytes of a safetensors file.

    Raises:
        TypeError: a name that is no text, a value that is no tensor, or a dtype the format lacks.
    """
    return b"".join(write_parts(tensors, metadata))


def deserialize(data: bytes, source: str = "<bytes>") -> tuple[dict[str, mg.Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file given as bytes.

    Raises:
        RuntimeError: the bytes are no complete safetensors file; names `source` and what is wrong.
    """
    file = io.BytesIO(data)
    file.name = source  # type: ignore[attr-defined]
    with safe_open(file) as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata() or {}  # noqa: SIM118


class safe_open:
    """A safetensors file, opened lazily: tensors are read when they are asked for.

    Args:
        filename: path (mapped into memory: a slice costs only its own pages), or an open binary file.
        framework: accepted for the signature of the `safetensors` package; tensors are minigrad's.
        device: where tensors go.

    Example:
        >>> mg.io.safetensors.save_file({"w": mg.ones(2, 3)}, path := __import__("tempfile").mktemp())
        >>> with mg.io.safetensors.safe_open(path) as f: f.get_slice("w")[:, 1].tolist()
        [1.0, 1.0]
    """

    def __init__(self, filename: Any, framework: str = "minigrad", device: Any = "cpu") -> None:
        # minigrad's own archives hand in the part of them that is such a file
        self.source = filename if hasattr(filename, "tensor_at") else Source(filename, mmap=is_path(filename))
        self.device = device
        try:
            header, self.start = _read_header(self.source)
            self._metadata = _checked_metadata(header.pop("__metadata__", {}))
            self.plan = _checked_plan(header, self.source.size - self.start)
        except (_Corrupt, RecursionError) as error:
            self.source.close()
            message = f"{self.source.name}: not a safetensors file, or truncated or corrupt: {error}"
            raise RuntimeError(message) from error

    def __enter__(self) -> safe_open:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.source.close()

    def keys(self) -> list[str]:
        """Names of the tensors, sorted."""
        return sorted(self.plan)

    def offset_keys(self) -> list[str]:
        """Names in the order of the file."""
        return sorted(self.plan, key=lambda name: self.plan[name][2:])

    def metadata(self) -> dict[str, str] | None:
        """The text kept in the header; None when there is none."""
        return self._metadata or None

    def _entry(self, name: str) -> tuple[str, list[int], int, int]:
        if name not in self.plan:
            raise KeyError(f"{self.source.name}: File does not contain tensor {name}")
        return self.plan[name]

    def get_tensor(self, name: str) -> mg.Tensor:
        """One tensor; KeyError for an unknown name. Of a path: a private mapping of the file, read on use."""
        dtype, shape, begin, end = self._entry(name)
        try:
            made = _tensor_from(self.source.tensor_at(self.start + begin, end - begin), dtype, shape)
        except (RuntimeError, ValueError, OverflowError) as error:
            raise RuntimeError(f"{self.source.name}: cannot make the tensor {name!r} {dtype}{shape}: {error}") from error
        return made if str(self.device) == "cpu" else made.to(self.device)

    def get_slice(self, name: str) -> SafeSlice:
        """A view of one tensor that is read by indexing: `f.get_slice("w")[:2]`."""
        self._entry(name)
        return SafeSlice(self, name)

    def get_dtype(self, name: str) -> str:
        """The dtype as the file spells it (F32, BF16, …)."""
        return _DTYPES[self._entry(name)[0]][0]

    def get_shape(self, name: str) -> list[int]:
        """The shape, without reading the tensor."""
        return list(self._entry(name)[1])


class SafeSlice:
    """One tensor of a safetensors file, read where it is indexed."""

    def __init__(self, file: safe_open, name: str) -> None:
        self.file, self.name = file, name

    def get_shape(self) -> list[int]:
        """The shape of the whole tensor."""
        return self.file.get_shape(self.name)

    def get_dtype(self) -> str:
        """The dtype as the file spells it."""
        return self.file.get_dtype(self.name)

    def __getitem__(self, index: Any) -> mg.Tensor:
        return self.file.get_tensor(self.name)[index].clone()


def _tensor_from(data: mg.Tensor, dtype: str, shape: list[int]) -> mg.Tensor:
    kind = getattr(mg, dtype)
    if data.data_ptr() % kind.itemsize:
        data = data.clone()
    stride = [1] * len(shape)
    for k in range(len(shape) - 2, -1, -1):
        stride[k] = min(stride[k + 1] * max(shape[k + 1], 1), 2**62)
    if dtype == "bool" and bool((data > 1).any()):  # any byte may stand in a file; a bool in memory must be 0 or 1
        data = (data != 0).to(mg.uint8)
    return _core.storage_tensor(data, kind, tuple(shape), tuple(stride), 0)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _Corrupt("the header has a name twice")
    return result


def _read_header(source: Source) -> tuple[dict[str, Any], int]:
    if source.size < 8:
        raise _Corrupt(f"{source.size} bytes are too few for a header")
    size = int.from_bytes(source.read_at(0, 8), "little")
    if size > _MAX_HEADER:
        raise _Corrupt(f"header length {size} is above the limit of {_MAX_HEADER}")
    if size > source.size - 8:
        raise _Corrupt(f"header length {size}, but only {source.size - 8} bytes follow")
    try:
        header = json.loads(source.read_at(8, size).decode("utf-8"), object_pairs_hook=_no_duplicates)
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
        if math.prod(max(size, 1) for size in shape) >= 2**62 or len(shape) > 64:
            raise _Corrupt(f"{name!r} has a shape beyond all limits: {shape!r:.100}")
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


def save_file(tensors: dict[str, mg.Tensor], filename: PathLike, metadata: dict[str, str] | None = None) -> None:
    """Write named tensors to a safetensors file, atomically.

    Args:
        tensors: names to tensors; each is written in full, also where they share memory.
        filename: where to.
        metadata: text to text, kept in the header.
    """
    parts = write_parts(tensors, metadata)
    head = next(parts)  # what cannot be written is refused before a file is touched
    with atomic_file(filename) as file:
        file.write(head)
        for part in parts:
            file.write(part)


def load_file(filename: PathLike, device: Any = "cpu", mmap: bool = True) -> dict[str, mg.Tensor]:
    """Read the named tensors of a safetensors file.

    Args:
        mmap: map the file (read on use, writes stay private) rather than copy it.

    Raises:
        FileNotFoundError: there is no such file.
        RuntimeError: it is no safetensors file, or truncated or corrupt.
    """
    if not mmap:
        return deserialize(Path(filename).read_bytes(), str(filename))[0]
    with safe_open(filename, device=device) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def save(tensors: dict[str, mg.Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """The bytes of a safetensors file; alias of `serialize`."""
    return serialize(tensors, metadata)


def load(data: bytes) -> dict[str, mg.Tensor]:
    """The named tensors in the bytes of a safetensors file."""
    return deserialize(data)[0]


def save_model(model: Any, filename: PathLike, metadata: dict[str, str] | None = None, force_contiguous: bool = True) -> None:
    """Write a module's state_dict; tensors that share memory in full are written once, and the metadata names the others."""
    state, kept, notes, seen = model.state_dict(), {}, dict(metadata or {}), {}
    for name, tensor in state.items():
        place = (_core.storage_id(tensor), tensor.storage_offset())
        look = (*place, tuple(tensor.shape), tuple(tensor.stride())) if tensor.numel() else (name,)
        first = seen.setdefault(look, name)
        if first == name:
            kept[name] = tensor
        else:
            notes[name] = first
    save_file(kept, filename, notes)


def load_model(model: Any, filename: PathLike, strict: bool = True, device: Any = "cpu") -> tuple[list[str], list[str]]:
    """Fill a module from a file of `save_model`: (missing names, unexpected names)."""
    with safe_open(filename, device=device) as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        for name, first in (file.metadata() or {}).items():
            if first in state and name not in state and name in model.state_dict():
                state[name] = state[first]
    result = model.load_state_dict(state, strict=strict)
    return list(result.missing_keys), list(result.unexpected_keys)
