"""Ready-made parametrizations: weight_norm, spectral_norm, orthogonal."""

from __future__ import annotations

from enum import Enum, auto
from typing import Any

import minigrad as mg
from minigrad.nn.functional import normalize
from minigrad.nn.modules import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, Module

from . import parametrize
from .weight_norm import apply_weight_norm, norm_except_dim

Tensor = mg.Tensor

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]


def _named_tensor(module: Module, name: str) -> Tensor:
    value = getattr(module, name, None)
    if not isinstance(value, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    return value


# --- weight_norm --------------------------------------------------------------------------------------------------------
class _WeightNorm(Module):
    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        return apply_weight_norm(weight_v, weight_g, self.dim)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return norm_except_dim(weight, 2, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int = 0) -> Module:
    """w = g v / ||v|| (arXiv 1602.07868); `original0` is g, `original1` is v.

    Args:
        module: holds the parameter; returned.
        name: of the parameter.
        dim: the dimension with one norm per entry; None for one norm of everything.
    """
    parametrize.register_parametrization(module, name, _WeightNorm(dim), unsafe=True)

    def load_old(state_dict: dict, prefix: str, *rest: Any) -> None:  # names of the hook-based weight_norm
        old = [f"{prefix}{name}_g", f"{prefix}{name}_v"]
        if all(key in state_dict for key in old):
            for k, key in enumerate(old):
                state_dict[f"{prefix}parametrizations.{name}.original{k}"] = state_dict.pop(key)

    module._register_load_state_dict_pre_hook(load_old)
    return module


# --- spectral_norm ------------------------------------------------------------------------------------------------------
class _SpectralNorm(Module):
    def __init__(self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        super().__init__()
        ndim = weight.dim()
        if not -ndim <= dim < ndim:
            raise IndexError(f"Dimension out of range (expected to be in range of [-{ndim}, {ndim - 1}] but got {dim})")
        if n_power_iterations <= 0:
            raise ValueError(f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}")
        self.dim = dim if dim >= 0 else dim + ndim
        self.eps = eps
        if ndim > 1:  # the norm of a vector needs no iteration
            self.n_power_iterations = n_power_iterations
            with mg.no_grad():
                matrix = self._matrix(weight)
                rows, columns = matrix.shape
                self.register_buffer("_u", normalize(matrix.new_empty(rows).normal_(0, 1), dim=0, eps=eps))
                self.register_buffer("_v", normalize(matrix.new_empty(columns).normal_(0, 1), dim=0, eps=eps))
                self._power_method(matrix, 15)

    def _matrix(self, weight: Tensor) -> Tensor:
        return weight.movedim(self.dim, 0).flatten(1)

    def _power_method(self, matrix: Tensor, steps: int) -> None:
        with mg.no_grad():
            for _ in range(steps):
                self._u.copy_(normalize(mg.mv(matrix, self._v), dim=0, eps=self.eps))
                self._v.copy_(normalize(mg.mv(matrix.mH, self._u), dim=0, eps=self.eps))

    def forward(self, weight: Tensor) -> Tensor:
        if weight.dim() == 1:
            return normalize(weight, dim=0, eps=self.eps)
        matrix = self._matrix(weight)
        if self.training:
            self._power_method(matrix, self.n_power_iterations)
        u, v = self._u.clone(), self._v.clone()  # a second forward before backward writes the buffers again
        return weight / mg.vdot(u, mg.mv(matrix, v))

    def right_inverse(self, value: Tensor) -> Tensor:
        return value  # the best there is: the largest singular value is lost


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """w / sigma(w), sigma by power iteration in training mode (arXiv 1802.05957).

    Args:
        module: holds the parameter; returned.
        name: of the parameter.
        n_power_iterations: steps per access in training mode.
        eps: lower limit of the vectors' norms.
        dim: dimension of the outputs: 0, or 1 for transposed convolutions.
    """
    weight = _named_tensor(module, name)
    if dim is None:
        dim = 1 if isinstance(module, (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)) else 0
    parametrize.register_parametrization(module, name, _SpectralNorm(weight, n_power_iterations, dim, eps))
    return module


# --- orthogonal ---------------------------------------------------------------------------------------------------------
class _OrthMaps(Enum):
    matrix_exp = auto()
    cayley = auto()
    householder = auto()


def _is_orthogonal(q: Tensor, eps: float | None = None) -> bool:
    k = q.shape[-1]
    identity = mg.eye(k, dtype=q.dtype, device=q.device)
    eps = 10.0 * q.shape[-2] * mg.finfo(q.dtype).eps if eps is None else eps
    return bool(mg.allclose(q.mH @ q, identity.expand(q.mH.shape[:-2] + (k, k)), atol=eps))


def _make_orthogonal(a: Tensor) -> Tensor:
    """The Q of a's QR decomposition with a positive diagonal of R."""
    q, r = mg.linalg.qr(a)
    return q * r.diagonal(dim1=-2, dim2=-1).sgn().unsqueeze(-2)


class _Orthogonal(Module):
    base: Tensor

    def __init__(self, weight: Tensor, orthogonal_map: _OrthMaps, *, use_trivialization: bool = True) -> None:
        super().__init__()
        if weight.is_complex() and orthogonal_map is _OrthMaps.householder:
            raise ValueError("The householder parametrization does not support complex tensors.")
        self.shape = weight.shape
        self.orthogonal_map = orthogonal_map
        if use_trivialization:  # optimise around a base point (Lezcano-Casado, arXiv 1909.09501)
            self.register_buffer("base", None)

    def forward(self, x: Tensor) -> Tensor:
        wide = x.shape[-2] < x.shape[-1]
        x = x.mT if wide else x
        q = self._householder(x) if self.orthogonal_map is _OrthMaps.householder else self._exponential(x)
        if hasattr(self, "base"):
            q = self.base @ q
        return q.mT if wide else q

    def _exponential(self, x: Tensor) -> Tensor:
        """exp, or the Cayley map, of the skew-symmetric matrix made of the lower triangle."""
        n, k = x.shape[-2:]
        x = x.tril()
        if n != k:
            x = mg.cat([x, x.new_zeros((*x.shape[:-2], n, n - k))], dim=-1)
        a = x - x.mH
        if self.orthogonal_map is _OrthMaps.matrix_exp:
            q = mg.linalg.matrix_exp(a)
        else:
            identity = mg.eye(n, dtype=a.dtype, device=a.device)
            q = mg.linalg.solve(identity - 0.5 * a, identity + 0.5 * a)
        return q[..., :k] if n != k else q

    @staticmethod
    def _householder(x: Tensor) -> Tensor:
        """A product of reflections given by what lies below the diagonal; the diagonal holds signs."""
        a = x.tril(diagonal=-1)
        tau = 2.0 / (1.0 + (a * a).sum(dim=-2))
        return mg.linalg.householder_product(a, tau) * x.diagonal(dim1=-2, dim2=-1).sign().detach().unsqueeze(-2)

    def right_inverse(self, q: Tensor) -> Tensor:
        with mg.no_grad():
            if q.shape != self.shape:
                raise ValueError(
                    f"Expected a matrix or batch of matrices of shape {tuple(self.shape)}. Got a tensor of shape {tuple(q.shape)}."
                )
            if not hasattr(self, "base"):
                return self._reflections(q)
            wide = q.shape[-2] < q.shape[-1]
            start = mg.zeros_like(q)
            start.diagonal(dim1=-2, dim2=-1).fill_(-1.0)  # a point whose image under the map is a fixed orthogonal matrix
            q = q.mT if wide else q
            n, k = q.shape[-2:]
            if n == k:
                q = q.clone() if _is_orthogonal(q) else _make_orthogonal(q)
            else:
                q = _make_orthogonal(mg.cat([q, mg.randn((*q.shape[:-2], n, n - k), dtype=q.dtype, device=q.device)], dim=-1))
            self.base = q
            return start

    def _reflections(self, q: Tensor) -> Tensor:
        if self.orthogonal_map is not _OrthMaps.householder:
            raise NotImplementedError(
                "It is not possible to assign to the matrix exponential or the Cayley parametrizations when use_trivialization=False."
            )
        wide = q.shape[-2] < q.shape[-1]
        a, tau = mg.geqrf(q.mT if wide else q)
        diagonal = a.diagonal(dim1=-2, dim2=-1)
        diagonal.sign_()
        diagonal.mul_(mg.where(tau == 0.0, -1.0, 1.0).to(a.dtype))
        return a.mT if wide else a


def orthogonal(module: Module, name: str = "weight", orthogonal_map: str | None = None, *, use_trivialization: bool = True) -> Module:
    """Keep a matrix (or batch of them) orthogonal: Q^T Q = 1, or Q Q^T = 1 for wide ones.

    Args:
        module: holds the parameter; returned.
        name: of the parameter, at least 2-dimensional.
        orthogonal_map: "matrix_exp", "cayley" or "householder"; by default matrix_exp for square ones, householder for others.
        use_trivialization: optimise around the first value; allows assignment for matrix_exp and cayley.
    """
    weight = _named_tensor(module, name)
    if weight.dim() < 2:
        raise ValueError(f"Expected a matrix or batch of matrices. Got a tensor of {weight.dim()} dimensions.")
    if orthogonal_map is None:
        orthogonal_map = "matrix_exp" if weight.shape[-2] == weight.shape[-1] or weight.is_complex() else "householder"
    chosen = getattr(_OrthMaps, orthogonal_map, None)
    if chosen is None:
        raise ValueError(
            f'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". Got: {orthogonal_map}'
        )
    parametrize.register_parametrization(module, name, _Orthogonal(weight, chosen, use_trivialization=use_trivialization), unsafe=True)
    return module
