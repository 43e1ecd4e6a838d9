"""L-BFGS (Liu and Nocedal, Mathematical Programming 45, 1989)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import minigrad as mg

from ._line_search import strong_wolfe
from .optimizer import Optimizer, ParamsT, _get_value, _to_scalar

__all__ = ["LBFGS"]
Tensor = mg.Tensor
_CURVATURE = 1e-10  # a pair with y·s below this would spoil the inverse Hessian


class LBFGS(Optimizer):
    """Quasi-Newton steps from the last `history_size` changes of the gradient; `step` needs a closure.

    One call of `step` makes up to `max_iter` iterations. There can be one parameter group only.

    Args:
        params: tensors, or one group.
        lr: length of a step (first trial of the line search).
        max_iter: iterations per step.
        max_eval: evaluations of the closure per step (default max_iter * 1.25).
        tolerance_grad: stop when no element of the gradient is larger.
        tolerance_change: stop when loss or parameters move less.
        history_size: number of pairs kept.
        line_search_fn: None or "strong_wolfe".
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        if not 0.0 <= lr:
            raise ValueError(f"Invalid learning rate: {lr}")
        super().__init__(
            params,
            {
                "lr": lr,
                "max_iter": max_iter,
                "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
                "tolerance_grad": tolerance_grad,
                "tolerance_change": tolerance_change,
                "history_size": history_size,
                "line_search_fn": line_search_fn,
            },
        )
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")
        self._params = self.param_groups[0]["params"]
        self._numel_cache: int | None = None

    # ---- all parameters as one vector ------------------------------------------------------------------------

    def _numel(self) -> int:
        if self._numel_cache is None:
            self._numel_cache = sum((2 if p.is_complex() else 1) * p.numel() for p in self._params)
        return self._numel_cache

    def _gather_flat_grad(self) -> Tensor:
        parts = []
        for param in self._params:
            grad = mg.zeros_like(param) if param.grad is None else param.grad
            if getattr(grad, "is_sparse", False):
                grad = grad.to_dense()
            parts.append((mg.view_as_real(grad) if grad.is_complex() else grad).reshape(-1))
        return mg.cat(parts, 0)

    def _add_grad(self, step_size: Any, direction: Tensor) -> None:
        at, size = 0, float(step_size)
        for param in self._params:
            target = mg.view_as_real(param) if param.is_complex() else param
            n = target.numel()
            target.add_(direction[at : at + n].view_as(target), alpha=size)
            at += n

    def _clone_param(self) -> list[Tensor]:
        return [param.clone() for param in self._params]

    def _set_param(self, values: list[Tensor]) -> None:
        for param, value in zip(self._params, values, strict=True):
            param.copy_(value)

    def _directional_evaluate(
        self, closure: Callable[[], Any], x: list[Tensor], t: Any, d: Tensor
    ) -> tuple[float, Tensor]:
        self._add_grad(t, d)
        loss = float(self._evaluate(closure))
        flat_grad = self._gather_flat_grad()
        self._set_param(x)
        return loss, flat_grad

    # ---- step ------------------------------------------------------------------------------------------------

    @mg.no_grad()
    def step(self, closure: Callable[[], Any]) -> Any:
        """Up to `max_iter` iterations.

        Args:
            closure: clears the gradients, computes the loss, calls backward, returns the loss.

        Returns:
            The loss at the start.
        """
        group = self.param_groups[0]
        lr = _get_value(_to_scalar(group["lr"]))
        own = self.state[self._params[0]]
        own.setdefault("func_evals", 0)
        own.setdefault("n_iter", 0)
        first_loss = self._evaluate(closure)
        loss, evals = float(first_loss), 1
        own["func_evals"] += 1
        grad = self._gather_flat_grad()
        if grad.abs().max() <= group["tolerance_grad"]:
            return first_loss
        run = _Run(own, group)
        for n_iter in range(1, group["max_iter"] + 1):
            own["n_iter"] += 1
            run.turn(grad)
            run.remember(grad, loss)
            run.t = min(1.0, 1.0 / grad.abs().sum()) * lr if own["n_iter"] == 1 else lr
            slope = grad.dot(run.d)
            if slope > -group["tolerance_change"]:
                break
            last = n_iter == group["max_iter"]
            loss, grad, new_evals = self._move(closure, run, loss, grad, slope, group["line_search_fn"], last)
            evals += new_evals
            own["func_evals"] += new_evals
            if last or evals >= group["max_eval"] or grad.abs().max() <= group["tolerance_grad"]:
                break
            small = group["tolerance_change"]
            if (run.d * run.t).abs().max() <= small or abs(loss - run.prev_loss) < small:
                break
        run.save()
        return first_loss

    def _move(
        self, closure: Callable[[], Any], run: _Run, loss: float, grad: Tensor, slope: Any, search: str | None, last: bool
    ) -> tuple[float, Tensor, int]:
        """Go along run.d; returns loss, gradient and the number of evaluations."""
        if search is not None:
            if search != "strong_wolfe":
                raise RuntimeError("only 'strong_wolfe' is supported")
            x = self._clone_param()
            loss, grad, run.t, evals = strong_wolfe(
                lambda t: self._directional_evaluate(closure, x, t, run.d), run.t, run.d, loss, grad, slope
            )
            self._add_grad(run.t, run.d)
            return loss, grad, evals
        self._add_grad(run.t, run.d)
        if last:  # the next step evaluates there anyway
            return loss, grad, 0
        return float(self._evaluate(closure)), self._gather_flat_grad(), 1


class _Run:
    """What one `step` carries from iteration to iteration; kept in the state between steps."""

    KEYS = ("d", "t", "old_dirs", "old_stps", "ro", "H_diag", "prev_flat_grad", "prev_loss")

    def __init__(self, own: dict[str, Any], group: dict[str, Any]) -> None:
        self.own, self.history = own, group["history_size"]
        for key in self.KEYS:
            setattr(self, key, own.get(key))

    def save(self) -> None:
        self.own.update({key: getattr(self, key) for key in self.KEYS})

    def remember(self, grad: Tensor, loss: float) -> None:
        self.prev_flat_grad, self.prev_loss = grad.clone(), loss

    def turn(self, grad: Tensor) -> None:
        """Set the next direction: minus the inverse Hessian's estimate times the gradient (two-loop recursion)."""
        if self.own["n_iter"] == 1:
            self.d, self.old_dirs, self.old_stps, self.ro, self.H_diag = grad.neg(), [], [], [], 1
            return
        self._learn(grad)
        al = self.own.setdefault("al", [None] * self.history)
        r = grad.neg()
        for i in reversed(range(len(self.old_dirs))):
            al[i] = self.old_stps[i].dot(r) * self.ro[i]
            r.sub_(self.old_dirs[i] * al[i])
        r = r * self.H_diag
        for i, (y, s) in enumerate(zip(self.old_dirs, self.old_stps, strict=True)):
            r.add_(s * (al[i] - y.dot(r) * self.ro[i]))
        self.d = r

    def _learn(self, grad: Tensor) -> None:
        y, s = grad - self.prev_flat_grad, self.d * self.t
        ys = y.dot(s)
        if ys <= _CURVATURE:
            return
        if len(self.old_dirs) == self.history:
            for column in (self.old_dirs, self.old_stps, self.ro):
                column.pop(0)
        self.old_dirs.append(y)
        self.old_stps.append(s)
        self.ro.append(1.0 / ys)
        self.H_diag = ys / y.dot(y)
