"""What a case of tests/compat is, and the table of all of them: `CASES[name]`.

A case is a few lines that use a public package as its users do. `@model(package)` functions return (module, inputs)
or (module, inputs, call);
its weights, outputs, gradients and one SGD step are compared. `@program(package)` functions return what is to be compared.
Inputs come from numpy with a fixed seed; nothing random may happen inside (no dropout), for the generators of the two frameworks differ.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


class Case:
    """One case: name, the packages it needs, the function, what it is about."""

    def __init__(self, packages: tuple[str, ...], function: Callable, kind: str, note: str) -> None:
        self.name, self.packages, self.function, self.kind, self.note = (
            function.__name__,
            packages,
            function,
            kind,
            note,
        )

    def missing(self) -> list[str]:
        """The packages that are not installed."""
        return [p for p in self.packages if importlib.util.find_spec(p) is None]

    def results(self, framework: str, weights: Path) -> dict[str, Any]:
        """Run it here and now; arrays by name."""
        import torch
        from runner import as_arrays

        torch.manual_seed(0)
        np.random.seed(0)
        if self.kind == "program":
            return as_arrays(self.function(), "out", {})
        module, inputs, *rest = self.function()
        return trained(module, inputs, rest[0] if rest else None, framework, weights)


def trained(module: Any, inputs: tuple, call: Callable | None, framework: str, weights: Path) -> dict[str, Any]:
    """Outputs, gradients and the outputs after an SGD step, from the same weights in both frameworks."""
    import torch
    from runner import as_arrays

    if framework == "torch":
        np.savez(weights, **{k: v.numpy() for k, v in module.state_dict().items() if isinstance(v, torch.Tensor)})
    else:
        saved = np.load(weights)
        own = {k: tuple(v.shape) for k, v in module.state_dict().items() if isinstance(v, torch.Tensor)}
        assert list(own) == saved.files, f"state_dict keys differ: {set(own) ^ set(saved.files) or 'order'}"
        module.load_state_dict({k: torch.from_numpy(saved[k]) for k in saved.files}, strict=False)
    found: dict[str, Any] = {}
    parameters = [p for p in module.parameters() if p.requires_grad]
    for step in range(2):
        output = call(module, *inputs) if call else module(*inputs)
        as_arrays(output, f"out{step}", found)
        loss = weighted_sum(output)
        module.zero_grad()
        loss.backward()
        if step == 0 and parameters:
            as_arrays({n: p.grad for n, p in module.named_parameters() if p.grad is not None}, "grad", found)
            torch.optim.SGD(parameters, lr=1e-4).step()
    return found


def weighted_sum(output: Any) -> Any:
    """A number that depends on every floating tensor of the output with gradient, with fixed uneven weights."""
    import torch

    if isinstance(output, torch.Tensor):
        if not (output.requires_grad and output.is_floating_point()):
            return 0.0
        weight = torch.from_numpy(np.cos(np.arange(output.numel(), dtype=np.float64)) + 0.3).reshape(output.shape)
        return (output * weight.to(output.dtype)).sum() / output.numel() ** 0.5
    values = output.values() if hasattr(output, "values") else output if isinstance(output, (list, tuple)) else ()
    return sum((weighted_sum(v) for v in values), 0.0)


CASES: dict[str, Case] = {}


def model(*packages: str, note: str = "") -> Callable[[Callable], Callable]:
    """Decorator: a function that returns (module, inputs[, call(module, *inputs)])."""
    return _register(packages, "model", note)


def program(*packages: str, note: str = "") -> Callable[[Callable], Callable]:
    """Decorator: a function that returns tensors in any nesting."""
    return _register(packages, "program", note)


def _register(packages: tuple[str, ...], kind: str, note: str) -> Callable[[Callable], Callable]:
    def register(function: Callable) -> Callable:
        CASES[function.__name__] = Case(packages, function, kind, note)
        return function

    return register


def floats(*shape: int, seed: int = 1) -> Any:
    """Standard normal float32 tensor."""
    import torch

    return torch.from_numpy(np.random.RandomState(seed).randn(*shape).astype(np.float32))


def ints(high: int, *shape: int, seed: int = 1) -> Any:
    """int64 tensor of numbers below `high`."""
    import torch

    return torch.from_numpy(np.random.RandomState(seed).randint(0, high, shape).astype(np.int64))


for _family in sorted(Path(__file__).parent.glob("cases_*.py")):
    importlib.import_module(_family.stem)
