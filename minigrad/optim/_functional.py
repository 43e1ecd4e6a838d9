"""Steps without an Optimizer: adam(params, grads, exp_avgs, …) and its like, with torch.optim's argument lists.

Each takes the tensors of one group as lists and updates them in place by the rule of the class of that name. The flags `foreach`,
`fused`, `capturable` and `differentiable` choose between equal results; scaled gradients (`grad_scale`, `found_inf`) belong to fused
steps of other devices.
"""

from __future__ import annotations

from typing import Any

import minigrad as mg

from ._per_parameter import PerParameter, real
from .adadelta import Adadelta
from .adagrad import Adagrad
from .adam import Adam
from .adamax import Adamax
from .asgd import ASGD
from .nadam import NAdam
from .radam import RAdam
from .rmsprop import RMSprop
from .rprop import Rprop
from .sgd import sgd_update_
from .sparse_adam import SparseAdam

Tensors = list[mg.Tensor]


def _run(cls: type[PerParameter], params: Tensors, grads: Tensors, state: dict[str, list[Any]], **group: Any) -> None:
    """Step every parameter by the rule of `cls` with these columns of state; None in a column stands for nothing."""
    rule = object.__new__(cls)
    group = {"differentiable": False, "maximize": False, **group}
    with mg.set_grad_enabled(bool(group["differentiable"])):
        for i, (param, grad) in enumerate(zip(params, grads, strict=True)):
            own = {key: column[i] for key, column in state.items() if column and column[i] is not None}
            grad = -grad if group["maximize"] else grad
            if param.is_complex():
                param, grad, own = real(param), real(grad), {key: real(value) for key, value in own.items()}
            rule._update(param, grad, own, group)


def sgd(
    params: Tensors, d_p_list: Tensors, momentum_buffer_list: list[mg.Tensor | None], has_sparse_grad: bool = False,
    foreach: bool | None = None, fused: bool | None = None, grad_scale: Any = None, found_inf: Any = None, *, weight_decay: float,
    momentum: float, lr: float, dampening: float, nesterov: bool, maximize: bool,
) -> None:  # fmt: skip
    """One step of SGD; new momentum buffers are put into `momentum_buffer_list`."""
    with mg.no_grad():
        for i, (param, grad) in enumerate(zip(params, d_p_list, strict=True)):
            buffer = momentum_buffer_list[i] if momentum != 0 else None
            buffer = sgd_update_(param, grad, buffer, lr, momentum, dampening, weight_decay, nesterov, maximize)
            if momentum != 0:
                momentum_buffer_list[i] = buffer


def adam(
    params: Tensors, grads: Tensors, exp_avgs: Tensors, exp_avg_sqs: Tensors, max_exp_avg_sqs: Tensors, state_steps: Tensors,
    foreach: bool | None = None, capturable: bool = False, differentiable: bool = False, fused: bool | None = None,
    grad_scale: Any = None, found_inf: Any = None, has_complex: bool = False, decoupled_weight_decay: bool = False, *, amsgrad: bool,
    beta1: float, beta2: float, lr: float, weight_decay: float, eps: float, maximize: bool,
) -> None:  # fmt: skip
    """One step of Adam."""
    state = {"exp_avg": exp_avgs, "exp_avg_sq": exp_avg_sqs, "max_exp_avg_sq": max_exp_avg_sqs, "step": state_steps}
    _run(Adam, params, grads, state, differentiable=differentiable, amsgrad=amsgrad, betas=(beta1, beta2), lr=lr, eps=eps,
         weight_decay=weight_decay, maximize=maximize, decoupled_weight_decay=decoupled_weight_decay)  # fmt: skip


def adamw(
    params: Tensors, grads: Tensors, exp_avgs: Tensors, exp_avg_sqs: Tensors, max_exp_avg_sqs: Tensors, state_steps: Tensors,
    foreach: bool | None = None, capturable: bool = False, differentiable: bool = False, fused: bool | None = None,
    grad_scale: Any = None, found_inf: Any = None, has_complex: bool = False, *, amsgrad: bool, beta1: float, beta2: float, lr: float,
    weight_decay: float, eps: float, maximize: bool,
) -> None:  # fmt: skip
    """One step of AdamW."""
    adam(params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, state_steps, foreach, capturable, differentiable, fused, grad_scale,
         found_inf, has_complex, True, amsgrad=amsgrad, beta1=beta1, beta2=beta2, lr=lr, weight_decay=weight_decay, eps=eps,
         maximize=maximize)  # fmt: skip


def adadelta(
    params: Tensors, grads: Tensors, square_avgs: Tensors, acc_deltas: Tensors, state_steps: Tensors, capturable: bool = False,
    foreach: bool | None = None, differentiable: bool = False, has_complex: bool = False, *, lr: float, rho: float, eps: float,
    weight_decay: float, maximize: bool,
) -> None:  # fmt: skip
    """One step of Adadelta."""
    state = {"square_avg": square_avgs, "acc_delta": acc_deltas, "step": state_steps}
    _run(Adadelta, params, grads, state, differentiable=differentiable, lr=lr, rho=rho, eps=eps, weight_decay=weight_decay,
         maximize=maximize)  # fmt: skip


def adagrad(
    params: Tensors, grads: Tensors, state_sums: Tensors, state_steps: Tensors, fused: bool | None = None, grad_scale: Any = None,
    found_inf: Any = None, has_sparse_grad: bool = False, foreach: bool | None = None, differentiable: bool = False,
    has_complex: bool = False, *, lr: float, weight_decay: float, lr_decay: float, eps: float, maximize: bool,
) -> None:  # fmt: skip
    """One step of Adagrad."""
    state = {"sum": state_sums, "step": state_steps}
    _run(Adagrad, params, grads, state, differentiable=differentiable, lr=lr, weight_decay=weight_decay, lr_decay=lr_decay, eps=eps,
         maximize=maximize)  # fmt: skip


