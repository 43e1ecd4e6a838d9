"""torch.utils.model_zoo: the old name of the downloads of minigrad.hub."""

from __future__ import annotations

from typing import Any

# ruff: noqa: F822  (some names are made below, or on first use)
__all__ = ["load_url", "tqdm"]


def load_url(url: str, *args: Any, **kwargs: Any) -> Any:
    """`hub.load_state_dict_from_url`."""
    from minigrad import hub

    return hub.load_state_dict_from_url(url, *args, **kwargs)


def __getattr__(name: str) -> Any:
    if name == "tqdm":
        from tqdm import tqdm

        return tqdm
    raise AttributeError(f"module 'minigrad.utils.model_zoo' has no attribute '{name}'")
