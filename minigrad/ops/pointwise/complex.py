"""Complex numbers: parts, conjugates, phases, and the views between complex tensors and their real parts.

Gradients are PyTorch's: for a real loss L and z = x + iy, the gradient of z is dL/dx + i dL/dy. The formulas here whose result is
complex are marked `holomorphic=False`: they are written for complex g (csrc/python/registry.cpp). conj() computes its result at once;
there is no lazy conjugate bit. Kernels: csrc/cpu/complex_pointwise.cpp, complex_moves.cpp.
"""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.op import composite, functions, namespaces, op
from minigrad.ops.shared.check import expect_tensors, into
from minigrad.ops.shared.doc import doc

# --- conjugates and phases --------------------------------------------------------------------------------------------
op("conj_physical(input) -> out", meta="unary", expr=lambda input: input, holomorphic=False,
   dinput=lambda g: functions["conj_physical"](g) if g.is_complex() else g,
   doc=doc("unary", "The conjugate of each element; a real tensor is returned as it is.",
           "mg.conj_physical(mg.tensor([1 + 2j])) -> tensor([1.-2.j])"))


def _conj_physical(input: mg.Tensor, *, out: mg.Tensor | None = None) -> mg.Tensor:
    expect_tensors("conj_physical", input=input)
    if out is not None:
        return functions["conj_physical"](input, out=out)
    return functions["conj_physical"](input) if input.is_complex() else input


# The public face returns a real tensor as it is, like conj.
_conj_physical.__doc__, _conj_physical.__name__ = functions["conj_physical"].__doc__, "conj_physical"
namespaces[""]["conj_physical"] = mg.Tensor.conj_physical = _conj_physical


def _sgn_grad(g: Any, input: Any, out: Any) -> Any:
    """sgn turns with z and does not grow with it: only the part of g across the direction of z counts."""
    if not input.is_complex():
        return mg.zeros_like(g)
    size = mg.abs(input)
    flat = mg.eq(size, 0)
    along = mg.real(g * mg.conj(out))
    return mg.where(flat, 0.0, (g - out * along) / mg.where(flat, 1.0, size))


op("sgn(input) -> out", meta="unary", expr=lambda input: _sign(input), dinput=_sgn_grad, holomorphic=False,
   doc=doc("unary", "The direction of each element: z / |z|, and 0 at 0. For real tensors the same as sign.",
           "mg.sgn(mg.tensor([3 + 4j])) -> tensor([0.6000+0.8000j])",
           grad="the part of g that turns z, over |z|; 0 at 0 and for real tensors."))


def _angle_grad(g: Any, input: Any) -> Any:
    if not input.is_complex():
        return mg.zeros_like(g)
    flat = mg.eq(input, 0)
    return mg.where(flat, 0.0, g * 1j * input / mg.square(mg.abs(mg.where(flat, 1.0, input))))


op("angle(input) -> out", meta="unary_float_modulus", expr=lambda input: _phase(input), dinput=_angle_grad, inplace=False,
   doc=doc("unary_float", "The angle of each element in (-pi, pi]; real numbers have 0 or pi.",
           "mg.angle(mg.tensor([1 + 1j, -1])) -> tensor([0.7854, 3.1416])", grad="i z / |z|**2 for complex input; 0 at 0."))


def _sign(x: Any) -> Any:
    from minigrad.ops.shared import expr as m

    return m.sign(x)


def _phase(x: Any) -> Any:
    from minigrad.ops.shared import expr as m

    return m.where(m.isnan(x), m.nan, m.where(x < 0, m.pi, 0.0))


def _real_and_complex(s: Any) -> list[Any]:
    return [s(s.t()), s(s.t(0, 2)), s(s.t(3, 4)), s(s.t(4, 3, layout="transposed"))]


@composite(samples=_real_and_complex, ref=lambda input: input.conj())
def conj(input: mg.Tensor) -> mg.Tensor:
    """The conjugate of each element. Real tensors are returned as they are; complex ones are computed at once.

    Args:
        input: any shape and dtype.
    Returns:
        input itself when it is real, else a new tensor.
    Gradient:
        conj(g).
    Example:
        >>> mg.conj(mg.tensor([1 + 2j]))
        tensor([1.-2.j])
    """
    expect_tensors("conj", input=input)
    return functions["conj_physical"](input) if input.is_complex() else input


@composite(samples=_real_and_complex, ref=lambda input: input)
def resolve_conj(input: mg.Tensor) -> mg.Tensor:
    """The tensor itself: conjugates are never left pending here (PyTorch has a lazy conjugate bit).

    Args:
        input: any shape and dtype.
    Returns:
        input.
    Example:
        >>> mg.resolve_conj(mg.tensor([1 + 2j]).conj())
        tensor([1.-2.j])
    """
    expect_tensors("resolve_conj", input=input)
    return input


