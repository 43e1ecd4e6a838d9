"""Saving and loading: `save`/`load` of nested state, and plain safetensors files."""

from __future__ import annotations

from . import safetensors
from .serialization import load, save

__all__ = ["load", "safetensors", "save"]
