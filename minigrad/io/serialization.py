"""`save` and `load`: which format a file has or gets, and where its tensors go.

Formats: PyTorch's zip archive (any suffix but the two that follow; `torch.load` reads these files), minigrad's own `.mg`
(data only, can hold no code), `.safetensors` (a flat dict of tensors). Reading goes by content, not by name.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from typing import Any

import minigrad as mg

from . import safetensors
from ._files import Source, is_path, output
from ._globals import TorchRules
from ._state import TREE, read_state, write_state
from ._torch_legacy import looks_legacy, looks_tar, read_legacy, read_tar, write_legacy
from ._torch_zip import Restore, TorchZipReader, archive_name, root_of, safe_unpickle, write_torch_zip
from ._trusted import trusted_unpickle
from ._unpickle import UnpicklingError
from ._zip import ZipReader

DEFAULT_PROTOCOL = 2
_FORMATS = ("torch", "minigrad", "safetensors")


def _format_of(f: Any, format: str | None) -> str:
    if format is not None:
        if format not in _FORMATS:
            raise ValueError(f"save: unknown format {format!r}, expected one of {', '.join(_FORMATS)}")
        return format
    suffix = os.path.splitext(os.fspath(f))[1] if is_path(f) else ""
    return {".mg": "minigrad", ".safetensors": "safetensors"}.get(str(suffix), "torch")


def save(
    obj: Any, f: Any, pickle_module: Any = pickle, pickle_protocol: int = DEFAULT_PROTOCOL,
    _use_new_zipfile_serialization: bool = True, *, format: str | None = None, metadata: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    """Write an object to a file, whole or not at all.

    Args:
        obj: nested state, e.g. `{"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}`; in
            PyTorch's format any object that can be pickled.
        f: path (written to a temporary name, then renamed), or a file object opened for binary writing.
        pickle_module: accepted; minigrad pickles with Python's own.
        pickle_protocol: of the structure, 2 to 5 (PyTorch's format).
        format: "torch", "minigrad" or "safetensors"; by the suffix when omitted (.mg, .safetensors, all others torch).
        metadata: what the file should say about itself, as JSON can hold it (a config, a score); kept beside
            versions, seed and git commit, and shown by `python -m minigrad.io FILE`.

    Raises:
        TypeError, ValueError: the format cannot hold `obj`; the message says where.
    """
    kind = _format_of(f, format)
    if kind == "safetensors":
        text = {k: v if isinstance(v, str) else repr(v) for k, v in (metadata or {}).items()} or None
        parts = list(safetensors.write_parts(_flat(obj), text))
        with output(f) as file:
            for part in parts:
                file.write(part)
        return
    if not isinstance(pickle_protocol, int) or not 2 <= pickle_protocol <= pickle.HIGHEST_PROTOCOL:
        raise ValueError(f"save: pickle_protocol must be 2 to {pickle.HIGHEST_PROTOCOL}, got {pickle_protocol!r}")
    with output(f) as file:
        if kind == "minigrad":
            write_state(obj, file, metadata)
        elif _use_new_zipfile_serialization:
            write_torch_zip(obj, file, archive_name(f), pickle_protocol, metadata)
        else:
            write_legacy(obj, file, pickle_protocol)


def _flat(obj: Any) -> dict[str, mg.Tensor]:
    if not isinstance(obj, dict):
        raise TypeError(f"save: a safetensors file holds a dict of tensors, got {type(obj).__name__}. Try a file named .pt.")
    return obj


def load(
    f: Any, map_location: Any = None, pickle_module: Any = None, *, weights_only: bool | None = None, mmap: bool | None = None,
    **pickle_load_args: Any,
) -> Any:  # fmt: skip
    """Read what `save`, or PyTorch's, wrote: zip and legacy checkpoints, minigrad's own format, safetensors.

    Args:
        f: path, or a file object opened for binary reading.
        map_location: where tensors go: a device, a dict from places in the file to places here, or a function
            (storage, place) -> storage or None. By default to where they were.
        pickle_module: whose Unpickler to use with `weights_only=False`.
        weights_only: True (the default) reads data only: tensors, numbers, text, containers, and what
            `minigrad.serialization.add_safe_globals` registered; nothing in the file can run code. False unpickles any
            object, which can run any code: only for files from a source you trust.
        mmap: map the file rather than read it; parts are read on use, and writes to tensors stay private.
        pickle_load_args: `encoding` for pickles of Python 2.

    Raises:
        FileNotFoundError: there is no such file.
        EOFError: the file is empty.
        pickle.UnpicklingError: the contents are damaged, or ask for what is not allowed; the message names it.
        RuntimeError: the container is truncated or damaged.
    """
    weights_only = weights_only is None or bool(weights_only)
    if weights_only and pickle_module is not None:
        raise RuntimeError("Can not safely load weights when explicit pickle_module is specified")
    encoding = pickle_load_args.pop("encoding", "utf-8")
    if weights_only and pickle_load_args:
        raise TypeError(f"load: with weights_only=True only `encoding` is understood, got {sorted(pickle_load_args)}")
    if not is_path(f) and not hasattr(f, "read"):
        raise AttributeError(f"load: expected a path or a file object with a 'read' method, got {type(f).__name__}")
    restore = _restorer(map_location)
    unpickle = (
        safe_unpickle(TorchRules(), encoding) if weights_only else trusted_unpickle(pickle_module, encoding=encoding, **pickle_load_args)
    )
    with Source(f, mmap=bool(mmap)) as source:
        try:
            return _load(source, restore, unpickle, encoding)
        except UnpicklingError as error:
            if source.name in str(error):
                raise
            raise UnpicklingError(f"{source.name}: {error}") from error


def _load(source: Source, restore: Restore, unpickle: Any, encoding: str) -> Any:
    if source.size == 0:
        raise EOFError(f"{source.name}: Ran out of input: the file is empty")
    head = source.head(64)
    if head[:4] == b"PK\x03\x04":
        return _load_zip(ZipReader(source), restore, unpickle)
    if looks_tar(source):
        return read_tar(source, restore, encoding=encoding)
    if looks_legacy(head):
        if source._map is not None:
            raise RuntimeError(f"{source.name}: mmap needs PyTorch's zip format; this file has the one before 1.6")
        return read_legacy(source, restore, unpickle)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= source.size:
        with safetensors.safe_open(source) as file:
            return {name: restore(file.get_tensor(name), "cpu") for name in file.offset_keys()}
    if head[:1] == b"\x80":
        raise UnpicklingError("a bare pickle, or a damaged checkpoint: expected one written by minigrad.save or torch.save")
    raise UnpicklingError(f"invalid load key {head[:1]!r}: neither a checkpoint nor a safetensors file, or damaged at its beginning")


def _load_zip(archive: ZipReader, restore: Restore, unpickle: Any) -> Any:
    if TREE in archive:
        return read_state(archive, restore)
    root = root_of(archive)
    if root is not None and root + "constants.pkl" in archive:
        raise RuntimeError(f"{archive.source.name}: a TorchScript archive (torch.jit.save); minigrad reads checkpoints of torch.save")
    return TorchZipReader(archive, restore, unpickle).load()


# --- places ----------------------------------------------------------------------------------------------------------
def _restorer(map_location: Any) -> Restore:
    """bytes of a storage, its place in the file -> the bytes where they belong now."""
    if map_location is None:
        return _place
    if isinstance(map_location, dict):
        return lambda data, location: _place(data, str(map_location.get(location, location)))
    if isinstance(map_location, (str, mg.device)):
        wanted = str(mg.device(map_location))
        return lambda data, location: _place(data, wanted)
    if isinstance(map_location, int) and not isinstance(map_location, bool):
        return lambda data, location: _place(data, f"cuda:{map_location}")
    if not callable(map_location):
        raise TypeError(f"load: map_location must be a device, str, dict or function, got {type(map_location).__name__}")
    return _by_function(map_location)


def _by_function(function: Callable[[Any, str], Any]) -> Restore:
    from ..storage import TypedStorage, UntypedStorage

    def restore(data: mg.Tensor, location: str) -> mg.Tensor:
        if data.dtype != mg.uint8:  # a tensor of a safetensors file
            moved = function(data.untyped_storage(), location)
            return data if moved is None else data.to(moved.device)
        moved = function(UntypedStorage.of(data), location)
        if moved is None:
            return _place(data, location)
        if isinstance(moved, TypedStorage):
            moved = moved.untyped()
        if not isinstance(moved, UntypedStorage):
            raise TypeError(f"load: map_location returned {type(moved).__name__}, expected the storage or None")
        return moved._bytes

    return restore


def _place(data: mg.Tensor, location: str) -> mg.Tensor:
    """The default: the CPU, or the CUDA device of that number where there is one."""
    kind = location.partition(":")[0]
    if kind == "cpu":
        return data
    if kind == "meta":
        return data.to("meta")
    if kind != "cuda":
        raise RuntimeError(f"don't know how to restore data location of a storage (tagged with {location!r:.40}). Try map_location='cpu'.")
    try:
        return data.to(location if ":" in location else "cuda:0")
    except (RuntimeError, ValueError, AssertionError) as error:
        raise RuntimeError(
            f"Attempting to deserialize object on a CUDA device ({location!r:.20}) that is not available here. If you are running on "
            "a CPU-only machine, please use load with map_location=minigrad.device('cpu') to map your storages to the CPU."
        ) from error


# --- what a file would need ------------------------------------------------------------------------------------------
class _StandIn:
    """Takes the place of every object while globals are collected."""

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def extend(self, items: Any) -> None:
        """Nothing."""

    update = extend


class _Collector(TorchRules):
    """Goes through a pickle without making anything, and notes the globals that are not allowed."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def find_global(self, module: str, name: str) -> Any:
        """A stand-in; names that are not allowed are noted."""
        try:
            super().find_global(module, name)
        except UnpicklingError:
            self.found.add(f"{module}.{name}")
        return _StandIn()

    def call(self, function: Any, args: tuple) -> Any:
        """A stand-in."""
        return _StandIn()

    def new(self, cls: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        """A stand-in."""
        return _StandIn()

    def build(self, instance: Any, state: Any) -> Any:
        """The stand-in as it is."""
        return instance

    def is_registered(self, cls: type) -> bool:
        """Stand-ins take items."""
        return cls is _StandIn


def get_unsafe_globals_in_checkpoint(f: Any) -> list[str]:
    """The globals that a zip checkpoint would need beyond those allowed ("module.name", sorted); nothing is loaded or run."""
    with Source(f) as source:
        archive = ZipReader(source)
        root = root_of(archive)
        if TREE in archive:
            return []
        if root is None:
            raise ValueError("Expected input to be a checkpoint returned by torch.save.")
        collector = _Collector()
        try:
            safe_unpickle(collector)(archive.read(root + "data.pkl"), 0, lambda saved_id: None)
        except UnpicklingError as error:
            raise UnpicklingError(f"{source.name}: {error}") from error
        return sorted(collector.found)


def read_info(f: Any) -> dict[str, Any]:
    """What a checkpoint says about itself: versions, seed, git_commit, "metadata" of the user; {} when it says nothing."""
    from . import _info, _state, _torch_zip

    with Source(f) as source:
        head = source.head(64)
        if head[:4] == b"PK\x03\x04":
            archive = ZipReader(source)
            name = _state.INFO if TREE in archive else (root_of(archive) or "") + _torch_zip.INFO
            return _info.parse(archive.read(name)) if name in archive else {}
        if head[8:9] == b"{":
            with safetensors.safe_open(source) as file:
                return {"metadata": file.metadata() or {}}
    return {}