@composite(samples=_real_and_complex, ref=lambda input: input)
def resolve_neg(input: mg.Tensor) -> mg.Tensor:
    """The tensor itself: negations are never left pending here (PyTorch has a lazy negative bit).

    Args:
        input: any shape and dtype.
    Returns:
        input.
    Example:
        >>> mg.resolve_neg(mg.tensor([1 + 2j]).imag)
        tensor([2.])
    """
    expect_tensors("resolve_neg", input=input)
    return input


# --- parts ------------------------------------------------------------------------------------------------------------
def _complex_only(s: Any) -> list[Any]:
    return [s(s.complex(*shape)) for shape in ((), (0, 2), (3, 4))]


op("_real(input) -> out", meta="real_part", view=True, namespace=None, dinput=lambda g: g, dtypes=("complex128", "complex64"),
   samples=_complex_only, ref=lambda input: input.real, doc="The real parts as a view; the op behind `real`.")

op("_imag(input) -> out", meta="imag_part", view=True, namespace=None, dinput=lambda g: g * 1j, dtypes=("complex128", "complex64"),
   samples=_complex_only, ref=lambda input: input.imag, doc="The imaginary parts as a view; the op behind `imag`.")

op("view_as_real(input) -> out", meta="view_as_real", view=True, dinput=lambda g: mg.view_as_complex(g.contiguous()),
   dtypes=("complex128", "complex64"), samples=lambda s: [s(s.complex(*shape)) for shape in ((), (5,), (3, 4))], ref=lambda input: _pairs(input),
   doc="""A complex tensor seen as real, with a last dimension (real, imaginary).

Args:
    input: complex tensor.
Returns:
    a view of shape (*input.shape, 2).
Raises:
    RuntimeError for real tensors.
Gradient:
    view_as_complex(g).
Example:
    >>> mg.view_as_real(mg.tensor([1 + 2j]))
    tensor([[1., 2.]])
""")

op("view_as_complex(input) -> out", meta="view_as_complex", view=True, dinput=lambda g: mg.view_as_real(g), holomorphic=False,
   dtypes=("float64", "float32"), samples=lambda s: [s(s.t(2)), s(s.t(0, 2)), s(s.t(3, 4, 2)), s(s.t(4, 6, 2))],
   ref=lambda input: input[..., 0] + 1j * input[..., 1],
   doc="""A real tensor whose last dimension holds (real, imaginary) seen as complex.

Args:
    input: float32 or float64 tensor whose last dimension has size 2 and stride 1.
Returns:
    a view of shape input.shape[:-1].
Raises:
    RuntimeError when the layout does not fit.
Gradient:
    view_as_real(g).
Example:
    >>> mg.view_as_complex(mg.tensor([[1., 2.]]))
    tensor([1.+2.j])
""")


def _pairs(x: Any) -> Any:
    import numpy as np

    return np.stack([x.real, x.imag], -1)


@composite(samples=_real_and_complex, method=False, ref=lambda input: input.real)
def real(input: mg.Tensor) -> mg.Tensor:
    """The real parts: a view of a complex tensor, the tensor itself when it is real.

    Args:
        input: any shape and dtype.
    Returns:
        a real tensor of the same shape sharing memory with input.
    Gradient:
        g as a complex number with imaginary part 0.
    Example:
        >>> mg.real(mg.tensor([1 + 2j]))
        tensor([1.])
    """
    expect_tensors("real", input=input)
    return functions["_real"](input) if input.is_complex() else input


@composite(samples=_complex_only, method=False, dtypes=("complex128", "complex64"), ref=lambda input: input.imag)
def imag(input: mg.Tensor) -> mg.Tensor:
    """The imaginary parts as a view.

    Args:
        input: complex tensor.
    Returns:
        a real tensor of the same shape sharing memory with input.
    Raises:
        RuntimeError for real tensors.
    Gradient:
        i g.
    Example:
        >>> mg.imag(mg.tensor([1 + 2j]))
        tensor([2.])
    """
    expect_tensors("imag", input=input)
    return functions["_imag"](input)


def _pair_samples(s: Any) -> list[Any]:
    def first(*shape: int) -> Any:
        return s.t(*shape, low=0.3)  # at negative lengths PyTorch's gradient of polar has the wrong sign

    return [s(first(3, 4), s.t(3, 4)), s(first(3, 1), s.t(4)), s(first(), s.t()), s(first(0, 2), s.t(2))]


op("_complex(real, imag) -> out", meta="complex", holomorphic=False, namespace=None, dtypes=("float64", "float32"),
   dreal=lambda g: mg.real(g), dimag=lambda g: mg.imag(g), samples=_pair_samples, ref=lambda real, imag: real + 1j * imag,
   doc="real + i imag; the kernel of `complex`.")


def _into(name: str, result: mg.Tensor, out: mg.Tensor | None) -> mg.Tensor:
    if out is not None and out.dtype != result.dtype:
        raise RuntimeError(f"{name}: out= has the wrong dtype: got {out.dtype}, expected {result.dtype}")
    return into(name, result, out)


