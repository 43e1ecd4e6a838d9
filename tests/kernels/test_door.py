"""minigrad.kernels.op as a user has it: a kernel of one's own, its gradient, and planted mistakes, each caught by the checks."""

from __future__ import annotations

import importlib.util

import pytest

if importlib.util.find_spec("triton") is None:
    pytest.skip("triton is not installed: pip install 'triton>=3.6,<3.10'", allow_module_level=True)

import triton
import triton.language as tl

import minigrad as mg
from minigrad import kernels
from minigrad.kernels import _checks
from minigrad.kernels._harness import case, cdiv, empty_like, launch, rand


@triton.jit
def scale_kernel(y_ptr, x_ptr, factor, n, SLOPPY: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < n, other=0.0).to(tl.float32)
    tl.store(y_ptr + at, (x * factor).to(y_ptr.dtype.element_ty), mask=(at < n + 3) if SLOPPY else (at < n))


@triton.jit
def reading_on(y_ptr, x_ptr, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at + 1, mask=at < n, other=0.0).to(tl.float32)
    tl.store(y_ptr + at, x.to(y_ptr.dtype.element_ty), mask=at < n)


def scaled(x, factor, sloppy=False):
    x = x.contiguous()
    y = empty_like(x)
    launch(scale_kernel, (cdiv(x.numel(), 64),), y, x, factor, x.numel(), SLOPPY=sloppy, BLOCK=64)
    return y


def declare(name, backward, forward=scaled, sloppy=False, dtypes=("float32", "bfloat16")):
    @kernels.op(f"{name}(x, factor) -> y", backward=backward, reference=lambda x, factor: x * factor,
                cases=[case(x=rand(3, 41), factor=0.7, dtypes=dtypes)])  # fmt: skip
    def op(x, factor):
        return forward(x, factor, sloppy) if forward is scaled else forward(x)

    return op


def failures(op):
    found = []
    for check in _checks.checks_of(op, ("cpu",)):
        try:
            check.run()
        except AssertionError as error:
            found.append(str(error))
    return found


def test_own_kernel_with_gradient():
    op = declare("scaled", lambda g, factor: scaled(g, factor))
    assert failures(op) == []
    x = mg.randn(4, 5, requires_grad=True)
    y = op(x, 2.5)
    y.sum().backward()
    assert y.grad_fn is not None and (x.grad == 2.5).all()
    with mg.no_grad():
        assert op(x, factor=2.0).grad_fn is None


def test_without_a_backward_the_gradient_raises():
    x = mg.randn(4, requires_grad=True)
    with pytest.raises(RuntimeError, match="has no backward"):
        declare("scaled_forward", None)(x, 2.0).sum().backward()


def second(op, x, factor):
    """The gradient of sum(g^2) where g is that of sum(op(x)^3)."""
    x = x.clone().requires_grad_()
    (g,) = mg.autograd.grad((op(x, factor) ** 3).sum(), x, create_graph=True)
    return mg.autograd.grad((g**2).sum(), x)[0]


def test_second_derivative_where_the_gradient_is_differentiable():
    x = mg.randn(3, 5)
    expected = second(lambda x, factor: x * factor, x, 2.0)
    by_itself = declare("doubled_by_itself", lambda g, factor: by_itself(g, factor))
    assert mg.allclose(second(by_itself, x, 2.0), expected, rtol=1e-4)
    by_ops = declare("doubled_by_ops", lambda g, factor: g * factor)
    assert mg.allclose(second(by_ops, x, 2.0), expected, rtol=1e-4)


def test_second_derivative_through_saved_inputs():
    square = declare("squared", lambda g, x, factor: 2 * g * x * factor, lambda x: scaled(x * x, 2.0))
    x = mg.randn(3, 5)
    assert mg.allclose(second(square, x, 2.0), second(lambda x, factor: 2 * x * x, x, 2.0), rtol=1e-4)


def test_second_derivative_of_matmul():
    a, b = mg.randn(5, 4), mg.randn(4, 3)
    expected = second(lambda x, _: x @ b, a, None)
    assert mg.allclose(second(lambda x, _: kernels.matmul.matmul(x, b), a, None), expected, rtol=1e-3, atol=1e-3)


