"""What the linalg families share: the declaring decorator (named results, out=), LinAlgError, checks of LAPACK's info."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import minigrad as mg
from minigrad.op import composite, functions, op, registry
from minigrad.ops.shared.reduce_doc import returned


class LinAlgError(RuntimeError):
    """A matrix has no such factorisation, inverse or solution (singular, not positive-definite, not converged)."""


LinAlgError.__module__ = "minigrad.linalg"


def primitive(schema: str, **fields: Any) -> Callable[..., Any]:
    """Declare an internal op with a LAPACK kernel; `check_info` in the public function turns its info into errors."""
    fields.setdefault("dtypes", ("float64", "float32"))
    info = registry[op(schema, namespace=None, method=False, holomorphic=False, **fields).__name__]
    info.where = "{0.f_code.co_filename}:{0.f_lineno}".format(sys._getframe(1))
    return info.function


def _write(name: str, out: mg.Tensor, value: mg.Tensor) -> mg.Tensor:
    if not isinstance(out, mg.Tensor):
        raise TypeError(f"{name}(): argument 'out' must be Tensor, not {type(out).__name__}")
    if mg.is_grad_enabled() and (value.requires_grad or out.requires_grad):
        raise RuntimeError(
            f"{name}: functions with out=... arguments don't support automatic differentiation, but one of the arguments"
            " requires grad. Try the form without out=, or mg.no_grad()."
        )
    if name != "lu" and not mg.can_cast(value.dtype, out.dtype):  # PyTorch's lu copies, whatever the dtypes
        raise RuntimeError(f"{name}: result type {value.dtype} can't be cast to the desired output type {out.dtype}")
    if out.shape != value.shape:
        out.resize_(value.shape)
    return out.copy_(value)


def with_out(name: str, results: Callable[[], type] | None) -> Callable[[Callable], Callable]:
    """Give a function `out=`, and its tuple a name; `results` makes the tuple's class at the first call (0.2 ms each)."""

    def wrap(function: Callable) -> Callable:
        @functools.wraps(function)
        def call(*args: Any, out: Any = None, **kwargs: Any) -> Any:
            if "A" in kwargs and "input" in variables and "A" not in variables:  # PyTorch's documentation says A, its parser input
                kwargs["input"] = kwargs.pop("A")
            value = function(*args, **kwargs)
            if out is None:
                return value if results is None else results()(*value)
            if isinstance(value, mg.Tensor):
                return _write(name, out, value)
            if not isinstance(out, (tuple, list)) or len(out) != len(value):
                raise TypeError(f"{name}(): argument 'out' must be a tuple of {len(value)} tensors")
            written = tuple(_write(name, o, v) for o, v in zip(out, value))
            return written if results is None else results()(*written)

        code = function.__code__
        variables = code.co_varnames[: code.co_argcount]
        return call

    return wrap


def linalg(
    name: str | None = None, space: str = "linalg", results: tuple[str, ...] | None = None, method: bool | None = None, **fields: Any
) -> Callable[[Callable], Callable]:
    """Declare a public composite of the linalg family.

    Args:
        name: public name, without namespace (default: the function's).
        space: "linalg", or "" for the old names on `mg.` and Tensor.
        results: field names of its named tuple.
        method: also a Tensor method (default: for "").
        fields: as for `composite`.
    """

    def register(function: Callable) -> Callable:
        public = name or function.__name__
        label = f"linalg_{public}" if space == "linalg" else public
        shown = f"linalg.{public}" if space == "linalg" else public
        cls = None if results is None else functools.cache(lambda: returned(label, *results))
        wrapped = with_out(shown, cls)(function)
        wrapped.__name__ = wrapped.__qualname__ = public
        fields.setdefault("dtypes", ("float64", "float32"))
        composite(space, name=label, public=public, method=method, **fields)(wrapped)
        registry[label].where = f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}"
        return wrapped

    return register


def check_info(name: str, info: mg.Tensor, text: Callable[[int], str]) -> None:
    """Raise LinAlgError for the first matrix whose LAPACK info is not 0; `text` explains the number."""
    codes = mg.op.all_values(info).reshape(-1).tolist()
    for i, code in enumerate(codes):
        if code:
            where = f" (Batch element {i}):" if info.dim() else ""
            raise LinAlgError(f"{name}:{where} {text(code)}")


def check_converged(name: str, info: mg.Tensor, what: str) -> None:
    """As check_info, for the iterative decompositions; a negative info says that the matrix was not finite."""

    def text(code: int) -> str:
        if code < 0:
            return "The algorithm failed to converge because the input matrix contained non-finite values."
        return (
            f"The algorithm failed to converge because the input matrix is ill-conditioned or has too many repeated {what}"
            f" (error code: {code})."
        )

    check_info(name, info, text)


def primitive_of(name: str) -> Callable[..., Any]:
    """The function of an internal op, by name; formulas look it up when they run."""
    return functions[name]


def is_vector_rhs(a: mg.Tensor, b: mg.Tensor) -> bool:
    """PyTorch's rule: B is one vector per matrix when it is 1-d or has exactly A's shape without the last dim."""
    return b.dim() == 1 or (a.dim() - 1 == b.dim() and tuple(b.shape) == tuple(a.shape[:-1]))


def need_matrix(name: str, x: Any, arg: str = "A") -> None:
    """Raise unless x is a floating or complex tensor with at least two dims."""
    if not isinstance(x, mg.Tensor):
        raise TypeError(f"{name}(): argument '{arg}' must be Tensor, not {type(x).__name__}")
    if x.dim() < 2:
        raise RuntimeError(f"{name}: The input tensor {arg} must have at least 2 dimensions: got shape {tuple(x.shape)}.")


def need_floating(name: str, x: mg.Tensor) -> None:
    """Raise for integers and bools."""
    if not (x.is_floating_point() or x.is_complex()):
        raise RuntimeError(f"{name}: expected a floating or complex tensor as input: got {x.dtype}. Try x.float().")


def real_dtype(x: mg.Tensor) -> Any:
    """Dtype of the singular values of x."""
    return mg.float64 if x.dtype in (mg.float64, mg.complex128) else mg.float32


def need_square(name: str, x: Any, arg: str = "A") -> None:
    """Raise unless x is a batch of square matrices."""
    need_matrix(name, x, arg)
    if x.shape[-1] != x.shape[-2]:
        raise RuntimeError(f"{name}: {arg} must be batches of square matrices, but they are {x.shape[-2]} by {x.shape[-1]} matrices.")


# --- samples ----------------------------------------------------------------------------------------------------------
def general(s: Any, *shape: int, layout: str = "contiguous", **options: Any) -> Any:
    """A well-conditioned matrix (*batch, m, n): noise on a scaled identity."""
    import numpy as np

    spec = s.t(*shape, low=-0.5, high=0.5, **options)
    spec.values[...] += 2 * np.eye(*shape[-2:]) * np.where(np.arange(shape[-1]) % 2, -1, 1.5)
    return s.of(spec.values, layout)


def hermitian_sample(s: Any, *shape: int, positive: bool = True, layout: str = "contiguous") -> Any:
    """A symmetric (Hermitian) matrix with distinct eigenvalues, positive-definite unless told otherwise."""
    import numpy as np

    noise = s.t(*shape, low=-0.4, high=0.4).values
    n = shape[-1]
    diagonal = 1.5 + np.arange(n) * (1.0 if positive else -1.3)
    return s.of((noise + np.swapaxes(noise, -1, -2).conj()) / 2 + np.diag(diagonal), layout)


def np_linalg() -> Any:
    """numpy.linalg, for the references."""
    import numpy

    return numpy.linalg
