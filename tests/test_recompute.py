"""Large results of `recompute=True` ops are computed again in backward instead of being kept (csrc/autograd/recompute.h)."""

import pytest
from by_device import device_type

import minigrad as mg
from minigrad.op import registry

NAMES = [name for name, info in registry.items() if info.recompute]
ROWS, COLUMNS = 1024, 1024  # just large enough


def activated(name: str):
    """(x, h, op(h)) with h a computed tensor, as in a network."""
    mg.manual_seed(0)
    x = mg.randn(ROWS, COLUMNS, requires_grad=True)
    h = x * 1.5
    return x, h, registry[name].function(h)


def allocated() -> int:
    """Bytes that tensors hold on the default device."""
    return mg.memory_stats()["allocated"] if device_type() == "cpu" else mg.cuda.memory_allocated()


def test_some_ops_are_declared():
    assert {"gelu_erf", "gelu_tanh", "silu"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_same_gradients_as_kept_values(name):
    """Bit for bit what a saved value gives; saved_tensors_hooks switch the recipes off."""
    w = mg.randn(8, COLUMNS, requires_grad=True)

    def gradients():
        x, _, y = activated(name)
        return mg.autograd.grad((mg.nn.functional.linear(y, w) * 0.1).sum(), (x, w))

    recomputed = gradients()
    with mg.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
        kept = gradients()
    for a, b in zip(recomputed, kept):
        assert mg.equal(a, b)


def test_the_result_is_not_kept():
    """After the activation's result is dropped its memory is free, while the graph lives."""
    w = mg.randn(8, COLUMNS, requires_grad=True)
    _, h, y = activated("gelu_erf")
    before = allocated()
    out = mg.nn.functional.linear(y, w)
    del y
    assert allocated() < before - 3 * ROWS * COLUMNS
    out.sum().backward()
    assert w.grad is not None and h.shape == (ROWS, COLUMNS)


def test_second_derivative():
    """The recomputed value has its history when a graph of the gradient is wanted."""
    def second(hooks: bool):
        x, _, y = activated("silu")
        if hooks:
            with mg.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
                z = y * y
        else:
            z = y * y
        (first,) = mg.autograd.grad(z.sum(), x, create_graph=True)
        return mg.autograd.grad(first.square().sum(), x)[0]

    assert mg.allclose(second(False), second(True), rtol=1e-5, atol=1e-6)


def test_retained_graph_and_saved_attribute():
    """Backward may run twice with retain_graph; grad_fn shows the saved value."""
    w = mg.randn(8, COLUMNS, requires_grad=True)
    x, _, y = activated("gelu_tanh")
    out = mg.nn.functional.linear(y, w)
    assert mg.equal(out.grad_fn._saved_input, y)
    out.sum().backward(retain_graph=True)
    first = w.grad.clone()
    out.sum().backward()
    assert mg.allclose(w.grad, 2 * first)
    with pytest.raises(RuntimeError, match="second time"):
        out.sum().backward()


def test_activation_backward_first():
    """The recipe does not depend on the activation's node: its saved values may be gone already."""
    w = mg.randn(8, COLUMNS, requires_grad=True)
    _, _, y = activated("gelu_erf")
    out = mg.nn.functional.linear(y, w)
    (y * 2).sum().backward()
    (gradient,) = mg.autograd.grad(out.sum(), w)
    assert mg.allclose(gradient, y.detach().sum(0).expand(8, -1), rtol=1e-4, atol=1e-2)


def test_changed_input_is_noticed():
    w = mg.randn(8, COLUMNS, requires_grad=True)
    _, h, y = activated("gelu_erf")
    out = mg.nn.functional.linear(y, w)
    with mg.no_grad():
        h.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


@pytest.mark.parametrize("how", ["data", "numpy", "inplace"])
def test_changed_result_is_kept(how):
    """A result written to before it is saved is not what the op would give again."""
    w = mg.randn(8, COLUMNS, requires_grad=True)
    _, _, y = activated("silu")
    if how == "data":
        y.data.mul_(3)
    elif how == "numpy":
        array = y.detach().numpy()
        array *= 3
    else:
        y.mul_(3)
    out = mg.nn.functional.linear(y, w)
    (gradient,) = mg.autograd.grad(out.sum(), w)
    assert mg.allclose(gradient, y.detach().sum(0).expand(8, -1), rtol=1e-4, atol=1e-1)
