"""grad, vjp, jvp and the Jacobians: functions of functions over the one backward engine.

Every transform makes *fresh variables* of its arguments, runs the function, and asks the engine for gradients with respect to them only.
What the results depend on besides stays differentiable for outer levels; history that leads to nothing but the fresh variables is
cut (`func_strip`), so an inner derivative treats outer variables as constants and yet composes with them (no perturbation confusion).
The graph of the gradient itself is recorded only when somebody further out can need it (`func_reaches_others`).

Forward mode is made of two reverse passes: u -> J^T u is linear in u, so its own vjp is t -> J t. Cost: about three times the function,
and the memory of a backward pass. jacfwd and hessian do the first two passes once and only batch the last.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from minigrad import _core
from minigrad.func._tree import flatten, tree_map, unflatten
from minigrad.func._vmap import vmap
from minigrad.op import functions

Tensor = _core.Tensor


# --- one differentiation ----------------------------------------------------------------------------------------------
def _variable(x: Any, api: str) -> Tensor:
    if not isinstance(x, Tensor):
        raise ValueError(f"{api}: Thing passed to transform API must be Tensor, got {type(x)}")
    return _core.func_variable(x)


def _zeros(x: Tensor) -> Tensor:
    return functions["zeros_like"](_core.func_detach(x))


def _release(tree: Any, fresh: list, keep: bool) -> Any:
    """Results as the level outside sees them; `keep`: gradients are being recorded there."""

    def leave(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        return _core.func_strip(x, fresh) if keep else _core.func_detach(x)

    return tree_map(leave, tree)


def _pull(roots: list, cotangents: list, fresh: list, known: list, keep: bool) -> list:
    """Gradients of `roots` by `fresh`, released; None where there is none. known: all fresh variables of this transform."""
    pairs = [(r, c) for r, c in zip(roots, cotangents) if r.requires_grad]
    if not pairs:
        return [None] * len(fresh)
    record = keep and _core.func_reaches_others([t for p in pairs for t in p if t is not None], known)
    found = _core.run_backward([r for r, _ in pairs], [c for _, c in pairs], fresh, True, True, record, False)
    return [None if g is None else _release(g, known, keep) for g in found]


class _Trace:
    """One run of a function on fresh variables: `fresh`, `outs` (leaves), `out_spec`, `aux`, and the outer grad mode `keep`."""

    def __init__(self, api: str, func: Callable, args: tuple, kwargs: dict, argnums: Any, has_aux: bool) -> None:
        self.keep = _core.set_grad_enabled(True)
        try:
            chosen, self.spec = flatten(_choose(args, argnums))
            self.fresh = [_variable(x, api) for x in chosen]
            out = func(*_replaced(args, argnums, unflatten(self.fresh, self.spec)), **kwargs)
        finally:
            _core.set_grad_enabled(self.keep)
        self.aux = None
        if has_aux:
            if not (isinstance(out, tuple) and len(out) == 2):
                raise RuntimeError(f"{api}: output of function f should be a tuple: (output, aux) if has_aux is True")
            out, aux = out
            self.aux = _release(aux, self.fresh, self.keep)
        self.outs, self.out_spec = flatten(out)
        for x in self.outs:
            if not isinstance(x, Tensor):
                raise RuntimeError(f"{api}(f, ...): expected f to return Tensors only, got unsupported type {type(x)}")

    def value(self) -> Any:
        """The function's result for the outside."""
        return unflatten(_release(self.outs, self.fresh, self.keep), self.out_spec)

    def gradient(self, roots: list, cotangents: list) -> list:
        """Gradients for every fresh variable."""
        keep = _core.set_grad_enabled(True)
        try:
            found = _pull(roots, cotangents, self.fresh, self.fresh, keep and self.keep)
            return [_zeros(x) if g is None else g for g, x in zip(found, self.fresh)]
        finally:
            _core.set_grad_enabled(keep)