@composite(samples=_pair_samples, method=False, dtypes=("float64", "float32"), ref=lambda real, imag: real + 1j * imag)
def complex(real: mg.Tensor, imag: mg.Tensor, *, out: mg.Tensor | None = None) -> mg.Tensor:
    """real + i imag.

    Args:
        real, imag: float32 or float64 tensors of one dtype; they broadcast.
        out: tensor of the resulting dtype that receives the result.
    Returns:
        a complex tensor of the broadcast shape.
    Raises:
        RuntimeError for other or differing dtypes.
    Gradient:
        the real and the imaginary part of g.
    Example:
        >>> mg.complex(mg.tensor([1.]), mg.tensor([2.]))
        tensor([1.+2.j])
    """
    return _into("complex", functions["_complex"](real, imag), out)


@composite(samples=_pair_samples, method=False,
           dtypes=("float64", "float32"), ref=lambda abs, angle: _polar(abs, angle))
def polar(abs: mg.Tensor, angle: mg.Tensor, *, out: mg.Tensor | None = None) -> mg.Tensor:
    """abs * (cos(angle) + i sin(angle)).

    Args:
        abs: lengths, float32 or float64.
        angle: angles in radians, of the same dtype; broadcasts with abs.
        out: tensor that receives the result.
    Returns:
        a complex tensor of the broadcast shape.
    Raises:
        RuntimeError for other or differing dtypes.
    Example:
        >>> mg.polar(mg.tensor([2.]), mg.tensor([0.]))
        tensor([2.+0.j])
    """
    expect_tensors("polar", abs=abs, angle=angle)
    for t in (abs, angle):
        if t.dtype not in (mg.float32, mg.float64) or t.dtype != abs.dtype:
            raise RuntimeError(f"polar: expected two float32 or two float64 tensors: got {abs.dtype} and {angle.dtype}")
    size, phase = mg.broadcast_tensors(abs, angle)
    return _into("polar", functions["_complex"](size * mg.cos(phase), size * mg.sin(phase)), out)


@composite(samples=_real_and_complex, no_grad_reason="the result is boolean: no gradient", ref=lambda input: input.imag == 0)
def isreal(input: mg.Tensor) -> mg.Tensor:
    """Whether each element has an imaginary part of 0; true everywhere for real tensors.

    Args:
        input: any shape and dtype.
    Returns:
        a bool tensor of the same shape.
    Example:
        >>> mg.isreal(mg.tensor([1 + 0j, 1j]))
        tensor([ True, False])
    """
    expect_tensors("isreal", input=input)
    return mg.eq(mg.imag(input), 0) if input.is_complex() else mg.ones_like(input, dtype=mg.bool)


def is_complex(input: mg.Tensor) -> bool:
    """True when the dtype is a complex one."""
    return input.is_complex()


def _polar(abs: Any, angle: Any) -> Any:
    import numpy as np

    return abs * np.exp(1j * angle)


def _set_part(name: str) -> Any:
    def assign(self: mg.Tensor, value: Any) -> None:
        part = namespaces[""][name](self)
        part.copy_(value) if isinstance(value, mg.Tensor) else part.fill_(value)

    return assign


def _chalf(self: mg.Tensor, *args: Any, **kwargs: Any) -> mg.Tensor:
    """Always raises: minigrad has no complex32."""
    raise NotImplementedError("chalf: complex32 is not supported: the complex dtypes are complex64 and complex128. Try cfloat().")


def _hermitian(self: mg.Tensor) -> mg.Tensor:
    """`x.H`: the conjugate transpose of a matrix (0-d tensors too)."""
    if self.dim() not in (0, 2):
        raise RuntimeError(f"H: only supported on matrices (2-D tensors): got {self.dim()} dimensions. Try x.mH.")
    return mg.conj(self) if self.dim() == 0 else mg.conj(self.mT)


def _batched_hermitian(self: mg.Tensor) -> mg.Tensor:
    """`x.mH`: the conjugate transpose of the last two dimensions."""
    if self.dim() < 2:
        raise RuntimeError(f"mH: only supported on matrices or batches of matrices: got {self.dim()} dimensions. Try x.conj().")
    return mg.conj(self.mT)


namespaces[""]["is_complex"] = is_complex
namespaces[""]["is_conj"] = namespaces[""]["is_neg"] = lambda input: False
mg.Tensor.is_conj = mg.Tensor.is_neg = lambda self: False
mg.Tensor.real = property(real, _set_part("real"), doc="The real parts: a view, assignable.")
mg.Tensor.imag = property(imag, _set_part("imag"), doc="The imaginary parts: a view, assignable.")
mg.Tensor.chalf = _chalf
mg.Tensor.H = property(_hermitian)
mg.Tensor.mH = property(_batched_hermitian)
