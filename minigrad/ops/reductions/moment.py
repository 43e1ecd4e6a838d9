"""Variance, standard deviation, norms and logsumexp. Kernels: csrc/cpu/reduce.cpp."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.op import composite, functions, op
from minigrad.ops.reductions.reduce import _axis, _np, count_of, restore
from minigrad.ops.shared.reduce_doc import doc

# --- variance ---------------------------------------------------------------------------------------------------------


def _freedom(shape: tuple[int, ...], dim: Any, correction: float) -> float:
    n = count_of(shape, dim) - correction
    return n if n > 0 else 0.0


def _var_grad(g: Any, input: Any, dim: Any, keepdim: bool, correction: float) -> Any:
    shape = tuple(input.shape)
    n = _freedom(shape, dim, correction)
    scale = 2 / n if n else mg.inf
    return restore(g, shape, dim, keepdim) * (input - input.mean(dim, True)) * scale


def _std_grad(g: Any, input: Any, out: Any, dim: Any, keepdim: bool, correction: float) -> Any:
    flat = out == 0  # a constant slice: PyTorch's subgradient is 0
    return _var_grad(mg.where(flat, 0.0, g / mg.where(flat, 1.0, 2 * out)), input, dim, keepdim, correction)


def _moment_samples(s: Any) -> list[Any]:
    return [
        s(s.t(3, 4), 1),
        s(s.t(5), None, False, 0.0),
        s(s.t(2, 3, 4), [0, 2], True),
        s(s.t(4, 3, layout="transposed"), 0),
    ]


op(
    "_var(input, dim: ints? = None, keepdim: bool = False, correction: float = 1.0) -> out",
    meta="reduce_float",
    namespace=None,
    dinput=_var_grad,
    samples=_moment_samples,
    ref=lambda input, dim=None, keepdim=False, correction=1.0: _np().var(input, axis=_axis(dim), keepdims=keepdim, ddof=correction),
    doc="Variance; the kernel of `var`. Two passes: mean, then squared deviations.",
)

op(
    "_std(input, dim: ints? = None, keepdim: bool = False, correction: float = 1.0) -> out",
    meta="reduce_float",
    namespace=None,
    dinput=_std_grad,
    samples=_moment_samples,
    ref=lambda input, dim=None, keepdim=False, correction=1.0: _np().std(input, axis=_axis(dim), keepdims=keepdim, ddof=correction),
    doc="Standard deviation; the kernel of `std`. Its gradient at a constant slice is 0.",
)


def _moment_arguments(name: str, dim: Any, unbiased: Any, keepdim: bool, correction: Any) -> tuple[Any, bool, float]:
    """PyTorch's overloads: (unbiased), (dim, unbiased, keepdim), (dim, *, correction, keepdim)."""
    if isinstance(dim, bool):
        if unbiased is not None:
            raise TypeError(f"{name}: two values for unbiased: got dim={dim} and unbiased={unbiased}. Try dim=0, unbiased={unbiased}.")
        dim, unbiased = None, dim
    if unbiased is not None and correction is not None:
        raise TypeError(f"{name}: got both unbiased and correction, expected one of them. Try correction={int(unbiased)} alone.")
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
    return dim, keepdim, float(correction)


_MOMENT_DOC = """{summary}

    Args:
        input: floating tensor of any shape.
        dim: int or list of ints; None means all.
        unbiased: True divides by n - 1, False by n (the older form of `correction`).
        keepdim: keep reduced dims with size 1.
        correction: what is taken from n in the divisor; default 1.
    Returns:
        {returns}
    Raises:
        RuntimeError for integers and bools; IndexError for a dim out of range.
    Gradient:
        {grad}
    Example:
        >>> mg.{example}
        {shown}
    """


