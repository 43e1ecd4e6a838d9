"""Generated code on disk, shared by processes: one file per kernel, named by what it is made from.

    MINIGRAD_CACHE_DIR    where (minigrad/_cache.py)
    MINIGRAD_CACHE_SIZE   at most so many bytes (default 256M; K, M, G as units); what was not used longest goes first

A file is written under another name and then renamed, so that a reader finds it whole or not at all, whoever else writes. Its head
holds the digest of the rest: a damaged file counts as missing and is written again. A directory that cannot be written is no error.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time

from minigrad._cache import folder

_MAGIC = b"minigrad code 1\n"
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_STALE = 3600  # seconds after which a half-written file was left by a process that died


def directory() -> str | None:
    """The cache's directory, or None where there is to be none."""
    return folder("code")


def size_limit() -> int:
    """Bytes that the cache may take."""
    text = os.environ.get("MINIGRAD_CACHE_SIZE", "256M").strip().upper().removesuffix("B")
    unit = _UNITS.get(text[-1:], 1)
    try:
        return int(float(text[:-1] if unit > 1 else text) * unit)
    except ValueError:
        return 256 << 20


def read(name: str) -> bytes | None:
    """What was stored under a name, or None."""
    where = directory()
    if where is None:
        return None
    path = os.path.join(where, name)
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return None
    start = len(_MAGIC) + 32
    content = data[start:]
    if data[: len(_MAGIC)] != _MAGIC or hashlib.sha256(content).digest() != data[len(_MAGIC) : start]:
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # used now
    return content


def write(name: str, content: bytes, plain: bool = False) -> None:
    """Stores `content`; `plain`: as it is, to be read by people."""
    where = directory()
    if where is None:
        return
    head = b"" if plain else _MAGIC + hashlib.sha256(content).digest()
    made = os.path.join(where, f".{name}.{os.getpid()}.{time.monotonic_ns()}")
    try:
        os.makedirs(where, mode=0o700, exist_ok=True)
        with open(made, "wb") as file:
            file.write(head + content)
        os.replace(made, os.path.join(where, name))
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(made)


def trim(where: str | None = None) -> None:
    """Removes the files that were not used longest until the cache (or another folder like it) is small enough."""
    where = where or directory()
    if where is None:
        return
    found, now = [], time.time()
    with contextlib.suppress(OSError):
        for entry in os.scandir(where):
            with contextlib.suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                if entry.name.startswith("."):
                    if now - status.st_mtime > _STALE:
                        os.unlink(entry.path)
                    continue
                found.append((status.st_mtime_ns, status.st_size, entry.path))
    total, limit = sum(size for _, size, _ in found), size_limit()
    for _, size, path in sorted(found):
        if total <= limit:
            return
        with contextlib.suppress(OSError):
            os.unlink(path)
            total -= size
