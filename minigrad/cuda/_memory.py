"""Memory of the devices: what is allocated, cached, by whom; limits. The allocator is csrc/core/stream_cache.h."""

from __future__ import annotations

from typing import Any

from minigrad.cuda._door import backend, index_of

__all__ = [
    "caching_allocator_alloc", "caching_allocator_delete", "empty_cache", "get_per_process_memory_fraction",
    "max_memory_allocated", "max_memory_cached", "max_memory_reserved", "mem_get_info", "memory_allocated", "memory_by_module",
    "memory_cached", "memory_holders", "memory_reserved", "memory_snapshot", "memory_stats", "memory_stats_as_nested_dict",
    "memory_summary", "reset_accumulated_memory_stats", "reset_max_memory_allocated", "reset_max_memory_cached",
    "reset_peak_memory_stats", "set_memory_limit", "set_per_process_memory_fraction",
]  # fmt: skip


def _stat(name: str, doc: str, known_as: str) -> Any:
    def read(device: Any = None) -> int:
        return backend.memory_stats(index_of(device))[name]

    read.__doc__, read.__name__, read.__qualname__ = doc, known_as, known_as
    return read


memory_allocated = _stat("allocated", "Bytes of the tensors alive, as rounded by the allocator.", "memory_allocated")
max_memory_allocated = _stat("peak_allocated", "The most bytes allocated since the start or the last reset.", "max_memory_allocated")
memory_reserved = memory_cached = _stat("reserved", "Bytes taken from the device, cached ones included.", "memory_reserved")
max_memory_reserved = max_memory_cached = _stat("peak_reserved", "The most bytes reserved.", "max_memory_reserved")


def memory_stats(device: Any = None) -> dict[str, int]:
    """Counters of the allocator under PyTorch's names (those of `all`), and `pending_bytes`: freed, waiting for other streams."""
    s = backend.memory_stats(index_of(device))
    return {
        "allocated_bytes.all.current": s["allocated"], "allocated_bytes.all.peak": s["peak_allocated"],
        "allocated_bytes.all.allocated": s["allocated_ever"], "allocated_bytes.all.freed": s["allocated_ever"] - s["allocated"],
        "active_bytes.all.current": s["allocated"] + s["pending"], "pending_bytes": s["pending"],
        "reserved_bytes.all.current": s["reserved"], "reserved_bytes.all.peak": s["peak_reserved"],
        "inactive_split_bytes.all.current": s["free"], "largest_free_block": s["largest_free"],
        "fragmentation": 1 - s["largest_free"] / s["free"] if s["free"] else 0.0,
        "allocation.all.current": s["blocks"], "allocation.all.peak": s["peak_blocks"],
        "allocation.all.allocated": s["allocations"], "allocation.all.freed": s["frees"],
        "segment.all.current": s["segments"], "num_alloc_retries": s["retries"], "num_ooms": s["failures"],
    }  # fmt: skip


def memory_stats_as_nested_dict(device: Any = None) -> dict[str, Any]:
    """memory_stats as nested dicts."""
    nested: dict[str, Any] = {}
    for name, value in memory_stats(device).items():
        at = nested
        *path, last = name.split(".")
        for part in path:
            at = at.setdefault(part, {})
        at[last] = value
    return nested


def memory_holders(device: Any = None) -> list[tuple[str, int, int]]:
    """Who holds the memory: (name of the op that made the tensors, bytes, number of tensors), largest first."""
    return backend.memory_holders(index_of(device))