class _Forward:
    """The linear map t -> J t of a trace, as the vjp of u -> J^T u."""

    def __init__(self, trace: _Trace) -> None:
        self.trace = trace
        before = _core.set_grad_enabled(True)
        try:
            # Any u gives the same map; ones, because a formula may branch on where its cotangent is 0.
            self.u = [_core.func_variable(functions["ones_like"](_core.func_detach(x))) for x in trace.outs]
            pairs = [(r, u) for r, u in zip(trace.outs, self.u) if r.requires_grad]
            self.back: list = [None] * len(trace.fresh)
            if pairs:
                self.back = _core.run_backward([r for r, _ in pairs], [u for _, u in pairs], trace.fresh, True, True, True, False)
        finally:
            _core.set_grad_enabled(before)

    def push(self, tangents: list) -> list:
        """J t; entries of `tangents` may be None (no movement)."""
        keep = _core.set_grad_enabled(True)
        try:
            pairs = [(g, t) for g, t in zip(self.back, tangents) if g is not None and t is not None]
            known = [*self.trace.fresh, *self.u]
            found = _pull([g for g, _ in pairs], [t for _, t in pairs], self.u, known, keep and self.trace.keep)
            return [_zeros(x) if g is None else g for g, x in zip(found, self.u)]
        finally:
            _core.set_grad_enabled(keep)


def _choose(args: tuple, argnums: Any) -> Any:
    if isinstance(argnums, int):
        return args[_position(argnums, args)]
    if isinstance(argnums, tuple) and argnums:
        places = [_position(k, args) for k in argnums]
        if len(set(places)) != len(places):
            raise ValueError(f"argnums elements must be unique, got {argnums}")
        return tuple(args[k] for k in places)
    raise RuntimeError(f"argnums must be an int or a non-empty tuple of ints, got {argnums!r}")


def _position(k: Any, args: tuple) -> int:
    if not isinstance(k, int) or not -len(args) <= k < len(args):
        raise RuntimeError(f"Got argnum={k}, but only {len(args)} positional inputs")
    return k % len(args)


def _replaced(args: tuple, argnums: Any, chosen: Any) -> list:
    out = list(args)
    if isinstance(argnums, int):
        out[_position(argnums, args)] = chosen
    else:
        for k, value in zip(argnums, chosen):
            out[_position(k, args)] = value
    return out


