"""Convolution weights in another memory format."""

from __future__ import annotations

from typing import TypeVar

import minigrad as mg

M = TypeVar("M")

__all__ = ["convert_conv2d_weight_memory_format", "convert_conv3d_weight_memory_format"]


def _convert(module: M, memory_format: mg.memory_format, kinds: tuple[type, ...]) -> M:
    if isinstance(module, kinds):
        module.weight.data = module.weight.detach().clone().contiguous(memory_format=memory_format)
    for child in module.children():
        _convert(child, memory_format, kinds)
    return module


def convert_conv2d_weight_memory_format(module: M, memory_format: mg.memory_format) -> M:
    """Lay the weights of all Conv2d and ConvTranspose2d in `module` out in `memory_format`; returns module."""
    return _convert(module, memory_format, (mg.nn.Conv2d, mg.nn.ConvTranspose2d))


def convert_conv3d_weight_memory_format(module: M, memory_format: mg.memory_format) -> M:
    """Lay the weights of all Conv3d and ConvTranspose3d in `module` out in `memory_format`; returns module."""
    return _convert(module, memory_format, (mg.nn.Conv3d, mg.nn.ConvTranspose3d))
