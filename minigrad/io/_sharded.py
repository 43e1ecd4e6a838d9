"""Checkpoints in several files with an index (`model.safetensors.index.json`), as large public models come."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import minigrad as mg

from . import safetensors
from ._files import PathLike, write_atomic


def load_sharded(index: PathLike, device: Any = "cpu") -> dict[str, mg.Tensor]:
    """All tensors that an index names.

    Args:
        index: the `.index.json` file, or the folder it is in. Shards are `.safetensors` files, or PyTorch's `.bin`.

    Raises:
        RuntimeError: the index is damaged, names a file outside of its folder, or a shard lacks a tensor.
    """
    index = Path(index)
    if index.is_dir():
        found = sorted(index.glob("*.index.json"))
        if len(found) != 1:
            raise RuntimeError(f"{index}: expected one *.index.json in the folder, found {len(found)}")
        index = found[0]
    names = _weight_map(index)
    tensors: dict[str, mg.Tensor] = {}
    for shard in sorted(set(names.values())):
        wanted = [name for name, file in names.items() if file == shard]
        path = index.parent / shard
        if not path.is_file():
            raise FileNotFoundError(f"{index}: the shard {shard!r} is missing")
        loaded = safetensors.load_file(path, device) if shard.endswith(".safetensors") else mg.load(path, map_location=device)
        for name in wanted:
            if name not in loaded:
                raise RuntimeError(f"{path}: the tensor {name!r} is missing")
            tensors[name] = loaded[name]
    return tensors


def _weight_map(index: Path) -> dict[str, str]:
    try:
        names = json.loads(index.read_text("utf-8"))["weight_map"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RuntimeError(f"{index}: not an index of shards: {error!r:.200}") from error
    if not isinstance(names, dict) or not all(isinstance(file, str) for file in names.values()):
        raise RuntimeError(f"{index}: not an index of shards: weight_map must map names to files")
    for file in set(names.values()):
        if not re.fullmatch(r"[^/\\:\0]+", file) or file in (".", ".."):
            raise RuntimeError(f"{index}: the shard {file!r} is not a file in the same folder")
    return names


def save_sharded(
    tensors: dict[str, mg.Tensor], folder: PathLike, max_shard_size: int = 5 * 10**9, name: str = "model", metadata: dict | None = None
) -> Path:
    """Write tensors as several safetensors files and their index; the index comes last, so that it never names what is not there.

    Args:
        max_shard_size: bytes per file; a single larger tensor gets a file of its own.

    Returns:
        The path of the index.
    """
    folder = Path(folder)
    shards: list[dict[str, mg.Tensor]] = [{}]
    size = total = 0
    for key, tensor in tensors.items():
        nbytes = tensor.numel() * tensor.element_size()
        if shards[-1] and size + nbytes > max_shard_size:
            shards.append({})
            size = 0
        shards[-1][key] = tensor
        size += nbytes
        total += nbytes
    files = [f"{name}-{k + 1:05d}-of-{len(shards):05d}.safetensors" for k in range(len(shards))]
    for file, shard in zip(files, shards, strict=True):
        safetensors.save_file(shard, folder / file)
    weight_map = {key: file for file, shard in zip(files, shards, strict=True) for key in shard}
    index = folder / f"{name}.safetensors.index.json"
    text = json.dumps({"metadata": {**(metadata or {}), "total_size": total}, "weight_map": weight_map}, indent=1)
    write_atomic(index, text.encode())
    return index
