"""Memory that a storage may look at: a file mapped into memory, a window of another storage."""

from __future__ import annotations

from typing import Any

from minigrad import _core


def map_file(filename: Any, shared: bool, nbytes: int) -> Any:
    """The bytes of a file as a uint8 tensor; see `UntypedStorage.from_file`."""
    import numpy as np

    if shared and nbytes:
        with open(filename, "ab") as file:
            file.truncate(max(file.tell(), nbytes))
    return _core.from_numpy(np.memmap(filename, np.uint8, "r+" if shared else "c", shape=(nbytes,) if nbytes else None))


def window(part: Any) -> Any:
    """The bytes `part` as a tensor whose storage ends with them; the memory is shared."""
    if part.is_meta or not part.is_contiguous() or not part.numel():
        return part.clone()
    return _core.from_dlpack(_core.to_dlpack(part, False))
