"""What the nn_programs_*.py files share: a small network, and how their results are made comparable."""

from __future__ import annotations

from types import ModuleType
from typing import Any


def programs_of(file: ModuleType) -> list[Any]:
    """The programs of a file: its functions of one argument `lib`."""
    found = [f for f in vars(file).values() if getattr(f, "__module__", None) == file.__name__ and hasattr(f, "__code__")]
    return [f for f in found if f.__code__.co_argcount == 1 and f.__code__.co_varnames[0] == "lib"]


def names(module: Any) -> list[str]:
    return [n for n, _ in module.named_parameters()]


def net(lib: Any) -> Any:
    nn = lib.nn
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Sequential(nn.ReLU(), nn.Linear(3, 1)))
    with lib.no_grad():
        for p in module.parameters():
            p.fill_(0.5)
    return module


def hook_calls(lib: Any, register: Any, *, backward: bool = False) -> list[Any]:
    module = lib.nn.Linear(2, 2)
    with lib.no_grad():
        module.weight.fill_(1.0)
        module.bias.zero_()
    seen: list[Any] = []
    register(module, seen)
    x = lib.ones(1, 2, requires_grad=True)
    out = module(x)
    if backward:
        out.sum().backward()
        seen.append(x.grad.tolist())
    return [out.tolist(), seen]


def tensors(values: Any) -> Any:
    """Nested tuples with lists in place of tensors."""
    if isinstance(values, (tuple, list)):
        return [tensors(v) for v in values]
    if isinstance(values, dict):
        return {k: tensors(v) for k, v in values.items()}
    return values.tolist() if hasattr(values, "tolist") else values
