"""Numerical checks of gradients: gradcheck (first order) and gradgradcheck (second), with torch.autograd's interface.

Every checked input is perturbed element by element (central differences,
   step `eps`); the Jacobian found that way is compared with the
one backward() gives,
   row by row. `fast_mode` compares one random projection u^T J v of the Jacobian instead: two evaluations per
input instead of two per element. Use float64: the default tolerances assume it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import minigrad as mg

Tensor = mg.Tensor
__all__ = ["GradcheckError", "gradcheck", "gradgradcheck"]


class GradcheckError(RuntimeError):
    """The analytical and the numerical gradient differ, or the function is not a fit subject (see the message)."""


def gradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    fast_mode: bool = False,
) -> bool:
    """Check gradients from backward() against central differences.

    Args:
        func: takes `inputs` and returns a tensor or a tuple of tensors.
        inputs: tensor or sequence; those that require grad are checked and should be float64.
        eps: step of the differences.
        atol, rtol: analytical and numerical values pass when |a - n| <= atol + rtol * |n|.
        raise_exception: raise GradcheckError on a mismatch instead of returning False.
        nondet_tol: largest difference allowed between two backward passes of the same gradient.
        check_undefined_grad: also check that an output left out of the loss counts as a zero gradient.
        fast_mode: compare a random projection only.
    Returns:
        True when everything agrees.
    Raises:
        GradcheckError on a mismatch; ValueError when no input requires grad.
    Example:
        >>> x = mg.tensor([0.5, 1.5], dtype=mg.float64, requires_grad=True)
        >>> mg.autograd.gradcheck(mg.sin, (x,))
        True
    """
    try:
        args = _as_tuple(inputs)
        checked = _checked(args)
        outputs = _differentiable(func(*args))
        if not outputs:
            return _check_no_outputs(func, args, checked, eps)
        compare = _compare_projection if fast_mode else _compare_jacobians
        compare(func, args, checked, outputs, eps, atol, rtol)
        _check_deterministic(func, args, checked, nondet_tol)
        if check_undefined_grad:
            _check_undefined(func, args, checked)
        return True
    except GradcheckError:
        if raise_exception:
            raise
        return False


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    grad_outputs: Tensor | Sequence[Tensor] | None = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    fast_mode: bool = False,
) -> bool:
    """Check gradients of gradients: gradcheck of the function (inputs, grad_outputs) -> gradients of the inputs.

    Args:
        func: takes `inputs` and returns a tensor or a tuple of tensors.
        inputs: tensor or sequence; those that require grad are checked and should be float64.
        grad_outputs: gradients fed into backward (random when None), themselves checked.
        gen_non_contig_grad_outputs: make the random ones non-contiguous.
        eps, atol, rtol, raise_exception, nondet_tol, check_undefined_grad, fast_mode: see gradcheck.
    Returns:
        True when everything agrees.
    Raises:
        GradcheckError on a mismatch; ValueError when no input requires grad.
    """
    args = _as_tuple(inputs)
    checked = _checked(args)
    outputs = _differentiable(func(*args))
    if not outputs:
        return True
    if grad_outputs is None:
        seeds = [_random_like(y, k, gen_non_contig_grad_outputs).requires_grad_() for k, y in enumerate(outputs)]
    else:
        seeds = list(_as_tuple(grad_outputs))

    def gradients(*both: Any) -> tuple[Tensor, ...]:
        given, weights = both[: len(args)], both[len(args) :]
        wanted = [given[k] for k in checked]
        ys = _differentiable(func(*given))
        grads = mg.autograd.grad(ys, wanted, list(weights), create_graph=True, allow_unused=True)
        # A gradient that depends on nothing (of a linear function, say) is constant: no second derivative to check.
        return tuple(g for g in grads if g is not None and g.requires_grad)

    return gradcheck(
        gradients, (*args, *seeds), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception,
        nondet_tol=nondet_tol,
        check_undefined_grad=check_undefined_grad, fast_mode=fast_mode,
    )  # fmt: skip


def _as_tuple(inputs: Any) -> tuple[Any, ...]:
    return (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)


def _checked(args: tuple[Any, ...]) -> list[int]:
    """Positions of the inputs to check."""
    found = [k for k, a in enumerate(args) if isinstance(a, Tensor) and a.requires_grad]
    if not found:
        raise ValueError(
            "gradcheck: no input requires grad: got none, expected at least one tensor with requires_grad=True. "
            "Try x.requires_grad_()."
        )
    for k in found:
        if args[k].dtype not in (mg.float64, mg.complex128):
            warnings.warn(
                f"gradcheck: input #{k} requires grad and is neither float64 nor complex128; the check will likely fail for lack of "
                "precision.",
                stacklevel=3,
            )
    return found


def _differentiable(result: Any) -> list[Tensor]:
    outputs = [result] if isinstance(result, Tensor) else list(result)
    return [y for y in outputs if isinstance(y, Tensor) and y.requires_grad]


def _floats(t: Tensor) -> list[float]:
    """The elements as real numbers; a complex one counts as two (in the convention of the gradients, dL/dx + i dL/dy, that is all)."""
    t = t.detach()
    return (mg.view_as_real(t) if t.is_complex() else t).to(mg.float64).reshape(-1).tolist()


def _count(t: Tensor) -> int:
    return t.numel() * (2 if t.is_complex() else 1)


def _from_floats(values: list[float], like: Tensor) -> Tensor:
    """The inverse of _floats."""
    if not like.is_complex():
        return mg.tensor(values, dtype=like.dtype, device=like.device).reshape(like.shape)
    return mg.view_as_complex(mg.tensor(values, dtype=like.dtype.to_real(), device=like.device).reshape((*like.shape, 2)))


def _random_like(y: Tensor, seed: int, non_contiguous: bool = False) -> Tensor:
    """Reproducible weights in [-1, 1) that leave the global generator alone."""
    import random

    rng = random.Random(seed)
    w = _from_floats([rng.uniform(-1, 1) for _ in range(_count(y))], y)
    if non_contiguous and y.dim() > 1:
        return w.mT.contiguous().mT.detach()
    return w


def _evaluate(func: Callable[..., Any], args: tuple[Any, ...], which: list[bool]) -> list[list[float]]:
    """Flat values of the differentiable outputs; `which` marks them among the tensor outputs."""
    result = func(*args)
    outputs = [result] if isinstance(result, Tensor) else [y for y in result if isinstance(y, Tensor)]
    return [_floats(y) for y, use in zip(outputs, which, strict=True) if use]


def _perturb(x: Tensor, element: int, delta: float) -> Tensor:
    """A copy of x with one element moved; the copy, as x itself, is seen by func as an ordinary input."""
    flat = [0.0] * _count(x)
    flat[element] = delta
    return (x.detach() + _from_floats(flat, x)).requires_grad_()


def _numerical(
    func: Callable[..., Any], args: tuple[Any, ...], k: int, which: list[bool], eps: float
) -> list[list[list[float]]]:
    """jacobian[output][element of input k][element of the output], by central differences."""
    columns: list[list[list[float]]] = [[] for use in which if use]
    for element in range(_count(args[k])):
        sides = []
        for delta in (eps, -eps):
            moved = (*args[:k], _perturb(args[k], element, delta), *args[k + 1 :])
            sides.append(_evaluate(func, moved, which))
        for o, (up, down) in enumerate(zip(*sides, strict=True)):
            columns[o].append([(a - b) / (2 * eps) for a, b in zip(up, down, strict=True)])
    return columns


def _which(result: Any) -> list[bool]:
    outputs = [result] if isinstance(result, Tensor) else [y for y in result if isinstance(y, Tensor)]
    return [y.requires_grad for y in outputs]


def _compare_jacobians(
    func: Callable[..., Any],
    args: tuple[Any, ...],
    checked: list[int],
    outputs: list[Tensor],
    eps: float,
    atol: float,
    rtol: float,
) -> None:
    wanted = [args[k] for k in checked]
    which = _which(func(*args))
    numerical = [_numerical(func, args, k, which, eps) for k in checked]
    for o, y in enumerate(outputs):
        for row in range(_count(y)):
            one = [float(k == row) for k in range(_count(y))]
            grads = mg.autograd.grad(y, wanted, _from_floats(one, y), retain_graph=True, allow_unused=True)
            for i, g in enumerate(grads):
                analytical = [0.0] * _count(wanted[i]) if g is None else _floats(g)
                if g is not None and tuple(g.shape) != tuple(wanted[i].shape):
                    raise GradcheckError(
                        f"gradcheck: gradient of input {checked[i]} has shape {tuple(g.shape)}, expected "
                        f"{tuple(wanted[i].shape)}"
                    )
                for element, a in enumerate(analytical):
                    n = numerical[i][o][element][row]
                    if not _close(a, n, atol, rtol):
                        raise GradcheckError(
                            f"gradcheck: Jacobian mismatch for output {o} with respect to input {checked[i]}: d "
                            f"output[{row}] / d input"
                            f"[{element}] (flat indices) got numerical {n:.9g}, analytical {a:.9g}, expected a "
                            "difference within "
                            f"atol={atol:g} + rtol={rtol:g} * |numerical|. Try float64 inputs away from kinks."
                        )


def _close(a: float, n: float, atol: float, rtol: float) -> bool:
    return a == n or abs(a - n) <= atol + rtol * abs(n) or (a != a and n != n)


def _compare_projection(
    func: Callable[..., Any],
    args: tuple[Any, ...],
    checked: list[int],
    outputs: list[Tensor],
    eps: float,
    atol: float,
    rtol: float,
) -> None:
    """u^T J v for random u (outputs) and v (inputs), one number per input."""
    weights = [_random_like(y, o) for o, y in enumerate(outputs)]
    wanted = [args[k] for k in checked]
    which = _which(func(*args))
    grads = mg.autograd.grad(outputs, wanted, weights, retain_graph=True, allow_unused=True)
    flat_weights = [_floats(w) for w in weights]
    for i, k in enumerate(checked):
        direction = _random_like(args[k], 1000 + k)
        sides = []
        for delta in (eps, -eps):
            moved = (*args[:k], (args[k].detach() + direction * delta).requires_grad_(), *args[k + 1 :])
            ys = _evaluate(func, moved, which)
            sides.append(sum(a * w for y, ws in zip(ys, flat_weights, strict=True) for a, w in zip(y, ws, strict=True)))
        n = (sides[0] - sides[1]) / (2 * eps)
        a = 0.0 if grads[i] is None else sum(x * y for x, y in zip(_floats(grads[i]), _floats(direction), strict=True))
        if not _close(a, n, atol, rtol):
            raise GradcheckError(
                f"gradcheck: projected gradient of input {k} differs: got numerical {n:.9g}, analytical {a:.9g}, "
                "expected a difference "
                f"within atol={atol:g} + rtol={rtol:g} * |numerical|. Try fast_mode=False to see the element."
            )


def _check_no_outputs(func: Callable[..., Any], args: tuple[Any, ...], checked: list[int], eps: float) -> bool:
    """No output requires grad: right only if the outputs do not move with the inputs."""
    result = func(*args)
    outputs = [result] if isinstance(result, Tensor) else [y for y in result if isinstance(y, Tensor)]
    which = [y.is_floating_point() or y.is_complex() for y in outputs]
    for k in checked:
        for columns in _numerical(func, args, k, which, eps):
            if any(v != 0 for column in columns for v in column):
                raise GradcheckError(
                    f"gradcheck: numerical gradient of input {k} should be zero, since no output requires grad"
                )
    return True


def _check_deterministic(func: Callable[..., Any], args: tuple[Any, ...], checked: list[int], tol: float) -> None:
    wanted = [args[k] for k in checked]
    runs = []
    for _ in range(2):
        ys = _differentiable(func(*args))
        runs.append(mg.autograd.grad(ys, wanted, [_random_like(y, o) for o, y in enumerate(ys)], allow_unused=True))
    for k, a, b in zip(checked, *runs, strict=True):
        if a is None or b is None:
            continue
        worst = max((abs(x - y) for x, y in zip(_floats(a), _floats(b), strict=True) if x == x), default=0.0)
        if worst > tol:
            raise GradcheckError(
                f"gradcheck: backward is not reentrant: gradient of input {k} changed by {worst:g} between two runs, "
                f"expected at most nondet_tol={tol:g}"
            )


def _check_undefined(func: Callable[..., Any], args: tuple[Any, ...], checked: list[int]) -> None:
    """Leaving one output out of the loss must equal a zero gradient for it."""
    wanted = [args[k] for k in checked]
    ys = _differentiable(func(*args))
    if len(ys) < 2:
        return
    for o in range(len(ys)):
        weights = [_random_like(y, j) if j != o else mg.zeros_like(y) for j, y in enumerate(ys)]
        kept = [j for j in range(len(ys)) if j != o]
        full = mg.autograd.grad(ys, wanted, weights, retain_graph=True, allow_unused=True)
        part = mg.autograd.grad(
            [ys[j] for j in kept], wanted, [weights[j] for j in kept], retain_graph=True, allow_unused=True
        )
        for k, a, b in zip(checked, full, part, strict=True):
            xs, zs = (None if g is None else _floats(g) for g in (a, b))
            zero = [0.0] * _count(args[k])
            if not all(_close(p, q, 1e-12, 1e-9) for p, q in zip(xs or zero, zs or zero, strict=True)):
                raise GradcheckError(
                    f"gradcheck: leaving out output {o} changes the gradient of input {k} more than a zero "
                    "gradient does"
                )
