"""Saving and loading: `save`/`load` of nested state in PyTorch's format and minigrad's own, safetensors, shards.

`python -m minigrad.io FILE` shows what a file holds.
"""

from __future__ import annotations

from . import safetensors
from ._files import atomic_file
from ._sharded import load_sharded, save_sharded
from .safetensors import safe_open
from .serialization import load, read_info, save

__all__ = ["atomic_file", "load", "load_sharded", "read_info", "safe_open", "safetensors", "save", "save_sharded"]