def _declare_moments() -> None:
    var_kernel, std_kernel = functions["_var"], functions["_std"]

    def samples(s: Any) -> list[Any]:
        return [s(s.f(3, 4)), s(s.f(3, 4), 1), s(s.f(3, 4), dim=0, correction=0, keepdim=True), s(s.f(5), False)]

    def make(name: str, kernel: Any, mean: bool) -> Any:
        def moment(
            input: mg.Tensor, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *,
            correction: float | None = None, out: Any = None,
        ) -> Any:  # fmt: skip
            dim, keepdim, correction = _moment_arguments(name, dim, unbiased, keepdim, correction)
            if out is not None:
                return kernel(input, dim, keepdim, correction, out=out)
            result = kernel(input, dim, keepdim, correction)
            return (result, input.mean(dim, keepdim)) if mean else result

        moment.__name__ = moment.__qualname__ = name
        return moment

    for name, kernel, word, grad, shown in (
        ("var", var_kernel, "Variance", "2 (x - mean) / (n - correction)", "tensor(7.)"),
        (
            "std",
            std_kernel,
            "Standard deviation",
            "(x - mean) / (out (n - correction)); 0 where all elements are equal",
            "tensor(2.6458)",
        ),
    ):
        both = shown.replace(")", "), tensor(3.))").replace("tensor(", "(tensor(", 1)
        for mean in (False, True):
            function = make(name + "_mean" * mean, kernel, mean)
            function.__doc__ = _MOMENT_DOC.format(
                summary=f"{word}{' and mean' * mean} over `dim` (default: all).", grad=grad,
                returns=f"a pair ({name}, mean)." if mean else "tensor of the input's shape without the reduced dims.",
                example=f"{name}{'_mean' * mean}(mg.tensor([1., 2., 6.]))", shown=both if mean else shown,
            )  # fmt: skip
            composite(samples=samples, no_ref_reason=f"_{name} has the reference", method=not mean)(function)


_declare_moments()


# --- logsumexp --------------------------------------------------------------------------------------------------------
def _logsumexp_grad(g: Any, input: Any, out: Any, dim: Any, keepdim: bool) -> Any:
    shape = tuple(input.shape)
    out = restore(out, shape, dim, keepdim)
    return restore(g, shape, dim, keepdim) * mg.exp(input - mg.where(out == -mg.inf, 0.0, out))  # a row of -inf: gradient 0, not NaN


op(
    "logsumexp(input, dim: ints, keepdim: bool = False) -> out",
    meta="reduce_float_default",
    dinput=_logsumexp_grad,
    samples=lambda s: [
        s(s.t(3, 4), 1),
        s(s.t(5), 0, True),
        s(s.t(2, 3, 4), [0, 2]),
        s(s.t(), 0),
        s(s.t(4, 3, layout="transposed"), 0),
    ],
    ref=lambda input, dim, keepdim=False: (
        _np().logaddexp.reduce(input, axis=_axis(dim), keepdims=keepdim)
        if isinstance(dim, int) and input.ndim
        else _np().log(_np().exp(input).sum(axis=_axis(dim) if input.ndim else None, keepdims=keepdim))
    ),
    doc=doc(
        "log(sum(exp(input))) over `dim`, without overflow.",
        "any dtype; integers are computed in the default float dtype",
        "mg.logsumexp(mg.tensor([0., 0.]), 0) -> tensor(0.6931)",
        grad="softmax(input); 0 in rows of -inf.",
    ),
)


# --- norms ------------------------------------------------------------------------------------------------------------
def _norm_grad(g: Any, input: Any, out: Any, dim: Any, keepdim: bool, ord: float) -> Any:
    """0 where the norm is 0; for infinite ord shared evenly among the extreme elements."""
    shape = tuple(input.shape)
    g, out = restore(g, shape, dim, keepdim), restore(out, shape, dim, keepdim)
    if ord == 0:
        return None
    if ord == 1:
        return g * input.sgn()
    if ord in (mg.inf, -mg.inf):
        hit = (input.abs() == out).to(g.dtype)
        return g * input.sgn() * (hit / hit.sum(dim, keepdim=True))
    flat = out == 0
    safe = mg.where(flat, 1.0, out)
    if ord == 2:
        return input * mg.where(flat, 0.0, g / safe)
    scale = mg.where(flat, 0.0, g / safe ** (ord - 1))
    if ord > 2:
        return input * input.abs() ** (ord - 2) * scale
    zero = input == 0
    return mg.where(zero, 0.0, input.sgn() * mg.where(zero, 1.0, input.abs()) ** (ord - 1)) * scale


def _np_norm(input: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None, ord: float = 2.0) -> Any:
    np = _np()
    a, axis = np.abs(input), _axis(dim)
    if ord == 0:
        return (a != 0).sum(axis=axis, keepdims=keepdim).astype(np.float64)
    if abs(ord) == np.inf:
        return (a.max if ord > 0 else a.min)(axis=axis, keepdims=keepdim)
    return (a**ord).sum(axis=axis, keepdims=keepdim) ** (1 / ord)


