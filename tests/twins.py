"""Pairs of (ours, torch) modules with equal weights, and comparison of everything that can be seen from outside.

Used by the test_nn_* and test_optim files; torch is only the reference.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg

torch = pytest.importorskip("torch")

RTOL, ATOL = 2e-5, 2e-6  # float32, sums of up to a few hundred terms in different orders


def ours(value: Any, requires_grad: bool = False) -> Any:
    """A minigrad copy of a torch tensor (or numpy array)."""
    array = value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    tensor = mg.tensor(array.tolist(), dtype=getattr(mg, str(array.dtype).removesuffix("_")))
    tensor = tensor.reshape(array.shape)
    return tensor.requires_grad_(True) if requires_grad else tensor


def array(tensor: Any) -> np.ndarray:
    """The values of a tensor of either library."""
    return tensor.detach().numpy(force=True) if isinstance(tensor, torch.Tensor) else tensor.detach().numpy()


def assert_close(actual: Any, expected: Any, what: str = "", rtol: float = RTOL, atol: float = ATOL) -> None:
    """Equal shape and values; None equals None; tuples entry by entry."""
    if expected is None or actual is None:
        assert actual is None and expected is None, f"{what}: got {actual}, expected {expected}"
        return
    if isinstance(expected, (tuple, list)):
        assert len(actual) == len(expected), what
        for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
            assert_close(a, e, f"{what}[{i}]", rtol, atol)
        return
    assert tuple(actual.shape) == tuple(expected.shape), f"{what}: {tuple(actual.shape)} != {tuple(expected.shape)}"
    assert str(actual.dtype).rpartition(".")[2] == str(expected.dtype).rpartition(".")[2], what
    np.testing.assert_allclose(array(actual), array(expected), rtol=rtol, atol=atol, err_msg=what)


def copy_state(target: Any, source: Any) -> None:
    """Load the state of a torch module into ours."""
    result = target.load_state_dict({key: ours(value) for key, value in source.state_dict().items()})
    assert not result.missing_keys and not result.unexpected_keys


def module_pair(name: str, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """Our module and torch's, same class name and arguments, same weights."""
    torch.manual_seed(3)
    reference = getattr(torch.nn, name)(*args, **kwargs)
    _stir(reference)
    ours_args = [ours(a) if isinstance(a, torch.Tensor) else a for a in args]
    ours_kwargs = {k: ours(v) if isinstance(v, torch.Tensor) else v for k, v in kwargs.items()}
    module = getattr(mg.nn, name)(*ours_args, **ours_kwargs)
    copy_state(module, reference)
    return module, reference


def pair_of(build: Any) -> tuple[Any, Any]:
    """Our module and torch's, made by `build(library)`, with the same weights."""
    torch.manual_seed(3)
    reference, module = build(torch), build(mg)
    _stir(reference)
    copy_state(module, reference)
    return module, reference


def _stir(reference: Any) -> None:
    with torch.no_grad():  # away from the trivial 0 and 1 of normalisation layers
        for parameter in reference.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for buffer in reference.buffers():
            if buffer.is_floating_point():
                buffer.add_(0.1 * torch.rand_like(buffer))


def flat(outputs: Any) -> list[Any]:
    """The tensors in nested tuples and lists, in order; None is left out."""
    if isinstance(outputs, (tuple, list)):
        return [tensor for output in outputs for tensor in flat(output)]
    return [] if outputs is None else [outputs]


def weighted_sum(outputs: Any, seed: int = 11) -> Any:
    """A scalar of the outputs with a gradient that differs at every element; for either library."""
    total = None
    for i, output in enumerate(flat(outputs)):
        if not output.is_floating_point():
            continue
        weights = np.random.default_rng(seed + i).uniform(-1, 1, tuple(output.shape)).astype(np.float32)
        own = torch.from_numpy(weights) if isinstance(output, torch.Tensor) else ours(weights)
        term = (output * own).sum()
        total = term if total is None else total + term
    return total
