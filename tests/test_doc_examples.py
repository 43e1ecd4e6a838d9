"""The examples in the docstrings of nn, optim, data and io run and print what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import minigrad as mg


def _modules() -> list[str]:
    names = []
    for package in ("nn", "optim", "data", "io"):
        root = importlib.import_module(f"minigrad.{package}")
        names.append(root.__name__)
        names += [info.name for info in pkgutil.walk_packages(root.__path__, root.__name__ + ".")]
    return names


@pytest.mark.parametrize("name", _modules())
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), extraglobs={"mg": mg})
    assert result.failed == 0
