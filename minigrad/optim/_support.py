"""Small names that optimizers written for torch import from `torch.optim.optimizer`; `optimizer` offers them all again.

What asks for a compiler or a graph capture has its eager meaning here: there is one device list, and values are read at once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import minigrad as mg

Tensor = mg.Tensor

Args = tuple[Any, ...]
Kwargs = dict[str, Any]
StateDict = dict[str, Any]
ParamsT = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]
GlobalOptimizerPreHook = Callable[[Any, Args, Kwargs], tuple[Args, Kwargs] | None]
GlobalOptimizerPostHook = Callable[[Any, Args, Kwargs], None]

_params_doc = "params: tensors, (name, tensor) pairs, or dicts with \"params\" and the options of that group."
_foreach_doc = "foreach: True or None steps a group in one call where the core has it; False takes the formulas one tensor at a time."
_fused_doc = "fused: True asks for the one-call step; every parameter must then be a floating tensor."
_capturable_doc = "capturable: for steps inside captured CUDA graphs, whose counters then are on the device; True is refused on the CPU."
_differentiable_doc = "differentiable: let autograd record the step instead of running it under no_grad."
_maximize_doc = "maximize: go up instead of down."


class _RequiredParameter:
    """The default of an option that every group must set."""

    def __repr__(self) -> str:
        return "<required parameter>"

    def __reduce__(self) -> str:
        return "required"  # one object, also after a pickle


required = _RequiredParameter()


def _use_grad_for_differentiable(func: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator of `step`: autograd records it only if the optimizer was made with differentiable=True."""

    @functools.wraps(func)
    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        with mg.set_grad_enabled(bool(self.defaults.get("differentiable", False))):
            return func(self, *args, **kwargs)

    return step


def _get_value(x: Any) -> Any:
    """The number of a one-element tensor; anything else as it is."""
    return x.item() if isinstance(x, Tensor) else x


def _stack_if_compiling(x: Any) -> Any:
    """`x`: there is no compilation of steps."""
    return x


def _dispatch_sqrt(x: Any) -> Any:
    """Square root of a number or a tensor."""
    return x.sqrt() if isinstance(x, Tensor) else x**0.5


def _to_scalar(x: Any) -> Any:
    """A one-element tensor without dimensions; anything else as it is."""
    return x.squeeze() if isinstance(x, Tensor) and x.dim() != 0 else x


def _disable_dynamo_if_unsupported(single_tensor_fn: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """A decorator that changes nothing: there is no dynamo."""
    return lambda func: func


def _get_scalar_dtype(is_fused: bool | None = None) -> Any:
    """The dtype of a new `step`: float32, or float64 where that is the default dtype."""
    return mg.float64 if not is_fused and mg.get_default_dtype() == mg.float64 else mg.float32


def _get_capturable_supported_devices(supports_xla: bool = True) -> list[str]:
    """Device types on which capturable=True is allowed; the texts of the errors name them."""
    return ["cuda", "xpu", "hpu", "privateuseone"] + (["xla"] if supports_xla else [])


def _get_foreach_kernels_supported_devices() -> list[str]:
    """Device types whose groups are stepped in one call."""
    return ["cpu", "cuda"]


def _get_fused_kernels_supported_devices() -> list[str]:
    """Device types for which fused=True is accepted."""
    return ["cpu", "cuda"]


def _is_plain(param: Any) -> bool:
    return param is None or type(param) in _foreach_supported_types


def _default_to_fused_or_foreach(params: list[Any], differentiable: bool, use_fused: bool = False) -> tuple[bool, bool]:
    """Which of (fused, foreach) suits these parameters; neither for a differentiable step or tensor subclasses."""
    if differentiable or not all(_is_plain(p) for p in params):
        return False, False
    fused = use_fused and all(p is None or p.is_floating_point() for p in params)
    return fused, not fused


def _device_dtype_check_for_fused(p: Tensor, cuda_unsupported: bool = False) -> None:
    """Raise RuntimeError if fused=True cannot step `p`."""
    devices = _get_fused_kernels_supported_devices()
    if not p.is_floating_point() or p.device.type not in devices:
        raise RuntimeError(
            "`fused=True` requires all the params to be floating point Tensors of "
            f"supported devices: {devices} but {p.dtype} and {p.device.type}"
        )


def _view_as_real(params: list[Tensor], *state_and_grads: list[Tensor]) -> None:
    """Replace, in these lists, what belongs to complex parameters by real views."""
    for i, param in enumerate(params):
        if param.is_complex():
            for column in (params, *state_and_grads):
                column[i] = mg.view_as_real(column[i])


def _group_tensors_by_device_and_dtype(lists: list[list[Any]], with_indices: bool = False) -> dict[Any, Any]:
    """{(device, dtype): (lists, indices)}: the columns of `lists`, split by device and dtype of the first list."""
    rows: dict[Any, list[int]] = {}
    for i, tensor in enumerate(lists[0]):
        rows.setdefault((tensor.device, tensor.dtype), []).append(i)
    return {
        key: ([[column[i] for i in at] if column else [] for column in lists], at if with_indices else [])
        for key, at in rows.items()
    }


def _split_names(params: list[Any]) -> tuple[list[Any], list[str] | None]:
    """Tensors and their names, from tensors or (name, tensor) pairs.

    Raises:
        ValueError: some have a name and some have none.
    """
    named = [isinstance(param, tuple) for param in params]
    if not any(named):
        return params, None
    if not all(named):
        raise ValueError("all optimizer params should be with/without names. Some param names are missing")
    return [param for _, param in params], [name for name, _ in params]


_foreach_supported_types = [Tensor, mg.nn.Parameter]
