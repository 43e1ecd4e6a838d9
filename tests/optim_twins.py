"""Optimizers in pairs (ours, torch's): equal parameters, equal gradients, comparison of parameters, state and groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from twins import assert_close, ours  # noqa: E402

import minigrad as mg  # noqa: E402

CLASSES = sorted(
    name
    for name in torch.optim.__all__
    if isinstance(getattr(torch.optim, name), type) and name not in ("Optimizer", "SparseAdam")
)
# Values worth trying for each constructor argument; a case changes one of them, and a last one changes all.
VALUES: dict[str, Any] = {
    "lr": 0.03, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1, "amsgrad": True, "maximize": True, "momentum": 0.7,
    "dampening": 0.2, "nesterov": True, "alpha": 0.8, "centered": True, "rho": 0.7, "lr_decay": 0.1, "foreach": True,
    "initial_accumulator_value": 0.3, "momentum_decay": 0.02, "decoupled_weight_decay": True, "etas": (0.4, 1.3),
    "step_sizes": (1e-3, 0.02), "lambd": 0.01, "t0": 2.0, "beta2_decay": -0.5, "d": 1.5, "ns_steps": 3, "history_size": 3,
    "adjust_lr_fn": "match_rms_adamw", "line_search_fn": "strong_wolfe", "max_iter": 6, "max_eval": 4, "fused": True,
    "ns_coefficients": (3.0, -4.0, 1.8), "tolerance_grad": 1e-2, "tolerance_change": 1e-3,
}  # fmt: skip
TOGETHER = {"SGD": {"dampening": 0}}  # options that exclude others when all are changed at once
SHAPES = [(3, 4), (5,), (), (2, 3, 4), (4, 2)]


def option_sets(name: str) -> list[dict[str, Any]]:
    """{} and one changed option after the other, then all changed."""
    import inspect

    names = [n for n in inspect.signature(getattr(torch.optim, name)).parameters if n in VALUES]
    values = {n: (None, 1e-2) if name == "Adafactor" and n == "eps" else VALUES[n] for n in names}
    single = [{n: v} for n, v in values.items()]
    if name == "SGD":
        single = [{"nesterov": True, "momentum": 0.9} if "nesterov" in case else case for case in single]
    every = {n: v for n, v in values.items() if n not in ("foreach", "fused", "decoupled_weight_decay")}
    return [{}, *single, {**every, **TOGETHER.get(name, {})}]


def shapes_of(name: str) -> list[tuple[int, ...]]:
    return [shape for shape in SHAPES if len(shape) == 2] if name == "Muon" else SHAPES


def values(seed: int, shapes: list[tuple[int, ...]], dtype: str = "float32") -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    kind = {"float32": np.float32, "float64": np.float64, "complex64": np.complex64}[dtype]
    out = []
    for shape in shapes:
        value = rng.normal(size=shape)
        if kind is np.complex64:
            value = value + 1j * rng.normal(size=shape)
        out.append(np.asarray(value, dtype=kind))
    return out


def tensor(lib: Any, value: np.ndarray) -> Any:
    return torch.from_numpy(value.copy()) if lib is torch else mg.from_numpy(value.copy())


def parameters(lib: Any, shapes: list[tuple[int, ...]], seed: int = 0, dtype: str = "float32") -> list[Any]:
    return [lib.nn.Parameter(tensor(lib, v)) for v in values(seed, shapes, dtype)]


def give(lib: Any, params: list[Any], seed: int, skip: tuple[int, ...] = (), dtype: str = "float32") -> None:
    """Set gradients; those whose index is in `skip` get none."""
    shapes = [tuple(p.shape) for p in params]
    for i, (p, v) in enumerate(zip(params, values(seed, shapes, dtype), strict=True)):
        p.grad = None if i in skip else tensor(lib, v)


def converted(value: Any) -> Any:
    """torch's state_dict with our tensors."""
    if isinstance(value, torch.Tensor):
        return ours(value)
    if isinstance(value, dict):
        return {k: converted(v) for k, v in value.items()}
    if isinstance(value, list):
        return [converted(v) for v in value]
    return value


def same_state(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    """state_dicts are equal: keys and their order, kinds, dtypes, shapes, values, groups."""
    sa, sb = a.state_dict(), b.state_dict()
    assert list(sa) == list(sb)
    assert list(sa["state"]) == list(sb["state"])
    for key, expected in sb["state"].items():
        assert list(sa["state"][key]) == list(expected), key
        for entry, value in expected.items():
            _same(sa["state"][key][entry], value, f"state[{key}][{entry}]", rtol, atol)
    for ga, gb in zip(sa["param_groups"], sb["param_groups"], strict=True):
        assert list(ga) == list(gb)
        for key, value in gb.items():
            _same(ga[key], value, key, rtol, atol)


def _same(mine: Any, theirs: Any, what: str, rtol: float, atol: float) -> None:
    if isinstance(theirs, torch.Tensor):
        assert isinstance(mine, mg.Tensor), what
        assert_close(mine, theirs, what, rtol=rtol, atol=atol)
    elif isinstance(theirs, (list, tuple)):
        assert len(mine) == len(theirs), what
        for i, (x, y) in enumerate(zip(mine, theirs, strict=True)):
            _same(x, y, f"{what}[{i}]", rtol, atol)
    elif isinstance(theirs, float) and isinstance(mine, float):
        assert mine == pytest.approx(theirs, rel=rtol, abs=atol), what
    else:
        assert type(mine) is type(theirs) and mine == theirs, what
