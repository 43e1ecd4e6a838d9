"""jacobian, hessian, vjp, jvp, vhp, hvp with torch.autograd.functional's names: the same derivatives as minigrad.func, but as calls
with inputs instead of functions of functions. Results are constants unless create_graph=True.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minigrad import _core
from minigrad.func._grad import _Forward, _Trace, jacobian_rows, unit_rows
from minigrad.func._tree import tree_map
from minigrad.op import functions

Tensor = _core.Tensor


# --- inputs and outputs -------------------------------------------------------------------------------------------------
def _inputs(inputs: Any, name: str) -> tuple[tuple, bool]:
    single = not isinstance(inputs, (tuple, list))
    items = (inputs,) if single else tuple(inputs)
    for k, x in enumerate(items):
        if not isinstance(x, Tensor):
            raise TypeError(
                f"{name}: The inputs given to {name} must be either a Tensor or a tuple of Tensors but the value at index {k} has type "
                f"{type(x)}."
            )
    return items, single


def _trace(func: Callable, inputs: tuple, name: str, strict: bool) -> tuple[_Trace, bool]:
    """(trace, whether func returned a single tensor)."""
    single: list[bool] = []

    def run(*xs: Tensor) -> Any:
        out = func(*xs)
        single.append(isinstance(out, Tensor))
        if not single[0] and (not isinstance(out, (tuple, list)) or not all(isinstance(t, Tensor) for t in out)):
            raise TypeError(
                f"{name}: The outputs of the user-provided function must be either a Tensor or a tuple of Tensors, got {type(out)}."
            )
        return out

    trace = _Trace(name, run, inputs, {}, tuple(range(len(inputs))), False)
    if strict:
        for k, t in enumerate(trace.outs):
            if not t.requires_grad:
                raise RuntimeError(
                    f"{name}: Output {k} of the user-provided function does not require gradients. The outputs must be computed in "
                    "a differentiable manner from the input when running in strict mode."
                )
    return trace, single[0]


def _finish(tree: Any, create_graph: bool) -> Any:
    return tree if create_graph else tree_map(lambda t: _core.func_detach(t) if isinstance(t, Tensor) else t, tree)


def _vector(v: Any, like: list, name: str, single: bool) -> list:
    """The given vector(s), checked; ones for a single scalar when v is None."""
    if v is None:
        if len(like) == 1 and like[0].numel() == 1:
            return [functions["ones_like"](_core.func_detach(like[0]))]
        raise RuntimeError(
            f"{name}: The vector v can only be None if the user-provided function returns a single Tensor with a single element."
        )
    items, _ = _inputs(v, name)
    if len(items) != len(like):
        raise RuntimeError(f"{name}: v is a tuple of invalid length: should be {len(like)} but got {len(items)}.")
    for k, (a, b) in enumerate(zip(items, like)):
        if a.shape != b.shape:
            raise RuntimeError(f"{name}: Entry {k} in v has invalid size: should be {tuple(b.shape)} but got {tuple(a.shape)}.")
    return list(items)


def _pack(items: list, single: bool) -> Any:
    return items[0] if single else tuple(items)


def _scalar(trace: _Trace, name: str) -> None:
    if len(trace.outs) != 1 or trace.outs[0].numel() != 1:
        raise RuntimeError(f"{name}: The Tensor returned by the function given to {name} should contain a single element")


def _gradient_of(func: Callable, name: str) -> Callable:
    """inputs -> gradient of a scalar func, differentiable."""

    def gradient(*xs: Tensor) -> tuple:
        trace, _ = _trace(func, xs, name, False)
        _scalar(trace, name)
        return tuple(trace.gradient(trace.outs, [functions["ones_like"](_core.func_detach(trace.outs[0]))]))

    return gradient


# --- the functions ------------------------------------------------------------------------------------------------------
def jacobian(
    func: Callable, inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:  # fmt: skip
    """Jacobian of `func` at `inputs`.

    Args:
        func: takes the inputs, returns a tensor or a tuple of them.
        inputs: a tensor or a tuple of them.
        create_graph: make the result differentiable.
        strict: raise when an output does not depend on the inputs.
        vectorize: all rows at once with vmap instead of one by one.
        strategy: "reverse-mode" (rows) or "forward-mode" (columns; needs vectorize=True).
    Returns:
        a tensor of shape (*output, *input); nested tuples [output][input] where func or inputs are tuples.
    Example:
        >>> mg.autograd.functional.jacobian(mg.exp, mg.zeros(1))
        tensor([[1.]])
    """
    if strategy not in ("reverse-mode", "forward-mode"):
        raise ValueError("jacobian: strategy must be either 'reverse-mode' or 'forward-mode'")
    if strategy == "forward-mode" and not vectorize:
        raise NotImplementedError("jacobian: strategy='forward-mode' is only available with vectorize=True")
    items, single_in = _inputs(inputs, "jacobian")
    trace, single_out = _trace(func, items, "jacobian", strict)
    if strategy == "forward-mode":
        blocks = _columns(trace)
    else:
        blocks = jacobian_rows(trace, None, loop=not vectorize)
    return _finish(_pack([_pack(row, single_in) for row in blocks], single_out), create_graph)


def _columns(trace: _Trace) -> list:
    from minigrad.func import vmap

    forward, columns = _Forward(trace), []
    for j, x in enumerate(trace.fresh):

        def push(t: Tensor, j: int = j) -> tuple:
            return tuple(forward.push([t if i == j else None for i in range(len(trace.fresh))]))

        cols = vmap(push)(unit_rows(x))
        columns.append([c.movedim(0, -1).reshape((*o.shape, *x.shape)) for c, o in zip(cols, trace.outs)])
    return [[column[k] for column in columns] for k in range(len(trace.outs))]


def hessian(
    func: Callable, inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:  # fmt: skip
    """Second derivatives of a scalar `func` at `inputs`: nested tuples [i][j] of shape (*input_i, *input_j), or one tensor.

    Args:
        func: returns a tensor with a single element.
        inputs, create_graph, strict, vectorize: as in `jacobian`.
        outer_jacobian_strategy: how the gradient is differentiated again.
    """
    items, single = _inputs(inputs, "hessian")
    gradient = _gradient_of(func, "hessian")
    blocks = jacobian(gradient, items, create_graph, strict, vectorize, outer_jacobian_strategy)
    return blocks[0][0] if single else blocks


def vjp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple:
    """(outputs, v^T J): v is shaped like the outputs, None for a single scalar."""
    items, single = _inputs(inputs, "vjp")
    trace, single_out = _trace(func, items, "vjp", strict)
    result = trace.gradient(trace.outs, _vector(v, trace.outs, "vjp", single_out))
    return _finish((trace.value(), _pack(result, single)), create_graph)


def jvp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple:
    """(outputs, J v): v is shaped like the inputs, None for a single scalar input. Two reverse passes, see minigrad.func.jvp."""
    items, single = _inputs(inputs, "jvp")
    trace, single_out = _trace(func, items, "jvp", strict)
    result = _Forward(trace).push(_vector(v, list(items), "jvp", single))
    return _finish((trace.value(), _pack(result, single_out)), create_graph)


def vhp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple:
    """(value, v^T H) of a scalar func; v is shaped like the inputs."""
    items, single = _inputs(inputs, "vhp")
    value: list = []
    gradient = _gradient_of(_noting(func, value), "vhp")
    trace, _ = _trace(gradient, items, "vhp", strict)
    result = trace.gradient(trace.outs, _vector(v, list(items), "vhp", single))
    return _finish((_core.func_detach(value[0]) if not create_graph else func(*items), _pack(result, single)), create_graph)


def hvp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple:
    """(value, H v) of a scalar func. H is symmetric, so this is `vhp`."""
    return vhp(func, inputs, v, create_graph, strict)


def _noting(func: Callable, into: list) -> Callable:
    def run(*xs: Tensor) -> Any:
        out = func(*xs)
        into.append(out)
        return out

    return run