class memory_by_module:  # noqa: N801  used like torch's lower-case contexts
    """`with cuda.memory_by_module(model):` memory made in the forward passes of `model` is tagged by module path and op.

    The report of an out-of-memory error, `memory_holders` and `memory_snapshot` then say "layers.3.attention: softmax" and not "softmax".
    Hooks of the modules keep the path, so nothing is slower outside of the context. Memory made in backward is tagged by the op alone.

    Args:
        model: a module.
        name: put before the paths, for several models.
    """

    def __init__(self, model: Any, name: str = "") -> None:
        self.model, self.name = model, name
        self._paths: list[str] = []
        self._handles: list[Any] = []

    def __enter__(self) -> memory_by_module:
        for path, module in self.model.named_modules(prefix=self.name):
            self._handles.append(module.register_forward_pre_hook(self._entering(path or type(module).__name__), prepend=True))
            self._handles.append(module.register_forward_hook(self._leaving, always_call=True))
        return self

    def __exit__(self, *error: Any) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._paths.clear()
        backend.set_memory_owner("")

    def _entering(self, path: str) -> Any:
        def enter(module: Any, args: Any) -> None:
            self._paths.append(path)
            backend.set_memory_owner(path)

        return enter

    def _leaving(self, module: Any, args: Any, output: Any) -> None:
        self._paths.pop()
        backend.set_memory_owner(self._paths[-1] if self._paths else "")


def memory_snapshot(mempool_id: Any = None) -> list[dict[str, Any]]:
    """The segments of all devices with their blocks.

    Args:
        mempool_id: only the segments of this graph pool.
    """
    segments: dict[tuple, dict[str, Any]] = {}
    for device in range(backend.device_count()):
        for segment, address, size, free, tag, stream, pool in backend.memory_blocks(device):
            if mempool_id is not None and mempool_id[1] != pool:
                continue
            entry = segments.setdefault((device, segment), {
                "device": device, "address": segment, "total_size": 0, "allocated_size": 0, "stream": stream,
                "segment_pool_id": (0, pool), "blocks": [],
            })  # fmt: skip
            entry["total_size"] += size
            entry["allocated_size"] += 0 if free else size
            entry["blocks"].append(
                {"address": address, "size": size, "state": "inactive" if free else "active_allocated", "tag": tag}
            )
    return list(segments.values())


def memory_summary(device: Any = None, abbreviated: bool = False) -> str:
    """memory_stats and the largest holders as text."""
    lines = [f"CUDA memory of device {index_of(device)}"]
    lines += [f"  {name:36} {value}" for name, value in memory_stats(device).items()]
    if not abbreviated:
        lines += [f"  held by {tag}: {nbytes} bytes in {n} tensors" for tag, nbytes, n in memory_holders(device)[:20]]
    return "\n".join(lines)


def empty_cache() -> None:
    """Give cached memory of all devices back to the driver."""
    for k in range(backend.device_count()):
        backend.empty_cache(k)


def reset_peak_memory_stats(device: Any = None) -> None:
    """Peaks start again from what is allocated now."""
    backend.reset_peak_memory(index_of(device))


reset_max_memory_allocated = reset_max_memory_cached = reset_accumulated_memory_stats = reset_peak_memory_stats


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """(free, total) bytes of a device, as the driver sees them."""
    return backend.mem_get_info(index_of(device))


def set_memory_limit(nbytes: int | None, device: Any = None) -> None:
    """Upper bound for the bytes allocated on a device, None for none; beyond it OutOfMemoryError."""
    backend.set_memory_limit(index_of(device), nbytes)


def set_per_process_memory_fraction(fraction: float, device: Any = None) -> None:
    """set_memory_limit as a fraction of the device's memory."""
    if not 0 <= fraction <= 1:
        raise ValueError(f"Invalid fraction value: {fraction}. Allowed range: 0~1")
    set_memory_limit(int(fraction * mem_get_info(device)[1]), device)


def get_per_process_memory_fraction(device: Any = None) -> float:
    """The fraction set; 1.0 without a limit."""
    limit = backend.memory_limit(index_of(device))
    return 1.0 if limit is None else limit / mem_get_info(device)[1]


def caching_allocator_alloc(size: int, device: Any = None, stream: Any = None) -> int:
    """Address of `size` bytes from the allocator, for other libraries."""
    return backend.allocate(size, index_of(device))


def caching_allocator_delete(mem_ptr: int) -> None:
    """Free what caching_allocator_alloc returned on the current device."""
    backend.deallocate(mem_ptr, backend.current_device())