op(
    "_vector_norm(input, dim: ints? = None, keepdim: bool = False, dtype: dtype? = None, ord: float = 2.0) -> out",
    meta="reduce_norm",
    namespace=None,
    dinput=_norm_grad,
    ref=_np_norm,
    samples=lambda s: [
        s(s.t(3, 4)),
        s(s.t(3, 4), 1, ord=1.0),
        s(s.t(2, 3, 4), [0, 2], True, ord=3.0),
        s(s.t(5, low=0.5, distinct=True), ord=mg.inf),
        s(s.t(4, 3, layout="transposed"), 0, ord=1.5),
        s(s.t(4, low=0.5), ord=-1.0),
        s(s.t()),
    ],
    doc="(sum |x|^ord)^(1/ord); the kernel of `norm` and `linalg.vector_norm`.",
)

op(
    "_total_norm(tensors: tensors, largest: bool = False) -> out",
    meta="total_norm",
    namespace=None,
    dtypes=("float64", "float32"),
    ref=lambda tensors, largest=False: _np().linalg.norm(_np().concatenate([t.ravel() for t in tensors]), _np().inf if largest else 2),
    samples=lambda s: [s([s.t(3, 4), s.t(5), s.t()]), s([s.t(4, 3, layout="transposed"), s.t(2)], True), s([s.t(0), s.t(7)])],
    no_grad_reason="gradients are clipped without a graph of their own",
    doc="2-norm, or largest magnitude, of all tensors as if they were one vector: clip_grad_norm_ in a traced function.",
)


@composite(
    namespace="linalg",
    samples=lambda s: [s(s.f(3, 4)), s(s.f(3, 4), 1.0, 1), s(s.f(2, 3), mg.inf, [0, 1], True)],
    no_ref_reason="_vector_norm has the reference",
)
def vector_norm(
    input: mg.Tensor, ord: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, out: Any = None
) -> mg.Tensor:
    """Norm of the elements over `dim`, read as one vector.

    Args:
        input: floating tensor of any shape.
        ord: any number; 0 counts the nonzero elements, inf and -inf are the largest and smallest magnitude.
        dim: int or list of ints; None means all.
        keepdim: keep reduced dims with size 1.
        dtype: floating dtype to compute in.
        out: tensor to write to.
    Returns:
        tensor of the input's shape without the reduced dims.
    Raises:
        RuntimeError for integers, and for a negative or infinite ord of nothing.
    Gradient:
        0 where the norm is 0; shared evenly among the extreme elements for infinite ord.
    Example:
        >>> mg.linalg.vector_norm(mg.tensor([3., 4.]))
        tensor(5.)
    """
    kernel = functions["_vector_norm"]
    args = (input, dim, keepdim, dtype, float(ord))
    return kernel(*args) if out is None else kernel(*args, out=out)


@composite(
    samples=lambda s: [s(s.f(3, 4)), s(s.f(3, 4), 1, 1), s(s.f(3, 4), "fro", [0, 1], True)],
    no_ref_reason="_vector_norm has the reference",
)
def norm(input: mg.Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, out: Any = None, dtype: Any = None) -> mg.Tensor:
    """Vector norm over `dim`; "fro" is the 2-norm, "nuc" the nuclear norm of matrices.

    Args:
        input: floating tensor of any shape.
        p: a number, "fro", or "nuc" (sum of the singular values over two dims).
        dim: int or list of ints; None means all.
        keepdim: keep reduced dims with size 1.
        dtype: floating dtype to compute in.
        out: tensor to write to.
    Returns:
        tensor of the input's shape without the reduced dims.
    Raises:
        RuntimeError for integers and for an unknown p.
    Gradient:
        as linalg.vector_norm: 0 where the norm is 0.
    Example:
        >>> mg.norm(mg.tensor([3., 4.]))
        tensor(5.)
    """
    if p in ("fro", None):
        p = 2
    elif isinstance(p, str):  # a norm of matrices
        dim = list(range(input.dim())) if dim is None else dim
        return functions["linalg_matrix_norm"](input, p, dim, keepdim, dtype=dtype, out=out)
    return vector_norm(input, p, dim, keepdim, dtype=dtype, out=out)
