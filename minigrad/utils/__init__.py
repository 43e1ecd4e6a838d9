"""Utilities under torch's import paths (`minigrad.utils.data`, `minigrad.utils.checkpoint` …), loaded on first use."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    import importlib

    if name.startswith("__"):
        raise AttributeError(name)
    try:
        return importlib.import_module("minigrad.utils." + name)
    except ModuleNotFoundError as error:
        if error.name != "minigrad.utils." + name:
            raise
        raise AttributeError(f"module 'minigrad.utils' has no attribute '{name}'", name=name) from error
