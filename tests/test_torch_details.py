"""Small details of PyTorch's surface that its docstring examples and programs touch; each once differed."""

from __future__ import annotations

from pathlib import Path

import pytest

import minigrad as mg


def test_lgamma_is_exactly_zero_at_one_and_two() -> None:
    assert mg.tensor([1.0, 2.0]).lgamma().tolist() == [0.0, 0.0]
    assert mg.tensor([1.0, 2.0] * 20).lgamma().abs().max().item() == 0.0


def test_asarray_drops_history() -> None:
    x = mg.ones(3, requires_grad=True)
    for made in (mg.asarray(x), mg.asarray(x + 2), mg.asarray(x, copy=True), mg.asarray(x + 2, dtype=mg.float64)):
        assert not made.requires_grad and made.grad_fn is None
    assert mg.asarray(x.detach(), requires_grad=True).requires_grad


def test_inference_tensors_have_no_version() -> None:
    with mg.inference_mode():
        x = mg.ones(2)
    with pytest.raises(RuntimeError, match="do not track version counter"):
        _ = x._version


def test_pack_hooks_see_the_tensors_that_were_given() -> None:
    """Offloading hooks leave parameters alone: they ask isinstance(tensor, nn.Parameter)."""
    seen = []
    weight, x = mg.nn.Parameter(mg.ones(3)), mg.ones(3, requires_grad=True)
    with mg.autograd.graph.saved_tensors_hooks(lambda t: seen.append(t) or t, lambda t: t):
        product = (x * 2) * weight
        result = product.exp()
    assert seen[0].grad_fn is not None and seen[1] is weight and seen[2].grad_fn is None
    seen.clear()
    result.sum().backward()
    assert mg.allclose(weight.grad, 2 * mg.tensor(2.0).exp()) and mg.allclose(x.grad, weight.grad)


def test_dim_order() -> None:
    message = "does not have unique dim order"
    x = mg.empty(2, 3, 4, 5)
    assert x.dim_order() == (0, 1, 2, 3) and x.transpose(1, 2).dim_order() == (0, 2, 1, 3)
    assert x.dim_order(ambiguity_check=True) == (0, 1, 2, 3)
    assert mg.empty(1, 2, 3, 4).dim_order(ambiguity_check=[mg.contiguous_format]) == (0, 1, 2, 3)
    for tensor, check in ((mg.empty(1, 2, 3, 4), True), (x.transpose(1, 2), [mg.contiguous_format])):
        with pytest.raises(RuntimeError, match=message):
            tensor.dim_order(ambiguity_check=check)
    for check in ("yes", None, [1]):
        with pytest.raises(TypeError, match="ambiguity_check"):
            x.dim_order(ambiguity_check=check)


def test_from_file(tmp_path: Path) -> None:
    path = str(tmp_path / "numbers.bin")
    shared = mg.from_file(path, shared=True, size=4)
    shared.copy_(mg.arange(4.0))
    mine = mg.from_file(path, size=4)
    mine.add_(1)
    assert mine.tolist() == [1, 2, 3, 4] and mg.from_file(path, size=4, dtype=mg.float32).tolist() == [0, 1, 2, 3]
    with pytest.raises(RuntimeError, match="too short: got 16 bytes, expected 20"):
        mg.from_file(path, size=5)
    with pytest.raises(RuntimeError, match="unable to open file"):
        mg.from_file(path + ".missing", size=5)
    assert not Path(path + ".missing").exists() and Path(path).stat().st_size == 16


def test_typename_of_classes() -> None:
    assert mg.typename(mg.nn.Parameter) == "minigrad.nn.parameter.Parameter" and mg.typename([]) == "list"


def test_numpy_of_parameters_without_grad_mode() -> None:
    weight = mg.nn.Parameter(mg.ones(2))
    with pytest.raises(RuntimeError, match="requires grad"):
        weight.numpy()
    with mg.no_grad():
        array = weight.numpy()
    array[0] = 5
    assert weight.tolist() == [5, 1]


def test_sparse_mm_takes_both_names_of_a_reduction() -> None:
    a = mg.tensor([[1.0, 2.0], [0.0, 3.0]]).to_sparse_csr()
    for short, long in (("max", "amax"), ("min", "amin")):
        assert mg.equal(mg.sparse.mm(a, mg.ones(2, 2), short), mg.sparse.mm(a, mg.ones(2, 2), long))
