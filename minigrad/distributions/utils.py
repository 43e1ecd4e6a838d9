"""Small tools of the distributions: broadcasting of parameters, probabilities and logits, lazily computed properties, triangles."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Number
from typing import Any

import minigrad as mg
from minigrad.op import namespaces

euler_constant = 0.57721566490153286060

__all__ = [
    "broadcast_all", "clamp_probs", "lazy_property", "logits_to_probs", "probs_to_logits", "tril_matrix_to_vec", "vec_to_tril_matrix",
]  # fmt: skip


def broadcast_all(*values: Any) -> tuple[mg.Tensor, ...]:
    """Tensors of one shape from numbers and tensors; numbers take dtype and device of the first tensor (none: the default dtype).

    Raises:
        ValueError for anything that is neither a number nor a tensor.
    """
    if not all(isinstance(v, (mg.Tensor, Number)) for v in values):
        kinds = ", ".join(type(v).__name__ for v in values)
        raise ValueError(f"Input arguments must all be instances of Number or minigrad.Tensor: got {kinds}")
    like = next((v for v in values if isinstance(v, mg.Tensor)), None)
    made = {"dtype": mg.get_default_dtype()} if like is None else {"dtype": like.dtype, "device": like.device}
    return mg.broadcast_tensors(*(v if isinstance(v, mg.Tensor) else mg.tensor(v, **made) for v in values))


def standard_normal(shape: Any, dtype: Any, device: Any) -> mg.Tensor:
    """Standard normal numbers of a shape."""
    return mg.randn(tuple(shape), dtype=dtype, device=device)


_standard_normal = standard_normal  # PyTorch's name


def _sum_rightmost(value: mg.Tensor, dim: int) -> mg.Tensor:
    """Sum over the last `dim` dimensions."""
    return value if dim == 0 else value.reshape(value.shape[: value.dim() - dim] + (-1,)).sum(-1)


def logits_to_probs(logits: mg.Tensor, is_binary: bool = False) -> mg.Tensor:
    """Probabilities of log odds (binary), or of unnormalised log probabilities along the last dimension."""
    return mg.sigmoid(logits) if is_binary else mg.softmax(logits, dim=-1)


def clamp_probs(probs: mg.Tensor) -> mg.Tensor:
    """Probabilities kept eps away from 0 and 1, so that their logarithms are finite."""
    eps = mg.finfo(probs.dtype).eps
    return probs.clamp(min=eps, max=1 - eps)


def probs_to_logits(probs: mg.Tensor, is_binary: bool = False) -> mg.Tensor:
    """Log odds (binary) or log probabilities of probabilities."""
    inside = clamp_probs(probs)
    return mg.log(inside) - mg.log1p(-inside) if is_binary else mg.log(inside)


class lazy_property:  # noqa: N801  PyTorch's name
    """A method whose value is computed at the first read and then kept in the instance."""

    def __init__(self, wrapped: Callable[[Any], Any]) -> None:
        self.wrapped = wrapped
        self.__doc__ = wrapped.__doc__
        self.__name__ = getattr(wrapped, "__name__", "")

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        with mg.enable_grad():
            value = self.wrapped(instance)
        instance.__dict__[self.wrapped.__name__] = value
        return value


def tril_matrix_to_vec(mat: mg.Tensor, diag: int = 0) -> mg.Tensor:
    """The lower triangles (up to the diagonal `diag`) of (..., n, n) matrices as (..., count) vectors, row by row."""
    n = mat.shape[-1]
    if not -n <= diag < n:
        raise ValueError(f"diag ({diag}) provided is outside [{-n}, {n - 1}].")
    rows, columns = mg.tril_indices(n, n, diag)
    return mat[..., rows, columns]


def vec_to_tril_matrix(vec: mg.Tensor, diag: int = 0) -> mg.Tensor:
    """(..., count) vectors as lower triangles of (..., n, n) matrices, zero elsewhere: the inverse of `tril_matrix_to_vec`.

    Raises:
        ValueError when no n has that many elements below its diagonal.
    """
    odd = 1 + 2 * diag
    n = (-odd + (odd * odd + 8 * vec.shape[-1] + 4 * abs(diag) * (diag + 1)) ** 0.5) / 2
    if n - round(n) > mg.finfo(vec.dtype).eps or round(n) != n:
        raise ValueError(
            f"The size of last dimension is {vec.shape[-1]} which cannot be expressed as "
            "the lower triangular part of a square D x D matrix."
        )
    n = round(n)
    rows, columns = mg.tril_indices(n, n, diag)
    flat = vec.new_zeros(vec.shape[:-1] + (n * n,))
    return flat.index_add(-1, rows * n + columns, vec).reshape(vec.shape[:-1] + (n, n))


# What the densities need of nn.functional, straight from the registry: importing nn would take longer than these modules do.
softplus = namespaces["nn.functional"]["softplus"]
logsigmoid = namespaces["nn.functional"]["logsigmoid"]


def cross_entropy_of_logits(logits: mg.Tensor, probs: mg.Tensor) -> mg.Tensor:
    """-probs log sigmoid(logits) - (1 - probs) log sigmoid(-logits), elementwise."""
    return (1 - probs) * logits - logsigmoid(logits)


def one_hot(categories: mg.Tensor, count: int, dtype: Any) -> mg.Tensor:
    """A last dimension of length count with 1 at the category."""
    return (categories.unsqueeze(-1) == mg.arange(count, device=categories.device)).to(dtype)


def with_one(x: mg.Tensor, where: str) -> mg.Tensor:
    """x with a 1 added along the last dimension, "before" or "behind"."""
    one = x.new_ones(tuple(x.shape[:-1]) + (1,))
    return mg.cat([one, x] if where == "before" else [x, one], -1)
