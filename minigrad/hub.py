"""torch.hub without a hub: weights from a local file or URL into a cache folder, models from a local hubconf.py."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Callable
from typing import Any
from urllib.parse import urlparse
from urllib.request import Request, urlopen

__all__ = ["download_url_to_file", "get_dir", "help", "list", "load", "load_state_dict_from_url", "set_dir"]

HASH_REGEX = re.compile(r"-([a-f0-9]*)\.")
READ_DATA_CHUNK = 128 * 1024
_chosen: dict[str, str] = {}


def _get_torch_home() -> str:
    cache = os.path.join(os.getenv("XDG_CACHE_HOME", "~/.cache"), "torch")
    return os.path.expanduser(os.getenv("TORCH_HOME", cache))


def get_dir() -> str:
    """The cache folder: `set_dir`'s, $TORCH_HOME/hub, or ~/.cache/torch/hub."""
    return _chosen.get("dir") or os.path.join(_get_torch_home(), "hub")


def set_dir(d: str | os.PathLike) -> None:
    """Use another cache folder."""
    _chosen["dir"] = os.path.expanduser(os.fspath(d))


def download_url_to_file(url: str, dst: str, hash_prefix: str | None = None, progress: bool = True) -> None:
    """Write what is at the URL (http, https, file) to `dst`, whole or not at all.

    Args:
        hash_prefix: the SHA-256 of the file must begin with it.
        progress: kept for compatibility; no bar is shown.
    Raises:
        RuntimeError: another hash. URLError: the URL cannot be read.
    """
    dst = os.path.expanduser(dst)
    digest = hashlib.sha256()
    with urlopen(Request(url, headers={"User-Agent": "minigrad.hub"})) as source:
        handle, path = tempfile.mkstemp(dir=os.path.dirname(os.path.abspath(dst)))
        try:
            with os.fdopen(handle, "wb") as out:
                while chunk := source.read(READ_DATA_CHUNK):
                    out.write(chunk)
                    digest.update(chunk)
            if hash_prefix is not None and not digest.hexdigest().startswith(hash_prefix):
                raise RuntimeError(f'invalid hash value (expected "{hash_prefix}", got "{digest.hexdigest()}")')
            os.replace(path, dst)
        except BaseException:
            os.unlink(path)
            raise


def load_state_dict_from_url(
    url: str, model_dir: str | None = None, map_location: Any = None, progress: bool = True, check_hash: bool = False,
    file_name: str | None = None, weights_only: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Load a checkpoint from the cache; download it first where it is not there.

    Args:
        url: http, https or file URL, or the path of a local file (read where it is).
        model_dir: cache folder; default `get_dir()`/checkpoints.
        check_hash: the file name carries the first digits of its SHA-256 (name-0123abcd.pth).
    """
    import minigrad

    if not urlparse(url).scheme and os.path.exists(os.path.expanduser(url)):  # a path: nothing to fetch or to keep
        return minigrad.load(os.path.expanduser(url), map_location=map_location, weights_only=weights_only)
    folder = model_dir or os.path.join(get_dir(), "checkpoints")
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, file_name or os.path.basename(urlparse(url).path))
    if not os.path.exists(path):
        found = HASH_REGEX.search(os.path.basename(path)) if check_hash else None
        download_url_to_file(url, path, found.group(1) if found else None, progress)
    return minigrad.load(path, map_location=map_location, weights_only=weights_only)


load_url = load_state_dict_from_url


def _entry_points(folder: str) -> Any:
    import importlib.util

    spec = importlib.util.spec_from_file_location("hubconf", os.path.join(folder, "hubconf.py"))
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
    return module


def _local(repo_or_dir: str | os.PathLike, source: str) -> Any:
    if source != "local":
        raise NotImplementedError("hub: minigrad fetches no code. Try a clone of the repository with source='local'.")
    return _entry_points(os.fspath(repo_or_dir))


def _entry(module: Any, model: str) -> Callable[..., Any]:
    found = getattr(module, model, None)
    if not callable(found):
        raise RuntimeError(f"Cannot find callable {model} in hubconf")
    return found


def load(repo_or_dir: str, model: str, *args: Any, source: str = "github", **kwargs: Any) -> Any:
    """Call an entry point of a local hubconf.py.

    Raises:
        NotImplementedError: source other than 'local'. RuntimeError: no such entry point.
    """
    for option in ("trust_repo", "force_reload", "verbose", "skip_validation"):
        kwargs.pop(option, None)
    return _entry(_local(repo_or_dir, source), model)(*args, **kwargs)


def list(github: str, force_reload: bool = False, skip_validation: bool = False, trust_repo: Any = "check", verbose: bool = True) -> Any:
    """Names of the entry points of a local folder's hubconf.py."""
    module = _local(github, "local" if os.path.isdir(github) else "github")
    return [n for n in dir(module) if callable(getattr(module, n)) and not n.startswith("_")]


def help(github: str, model: str, force_reload: bool = False, skip_validation: bool = False, trust_repo: Any = "check") -> str | None:
    """The docstring of an entry point of a local folder's hubconf.py."""
    return _entry(_local(github, "local" if os.path.isdir(github) else "github"), model).__doc__