def adamax(
    params: Tensors, grads: Tensors, exp_avgs: Tensors, exp_infs: Tensors, state_steps: Tensors, foreach: bool | None = None,
    maximize: bool = False, differentiable: bool = False, capturable: bool = False, has_complex: bool = False, *, eps: float,
    beta1: float, beta2: float, lr: float, weight_decay: float,
) -> None:  # fmt: skip
    """One step of Adamax."""
    state = {"exp_avg": exp_avgs, "exp_inf": exp_infs, "step": state_steps}
    _run(Adamax, params, grads, state, differentiable=differentiable, betas=(beta1, beta2), lr=lr, eps=eps, weight_decay=weight_decay,
         maximize=maximize)  # fmt: skip


def asgd(
    params: Tensors, grads: Tensors, axs: Tensors, mus: Tensors, etas: Tensors, state_steps: Tensors, foreach: bool | None = None,
    maximize: bool = False, differentiable: bool = False, capturable: bool = False, has_complex: bool = False, *, lambd: float,
    lr: float, t0: float, alpha: float, weight_decay: float,
) -> None:  # fmt: skip
    """One step of ASGD."""
    state = {"ax": axs, "mu": mus, "eta": etas, "step": state_steps}
    _run(ASGD, params, grads, state, differentiable=differentiable, lambd=lambd, lr=lr, t0=t0, alpha=alpha, weight_decay=weight_decay,
         maximize=maximize)  # fmt: skip


def nadam(
    params: Tensors, grads: Tensors, exp_avgs: Tensors, exp_avg_sqs: Tensors, mu_products: Tensors, state_steps: Tensors,
    decoupled_weight_decay: bool = False, foreach: bool | None = None, capturable: bool = False, differentiable: bool = False,
    has_complex: bool = False, maximize: bool = False, *, beta1: float, beta2: float, lr: float, weight_decay: float,
    momentum_decay: float, eps: float,
) -> None:  # fmt: skip
    """One step of NAdam."""
    state = {"exp_avg": exp_avgs, "exp_avg_sq": exp_avg_sqs, "mu_product": mu_products, "step": state_steps}
    _run(NAdam, params, grads, state, differentiable=differentiable, betas=(beta1, beta2), lr=lr, weight_decay=weight_decay, eps=eps,
         momentum_decay=momentum_decay, decoupled_weight_decay=decoupled_weight_decay, maximize=maximize)  # fmt: skip


def radam(
    params: Tensors, grads: Tensors, exp_avgs: Tensors, exp_avg_sqs: Tensors, state_steps: Tensors, decoupled_weight_decay: bool = False,
    foreach: bool | None = None, differentiable: bool = False, capturable: bool = False, has_complex: bool = False,
    maximize: bool = False, *, beta1: float, beta2: float, lr: float, weight_decay: float, eps: float,
) -> None:  # fmt: skip
    """One step of RAdam."""
    state = {"exp_avg": exp_avgs, "exp_avg_sq": exp_avg_sqs, "step": state_steps}
    _run(RAdam, params, grads, state, differentiable=differentiable, betas=(beta1, beta2), lr=lr, weight_decay=weight_decay, eps=eps,
         decoupled_weight_decay=decoupled_weight_decay, maximize=maximize)  # fmt: skip


def rmsprop(
    params: Tensors, grads: Tensors, square_avgs: Tensors, grad_avgs: Tensors, momentum_buffer_list: Tensors, state_steps: Tensors,
    foreach: bool | None = None, maximize: bool = False, differentiable: bool = False, capturable: bool = False,
    has_complex: bool = False, *, lr: float, alpha: float, eps: float, weight_decay: float, momentum: float, centered: bool,
) -> None:  # fmt: skip
    """One step of RMSprop."""
    state = {"square_avg": square_avgs, "grad_avg": grad_avgs, "momentum_buffer": momentum_buffer_list, "step": state_steps}
    _run(RMSprop, params, grads, state, differentiable=differentiable, lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay,
         momentum=momentum, centered=centered, maximize=maximize)  # fmt: skip


def rprop(
    params: Tensors, grads: Tensors, prevs: Tensors, step_sizes: Tensors, state_steps: Tensors, foreach: bool | None = None,
    capturable: bool = False, maximize: bool = False, differentiable: bool = False, has_complex: bool = False, *, step_size_min: float,
    step_size_max: float, etaminus: float, etaplus: float,
) -> None:  # fmt: skip
    """One step of Rprop."""
    state = {"prev": prevs, "step_size": step_sizes, "step": state_steps}
    _run(Rprop, params, grads, state, differentiable=differentiable, etas=(etaminus, etaplus), step_sizes=(step_size_min, step_size_max),
         maximize=maximize)  # fmt: skip


def sparse_adam(
    params: Tensors, grads: Tensors, exp_avgs: Tensors, exp_avg_sqs: Tensors, state_steps: list[int], *, eps: float, beta1: float,
    beta2: float, lr: float, maximize: bool,
) -> None:  # fmt: skip
    """One step of SparseAdam."""
    rule = object.__new__(SparseAdam)
    group = {"eps": eps, "betas": (beta1, beta2), "lr": lr, "maximize": maximize}
    with mg.no_grad():
        for param, grad, mean, square, step in zip(params, grads, exp_avgs, exp_avg_sqs, state_steps, strict=True):
            rule._update(param, grad.coalesce(), {"exp_avg": mean, "exp_avg_sq": square, "step": step}, group)


FORMS = (sgd, adam, adamw, adadelta, adagrad, adamax, asgd, nadam, radam, rmsprop, rprop, sparse_adam)
