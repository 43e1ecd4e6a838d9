"""torch.autograd.forward_ad: dual tensors, whose directional derivative comes along.

A dual tensor is an ordinary tensor that records; its tangent is noted with the level. `unpack_dual(y)` asks the recorded graph for
J^T u as a function of u, which is linear, and differentiates that by u: J t (as minigrad.func.jvp does). So everything that has a
second derivative has a forward one, custom Functions included (their `backward`, not their `jvp`, is used).

    >>> import minigrad as mg
    >>> with dual_level():
    ...     y = make_dual(mg.tensor([1.0, 2.0]), mg.tensor([1.0, 0.0])) ** 2
    ...     print(unpack_dual(y).tangent)
    tensor([2., 0.])
"""

from __future__ import annotations

from typing import Any, NamedTuple

from minigrad import _core

__all__ = ["UnpackedDualTensor", "dual_level", "enter_dual_level", "exit_dual_level", "make_dual", "unpack_dual"]

_current_level = -1
_duals: list[tuple[_core.Tensor, _core.Tensor]] = []  # of the open level: dual tensor and tangent


class UnpackedDualTensor(NamedTuple):
    """Value and tangent of a dual tensor; the tangent is None where nothing dual leads to it."""

    primal: _core.Tensor
    tangent: _core.Tensor | None


def enter_dual_level() -> int:
    """Open the level; returns its number.

    Raises:
        RuntimeError: one is open already.
    """
    global _current_level
    if _current_level >= 0:
        raise RuntimeError("Nested forward mode AD is not supported at the moment")
    _current_level = 0
    return 0


def exit_dual_level(*, level: int | None = None) -> None:
    """Close the level: no tensor is dual any more.

    Raises:
        RuntimeError: it is not the open one.
    """
    global _current_level
    if _current_level < 0 or level not in (None, _current_level):
        raise RuntimeError("Trying to exit a forward AD level that was not the last one that was created. This is not supported.")
    _current_level = -1
    _duals.clear()


class dual_level:  # noqa: N801  torch's name
    """The scope of dual tensors: `with dual_level():`."""

    def __enter__(self) -> int:
        return enter_dual_level()

    def __exit__(self, *error: Any) -> None:
        exit_dual_level()


def make_dual(tensor: _core.Tensor, tangent: _core.Tensor, *, level: int | None = None) -> _core.Tensor:
    """`tensor` with a direction; what is computed from it carries the derivative in that direction.

    Args:
        tensor: floating or complex; its own history goes on.
        tangent: of the same shape and dtype.
        level: the open one.
    Raises:
        RuntimeError: no level is open, or the shapes differ. ValueError: integers.
    """
    if _current_level < 0:
        raise RuntimeError("Trying to create a dual Tensor for forward AD but no level exists, make sure to enter_dual_level() first.")
    for what, x in (("primal", tensor), ("tangent", tangent)):
        if not (x.is_floating_point() or x.is_complex()):
            raise ValueError(f"Expected {what} to be floating point or complex, but got: {x.dtype}")
    if tensor.shape != tangent.shape or tensor.dtype != tangent.dtype:
        raise RuntimeError(
            f"make_dual: primal and tangent must have one shape and dtype: got {tuple(tensor.shape)} of {tensor.dtype} and "
            f"{tuple(tangent.shape)} of {tangent.dtype}"
        )
    before = _core.set_grad_enabled(True)
    try:
        dual = tensor.view_as(tensor) if tensor.requires_grad else tensor.detach().requires_grad_()
    finally:
        _core.set_grad_enabled(before)
    _duals.append((dual, tangent))
    return dual


def unpack_dual(tensor: _core.Tensor, *, level: int | None = None) -> UnpackedDualTensor:
    """Value and tangent of `tensor`; the tangent is None when no level is open or nothing dual leads to it."""
    if _current_level < 0 or not tensor.requires_grad:
        return UnpackedDualTensor(tensor, None)
    own = next((t for d, t in _duals if d is tensor), None)
    variables = [d for d, _ in _duals if not d.grad_fn]  # constants to everybody else
    return UnpackedDualTensor(_core.func_strip(tensor, variables), _tangent(tensor, variables) if own is None else own)


def _tangent(tensor: _core.Tensor, variables: list[_core.Tensor]) -> _core.Tensor | None:
    from minigrad.autograd import grad

    before = _core.set_grad_enabled(True)
    try:
        u = tensor.detach().new_zeros(tensor.shape).requires_grad_()
        pulled = grad(tensor, [d for d, _ in _duals], u, create_graph=True, allow_unused=True)
        pairs = [(p, t) for p, (_, t) in zip(pulled, _duals) if p is not None]
        reached = [(p, t) for p, t in pairs if p.requires_grad]
        if not reached:
            return None if not pairs else tensor.detach().new_zeros(tensor.shape)
        (out,) = grad([p for p, _ in reached], [u], [t for _, t in reached], create_graph=True, allow_unused=True)
        return tensor.detach().new_zeros(tensor.shape) if out is None else _core.func_strip(out, [u, *variables])
    finally:
        _core.set_grad_enabled(before)
