"""Every module of the table of nn_cases, compiled: outputs, gradients and buffers over several calls are those of the module."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest

pytest.importorskip("torch")

from nn_cases import LOSSES, MODULES  # noqa: E402
from twins import flat, ours, weighted_sum  # noqa: E402

import minigrad as mg  # noqa: E402
from minigrad.compiler import CompiledFunction  # noqa: E402


def _run(case: Any, call: Any, module: Any, seed: int) -> tuple[list[Any], list[Any]]:
    inputs = [ours(tensor, takes_grad) for tensor, takes_grad in case.inputs()]
    mg.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = [t for t in flat(call(*inputs)) if isinstance(t, mg.Tensor)]
    if any(t.requires_grad for t in results):
        weighted_sum(results).backward()
    grads = [t.grad for t in inputs if t.grad is not None] + [p.grad for p in module.parameters() if p.grad is not None]
    return [t.detach() for t in results], [*grads, *module.buffers()]


@pytest.mark.parametrize("case", MODULES + LOSSES, ids=repr)
def test_compiled_module(case: Any) -> None:
    module = case.pair()[0].train(case.training)
    twin = copy.deepcopy(module)
    compiled = CompiledFunction(lambda *inputs: case.run(module, mg, *inputs))
    for k in range(4):
        got, gradients = _run(case, compiled, module, k)
        want, expected = _run(case, lambda *inputs: case.run(twin, mg, *inputs), twin, k)
        assert len(got) == len(want) and len(gradients) == len(expected)
        for a, b in zip(got, want):
            assert mg.allclose(a, b, rtol=1e-5, atol=1e-6, equal_nan=True), "results differ"
        for a, b in zip(gradients, expected):
            assert mg.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True), "gradients or buffers differ"
    assert compiled.entries or compiled.reasons