# --- grad -------------------------------------------------------------------------------------------------------------
def grad_and_value(func: Callable, argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable:
    """A function that returns (gradient, value) of a scalar-valued `func`; arguments as in `grad`.

    Returns:
        a function: (gradient, value), or (gradient, (value, aux)) with has_aux.
    Raises:
        RuntimeError when func does not return a single 0-d tensor.
    """

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        trace = _Trace("grad", func, args, kwargs, argnums, has_aux)
        out = trace.outs[0] if trace.out_spec is None else None
        if out is None:
            raise RuntimeError(
                f"grad: Expected f(*args) to return a tensor, got {trace.out_spec}. With has_aux=True it returns (value, aux)."
            )
        if out.dim() != 0:
            raise RuntimeError(
                f"grad: Expected f(*args) to return a scalar tensor, got tensor with {out.dim()} dims. Maybe you wanted to use "
                "the vjp or jacrev APIs instead?"
            )
        gradient = unflatten(trace.gradient([out], [None]), trace.spec)
        value = trace.value()
        return (gradient, (value, trace.aux)) if has_aux else (gradient, value)

    return wrapper


def grad(func: Callable, argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable:
    """A function that returns the gradient of a scalar-valued `func`.

    Args:
        func: returns one 0-d tensor, or (that, aux) with has_aux.
        argnums: which positional arguments to differentiate by; each may be a nest of tensors.
        has_aux: func also returns something that is passed through.
    Returns:
        a function of the same arguments: the gradient, in the shape of the argument (a tuple for a tuple of argnums);
        (gradient, aux) with has_aux.
    Raises:
        RuntimeError when func does not return a single 0-d tensor.
    Example:
        >>> mg.func.grad(lambda x: x * x)(mg.tensor(3.0))
        tensor(6.)
    """
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        gradient, value = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return wrapper


# --- vjp and jvp --------------------------------------------------------------------------------------------------------
def vjp(func: Callable, *primals: Any, has_aux: bool = False) -> tuple:
    """Value of `func` and the map from a cotangent to the vector-Jacobian product.

    Args:
        func: takes the primals, returns tensors (nested).
        primals: where to differentiate; nests of tensors.
        has_aux: func returns (output, aux).
    Returns:
        (output, vjp_fn) or (output, vjp_fn, aux). vjp_fn(cotangents) takes a nest like the output and returns one gradient per
        primal, in a tuple; it may be called any number of times, also under vmap.
    """
    trace = _Trace("vjp", func, primals, {}, tuple(range(len(primals))), has_aux)

    def vjp_fn(cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None) -> Any:
        given, spec = flatten(cotangents)
        if spec != trace.out_spec:
            raise RuntimeError(
                "Expected pytree structure of cotangents to be the same as pytree structure of outputs to the function. "
                f"cotangents: {spec}, primal output: {trace.out_spec}"
            )
        _check_like("vjp: cotangent", given, trace.outs)
        return unflatten(trace.gradient(trace.outs, given), trace.spec)

    return (trace.value(), vjp_fn, trace.aux) if has_aux else (trace.value(), vjp_fn)


def _check_like(what: str, given: list, wanted: list) -> None:
    for g, w in zip(given, wanted):
        if not isinstance(g, Tensor) or g.shape != w.shape:
            got = tuple(g.shape) if isinstance(g, Tensor) else type(g).__name__
            raise RuntimeError(f"{what}: got {got}, expected a tensor of shape {tuple(w.shape)}")


def _check_tangents(api: str, primals: Any, tangents: Any) -> list:
    if not isinstance(primals, tuple) or not isinstance(tangents, tuple) or not primals:
        raise RuntimeError(
            f"{api}(f, primals, tangents): Expected primals and tangents to be non-empty tuples. E.g. it should be valid to call "
            f"f(*primals). Got {type(primals).__name__} and {type(tangents).__name__}"
        )
    leaves, spec = flatten(primals)
    given, given_spec = flatten(tangents)
    if spec != given_spec:
        raise RuntimeError(
            f"{api}(f, primals, tangents): Expected primals and tangents to have the same python structure. For example, if "
            f"primals is a tuple of 3 tensors, tangents also must be. Got primals {spec}, tangents {given_spec}"
        )
    _check_like(f"{api}: tangent", given, leaves)
    return given


def jvp(func: Callable, primals: tuple, tangents: tuple, *, strict: bool = False, has_aux: bool = False) -> tuple:
    """Value of `func` and its derivative in the direction of `tangents`.

    Made of two reverse passes (see the top of this file): correct for every op with a gradient, at about three times the cost of the
    function; values of ops without a second derivative raise.

    Args:
        func: returns tensors (nested), or (output, aux) with has_aux.
        primals: tuple of arguments.
        tangents: tuple of directions, shaped like the primals.
        strict: raise when an output does not depend on the primals, instead of a zero tangent.
        has_aux: pass a second result of func through.
    Returns:
        (output, tangent) or (output, tangent, aux).
    Raises:
        RuntimeError when primals and tangents do not match.
    Example:
        >>> mg.func.jvp(mg.sin, (mg.tensor(0.0),), (mg.tensor(2.0),))[1]
        tensor(2.)
    """
    given = _check_tangents("jvp", primals, tangents)
    trace = _Trace("jvp", func, primals, {}, tuple(range(len(primals))), has_aux)
    if strict and not all(x.requires_grad for x in trace.outs):
        raise RuntimeError("jvp(f, primals, tangents, strict=True): The output of f is independent of the primals")
    tangent = unflatten(_Forward(trace).push(given), trace.out_spec)
    return (trace.value(), tangent, trace.aux) if has_aux else (trace.value(), tangent)


def linearize(func: Callable, *primals: Any) -> tuple[Any, Callable]:
    """Value of `func` and its linear map of tangents, to be applied many times without running `func` again.

    Returns:
        (output, jvp_fn); jvp_fn(*tangents) takes one tangent per primal.
    """
    trace = _Trace("linearize", func, primals, {}, tuple(range(len(primals))), False)
    forward = _Forward(trace)

    def jvp_fn(*tangents: Any) -> Any:
        return unflatten(forward.push(_check_tangents("linearize", primals, tangents)), trace.out_spec)

    return trace.value(), jvp_fn


# --- Jacobians ----------------------------------------------------------------------------------------------------------
def unit_rows(x: Tensor) -> Tensor:
    """The unit vectors of x's space, one per row: shape (numel, *x.shape)."""
    n = x.numel()
    return functions["eye"](n, dtype=x.dtype, device=x.device).reshape((n, *x.shape))


def _rows(fn: Callable, like: Tensor, chunk_size: int | None, randomness: str = "error", loop: bool = False) -> list:
    """fn (one row -> list of tensors) over the unit vectors of `like`; each result gets a first dimension of rows."""
    basis = unit_rows(like)
    if like.numel() == 1:
        return [r.unsqueeze(0) for r in fn(basis[0])]
    if loop:
        results = [fn(basis[k]) for k in range(like.numel())]
        return (
            [functions["stack"](column) for column in zip(*results)] if results else [r.new_zeros((0, *r.shape)) for r in fn(_zeros(like))]
        )
    return vmap(lambda row: tuple(fn(row)), randomness=randomness, chunk_size=chunk_size)(basis)


def jacobian_rows(trace: Any, chunk_size: int | None, loop: bool = False) -> list:
    """[output][input] blocks of shape (*output, *input), by rows (reverse mode)."""
    blocks = []
    for out in trace.outs:
        rows = _rows(lambda c, out=out: trace.gradient([out], [c]), out, chunk_size, loop=loop)
        blocks.append([r.reshape((*out.shape, *x.shape)) for r, x in zip(rows, trace.fresh)])
    return blocks


def jacrev(
    func: Callable,
    argnums: int | tuple[int, ...] = 0,
    *,
    has_aux: bool = False,
    chunk_size: int | None = None,
    _preallocate_and_copy: bool = False,
) -> Callable:
    """A function that returns the Jacobian of `func`, row by row (best for few outputs).

    Args:
        func: returns tensors (nested), or (output, aux) with has_aux.
        argnums: which positional arguments to differentiate by.
        has_aux: pass a second result of func through.
        chunk_size: rows at a time; None means all at once (most memory).
    Returns:
        a function of the same arguments: a nest like the output of nests like the argument, of tensors of shape
        (*output.shape, *input.shape); (that, aux) with has_aux.
    Example:
        >>> mg.func.jacrev(mg.sin)(mg.zeros(2))
        tensor([[1., 0.],
                [0., 1.]])
    """
    if chunk_size is not None and chunk_size < 1:
        raise ValueError("jacrev: `chunk_size` should be greater than 0.")

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        trace = _Trace("jacrev", func, args, kwargs, argnums, has_aux)
        blocks = jacobian_rows(trace, chunk_size)
        jacobian = unflatten([unflatten(row, trace.spec) for row in blocks], trace.out_spec)
        return (jacobian, trace.aux) if has_aux else jacobian

    return wrapper


def jacfwd(func: Callable, argnums: int | tuple[int, ...] = 0, has_aux: bool = False, *, randomness: str = "error") -> Callable:
    """A function that returns the Jacobian of `func`, column by column (best for few inputs); arguments and result as `jacrev`'s.

    Column j is jvp with unit vector j. As jvp is made of reverse passes here, the function and its backward run once and only a second
    backward is batched over the columns.
    """

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        trace = _Trace("jacfwd", func, args, kwargs, argnums, has_aux)
        forward = _Forward(trace)
        columns = []
        for j, x in enumerate(trace.fresh):
            directions: list = [None] * len(trace.fresh)

            def push(t: Tensor, j: int = j, directions: list = directions) -> list:
                return forward.push([*directions[:j], t, *directions[j + 1 :]])

            cols = _rows(push, x, None, randomness)
            columns.append([c.movedim(0, -1).reshape((*out.shape, *x.shape)) for c, out in zip(cols, trace.outs)])
        rows = [unflatten([columns[j][k] for j in range(len(columns))], trace.spec) for k in range(len(trace.outs))]
        jacobian = unflatten(rows, trace.out_spec)
        return (jacobian, trace.aux) if has_aux else jacobian

    return wrapper


def hessian(func: Callable, argnums: int | tuple[int, ...] = 0) -> Callable:
    """A function that returns the second derivatives of `func`: jacfwd(jacrev(func)).

    Example:
        >>> mg.func.hessian(lambda x: (x * x).sum())(mg.zeros(2))
        tensor([[2., 0.],
                [0., 2.]])
    """
    return jacfwd(jacrev(func, argnums), argnums)
