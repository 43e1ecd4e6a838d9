"""Kullback-Leibler divergence KL(p || q) = E_p[log p - log q]: a registry of closed forms by the classes of p and q.

The pairs are in _kl_same.py (p and q of one family) and _kl_mixed.py. Where one of them gives no mass to what the other can draw, the
result is inf.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import total_ordering
from typing import Any

import minigrad as mg
from minigrad.distributions.distribution import Distribution

__all__ = ["kl_divergence", "register_kl"]

_KL_REGISTRY: dict[tuple[type, type], Callable] = {}
_KL_MEMOIZE: dict[tuple[type, type], Callable] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[Callable], Callable]:
    """Decorator: registers a function (p, q) -> KL for two classes and their subclasses.

        @register_kl(Normal, Normal)
        def kl_normal_normal(p, q): ...

    Raises:
        TypeError when one of them is no class.
    """
    for name, kind in (("type_p", type_p), ("type_q", type_q)):
        if not isinstance(kind, type):  # any class: PyTorch lets libraries register for their own hierarchies (Pyro does)
            raise TypeError(f"Expected {name} to be a Distribution subclass but got {kind}")

    def register(function: Callable) -> Callable:
        _KL_REGISTRY[type_p, type_q] = function
        _KL_MEMOIZE.clear()  # a lookup done before may have a closer match now
        return function

    return register


@total_ordering
class _Match:
    """Tuples of classes; the smaller one is the more special."""

    __slots__ = ("types",)

    def __init__(self, *types: type) -> None:
        self.types = types

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Match) and self.types == other.types

    def __le__(self, other: _Match) -> bool:
        for x, y in zip(self.types, other.types):
            if not issubclass(x, y):
                return False
            if x is not y:
                break
        return True

    __hash__ = None  # type: ignore[assignment]


def _dispatch_kl(type_p: type, type_q: type) -> Callable:
    """The registered function for the closest classes; a warning when p and q disagree about which is closest."""
    matches = [pair for pair in _KL_REGISTRY if issubclass(type_p, pair[0]) and issubclass(type_q, pair[1])]
    if not matches:
        return NotImplemented
    left = min(_Match(*pair) for pair in matches).types
    right = tuple(reversed(min(_Match(*reversed(pair)) for pair in matches).types))
    if _KL_REGISTRY[left] is not _KL_REGISTRY[right]:  # type: ignore[index]
        names = [kind.__name__ for kind in (type_p, type_q, *left, *right)]
        warnings.warn(
            f"Ambiguous kl_divergence({names[0]}, {names[1]}). Please register_kl({names[2]}, {names[5]})",
            RuntimeWarning,
            stacklevel=3,
        )
    return _KL_REGISTRY[left]  # type: ignore[index]


def kl_divergence(p: Distribution, q: Distribution) -> mg.Tensor:
    """KL(p || q) of shape batch_shape.

    Raises:
        NotImplementedError when no closed form is registered for the two classes.
    """
    key = type(p), type(q)
    function = _KL_MEMOIZE.get(key)
    if function is None:
        function = _KL_MEMOIZE[key] = _dispatch_kl(*key)
    if function is NotImplemented:
        raise NotImplementedError(f"No KL(p || q) is implemented for p type {type(p).__name__} and q type {type(q).__name__}")
    return function(p, q)


def _infinite_like(tensor: mg.Tensor) -> mg.Tensor:
    return mg.full_like(tensor, mg.inf)


def _x_log_x(tensor: mg.Tensor) -> mg.Tensor:
    """t log t, 0 at 0."""
    return mg.special.xlogy(tensor, tensor)


def closed_form(*pairs: tuple[Any, Any]) -> Callable[[Callable], Callable]:
    """`register_kl` for several pairs of classes."""

    def register(function: Callable) -> Callable:
        for p, q in pairs:
            register_kl(p, q)(function)
        return function

    return register


from minigrad.distributions import _kl_mixed, _kl_same  # noqa: E402, F401  they register their pairs