def test_second_derivative_of_a_launch_is_refused():
    op = declare("doubled_by_launch", lambda g, factor: scaled(g, factor))
    with pytest.raises(NotImplementedError, match="doubled_by_launch: second derivative: its backward launches scale_kernel"):
        second(op, mg.randn(3, 5), 2.0)


def test_second_derivative_through_a_hidden_result_is_refused():
    @kernels.op("halves(x) -> y, _kept", backward=lambda g, kept: g * kept)
    def halves(x):
        return scaled(x, 0.5), mg.full_like(x, 0.5)

    with pytest.raises(NotImplementedError, match="its backward uses kept"):
        second(lambda x, factor: halves(x), mg.randn(3, 5), 1.0)


def test_a_changed_input_is_noticed_by_backward():
    op = declare("scaled_square", lambda g, x, factor: g * x * factor)
    x = mg.randn(4)
    w = x.clone().requires_grad_()
    v = w * 1.0
    y = op(v, 2.0)
    v.add_(1.0)
    with pytest.raises(RuntimeError, match="version"):
        y.sum().backward()


def test_a_write_out_of_bounds_is_found():
    found = failures(declare("sloppy", None, sloppy=True, dtypes=("float32",)))
    assert found and "behind a buffer" in found[0]


def test_a_read_out_of_bounds_is_found():
    def forward(x):
        y = empty_like(x)
        launch(reading_on, (1,), y, x, x.numel(), BLOCK=128)
        return y

    op = declare("reading_on", None, forward=forward, dtypes=("float32",))
    assert "nan" in failures(op)[0]


def test_a_wrong_gradient_is_found():
    found = failures(declare("wrong", lambda g, factor: scaled(g, factor + 0.01)))
    assert len(found) == 2 and "gradient of x" in found[0]


@pytest.mark.parametrize(
    ("schema", "text"),
    [("f(x) -> y", "the function \\["), ("f(x, factor) -> _s, y", "come last"), ("f x", "expected 'name")],
)
def test_bad_schemas(schema, text):
    with pytest.raises(ValueError, match=text):
        kernels.op(schema)(lambda x, factor: x)


def test_unknown_names_are_told():
    with pytest.raises(TypeError, match="unknown"):
        kernels.op("f(x) -> y", casses=[])
    with pytest.raises(ValueError, match="backward wants"):
        kernels.op("f(x) -> y", backward=lambda g, z: g)(lambda x: x)
    with pytest.raises(AttributeError, match="no attribute 'no_such_kernel'"):
        _ = kernels.no_such_kernel


def test_library_ops_run_the_kernel_of_their_device():
    from minigrad import library

    @library.triton_op("doors::scaled", mutates_args=())
    def scaled_op(x: mg.Tensor, factor: float) -> mg.Tensor:
        y = mg.empty_like(x)
        grid = lambda meta: (cdiv(x.numel(), meta["BLOCK"]),)
        library.wrap_triton(scale_kernel)[grid](y, x, factor, n=x.numel(), SLOPPY=False, BLOCK=16)
        return y

    scaled_op.register_autograd(lambda ctx, g: (scaled_op(g, 3.0), None))
    x = mg.randn(5, 7, requires_grad=True)
    y = mg.ops.doors.scaled(x, 3.0)
    y.sum().backward()
    assert mg.allclose(y, 3 * x) and (x.grad == 3).all()

    @library.custom_op("doors::where", mutates_args=(), device_types="cuda")
    def where(x):
        return "cuda"

    with pytest.raises(NotImplementedError, match="no kernel for cpu"):
        where(x)
    where.register_kernel("cpu")(lambda x: "cpu")
    where.register_fake(lambda x: "fake")
    assert where(x) == "cpu" and where([x]) == "cpu" and where(mg.empty(2, device="meta")) == "fake"


@pytest.mark.parametrize(("version", "usable"), [("3.5.1", False), ("3.6.0", True), ("3.9.0", True), ("3.10.0", False), ("4.0", False)])
def test_which_tritons_are_used(version, usable, monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda name: version)
    assert kernels.available() == usable
