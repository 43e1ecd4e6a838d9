"""Invertible maps with tractable log det Jacobians; the ones that combine others are in _combining_transforms.py."""

from __future__ import annotations

import math
import weakref
from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions.utils import _sum_rightmost, broadcast_all, softplus

__all__ = [
    "AbsTransform", "AffineTransform", "CatTransform", "ComposeTransform", "CorrCholeskyTransform", "CumulativeDistributionTransform",
    "ExpTransform", "IndependentTransform", "LowerCholeskyTransform", "PositiveDefiniteTransform", "PowerTransform", "ReshapeTransform",
    "SigmoidTransform", "SoftplusTransform", "TanhTransform", "SoftmaxTransform", "StackTransform", "StickBreakingTransform",
    "Transform", "identity_transform",
]  # fmt: skip


class Transform:
    """y = t(x). Subclasses define `_call`, `_inverse` and, where there is one, `log_abs_det_jacobian`.

    Args:
        cache_size: 1 keeps the latest pair (x, y), so that t.inv(t(x)) is x itself; 0 keeps nothing.
    Raises:
        ValueError for another cache_size.
    """

    bijective = False
    domain: constraints.Constraint
    codomain: constraints.Constraint

    def __init__(self, cache_size: int = 0) -> None:
        if cache_size not in (0, 1):
            raise ValueError("cache_size must be 0 or 1")
        self._cache_size = cache_size
        self._inv: Any = None
        self._cached_x_y: tuple[Any, Any] = (None, None)
        super().__init__()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_inv": None}  # a weak reference cannot be pickled

    @property
    def event_dim(self) -> int:
        """Event dimensions of the domain (the codomain must have as many)."""
        if self.domain.event_dim == self.codomain.event_dim:
            return self.domain.event_dim
        raise ValueError("Please use either .domain.event_dim or .codomain.event_dim")

    @property
    def inv(self) -> Transform:
        """The inverse; t.inv.inv is t."""
        inverse = None if self._inv is None else self._inv()
        if inverse is None:
            inverse = _InverseTransform(self)
            self._inv = weakref.ref(inverse)
        return inverse

    @property
    def sign(self) -> Any:
        """Sign of the derivative, for increasing or decreasing maps of numbers."""
        raise NotImplementedError

    def with_cache(self, cache_size: int = 1) -> Transform:
        """The same transform with another cache size."""
        if self._cache_size == cache_size:
            return self
        if type(self).__init__ is Transform.__init__:
            return type(self)(cache_size=cache_size)
        raise NotImplementedError(f"{type(self)}.with_cache is not implemented")

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return not self.__eq__(other)

    __hash__ = object.__hash__

    def __call__(self, x: mg.Tensor) -> mg.Tensor:
        if self._cache_size == 0:
            return self._call(x)
        known_x, known_y = self._cached_x_y
        if x is known_x:
            return known_y
        y = self._call(x)
        self._cached_x_y = x, y
        return y

    def _inv_call(self, y: mg.Tensor) -> mg.Tensor:
        if self._cache_size == 0:
            return self._inverse(y)
        known_x, known_y = self._cached_x_y
        if y is known_y:
            return known_x
        x = self._inverse(y)
        self._cached_x_y = x, y
        return x

    def _call(self, x: mg.Tensor) -> mg.Tensor:
        raise NotImplementedError

    def _inverse(self, y: mg.Tensor) -> mg.Tensor:
        raise NotImplementedError

    def log_abs_det_jacobian(self, x: mg.Tensor, y: mg.Tensor) -> mg.Tensor:
        """log |dy/dx| at x with y = t(x); without the event dimensions."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return type(self).__name__ + "()"

    def forward_shape(self, shape: Any) -> Any:
        """Shape of y for a shape of x."""
        return shape

    def inverse_shape(self, shape: Any) -> Any:
        """Shape of x for a shape of y."""
        return shape


class _InverseTransform(Transform):
    """t.inv of a transform; it has no cache of its own."""

    def __init__(self, transform: Transform) -> None:
        super().__init__(cache_size=transform._cache_size)
        self._inv: Transform = transform  # type: ignore[assignment]

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__)

    @constraints.dependent_property(is_discrete=False)
    def domain(self) -> constraints.Constraint:
        return self._inv.codomain

    @constraints.dependent_property(is_discrete=False)
    def codomain(self) -> constraints.Constraint:
        return self._inv.domain

    @property
    def bijective(self) -> bool:  # type: ignore[override]
        return self._inv.bijective

    @property
    def sign(self) -> Any:
        return self._inv.sign

    @property
    def inv(self) -> Transform:
        return self._inv

    def with_cache(self, cache_size: int = 1) -> Transform:
        return self._inv.with_cache(cache_size).inv

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _InverseTransform) and self._inv == other._inv

    __hash__ = Transform.__hash__

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._inv!r})"

    def __call__(self, x: mg.Tensor) -> mg.Tensor:
        return self._inv._inv_call(x)

    def log_abs_det_jacobian(self, x: mg.Tensor, y: mg.Tensor) -> mg.Tensor:
        return -self._inv.log_abs_det_jacobian(y, x)

    def forward_shape(self, shape: Any) -> Any:
        return self._inv.inverse_shape(shape)

    def inverse_shape(self, shape: Any) -> Any:
        return self._inv.forward_shape(shape)


class _Stateless(Transform):
    """Transforms without parameters: two of one class are equal."""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    __hash__ = Transform.__hash__


class ExpTransform(_Stateless):
    """y = exp(x)."""

    domain = constraints.real
    codomain = constraints.positive
    bijective = True
    sign = +1

    def _call(self, x: mg.Tensor) -> mg.Tensor:
        return x.exp()

    def _inverse(self, y: mg.Tensor) -> mg.Tensor:
        return y.log()

    def log_abs_det_jacobian(self, x: mg.Tensor, y: mg.Tensor) -> mg.Tensor:
        return x


class PowerTransform(Transform):
    """y = x ** exponent, on positive numbers."""

    domain = constraints.positive
    codomain = constraints.positive
    bijective = True

    def __init__(self, exponent: Any, cache_size: int = 0) -> None:
        super().__init__(cache_size=cache_size)
        (self.exponent,) = broadcast_all(exponent)

    def with_cache(self, cache_size: int = 1) -> Transform:
        return self if self._cache_size == cache_size else PowerTransform(self.exponent, cache_size=cache_size)

    @property
    def sign(self) -> Any:
        return self.exponent.sign()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PowerTransform) and bool(self.exponent.eq(other.exponent).all())

    __hash__ = Transform.__hash__

    def _call(self, x: mg.Tensor) -> mg.Tensor:
        return x.pow(self.exponent)

    def _inverse(self, y: mg.Tensor) -> mg.Tensor:
        return y.pow(1 / self.exponent)

    def log_abs_det_jacobian(self, x: mg.Tensor, y: mg.Tensor) -> mg.Tensor:
        return (self.exponent * y / x).abs().log()

    def forward_shape(self, shape: Any) -> Any:
        return mg.broadcast_shapes(shape, tuple(self.exponent.shape))

    inverse_shape = forward_shape


class SigmoidTransform(_Stateless):
    """y = 1 / (1 + exp(-x)), kept off 0 and 1; x = logit(y)."""

    domain = constraints.real
    codomain = constraints.unit_interval
    bijective = True
    sign = +1

    def _call(self, x: mg.Tensor) -> mg.Tensor:
        limits = mg.finfo(x.dtype)
        return mg.sigmoid(x).clamp(min=limits.tiny, max=1.0 - limits.eps)

    def _inverse(self, y: mg.Tensor) -> mg.Tensor:
        limits = mg.finfo(y.dtype)
        y = y.clamp(min=limits.tiny, max=1.0 - limits.eps)
        return y.log() - (-y).log1p()

    def log_abs_det_jacobian(self, x: mg.Tensor, y: mg.Tensor) -> mg.Tensor:
        return -softplus(-x) - softplus(x)


class SoftplusTransform(_Stateless):
    """y = log(1 + exp(x)); the identity for x > 20."""

    domain = constraints.real
    codomain = constraints.positive
    bijective = True
    sign = +1

    def _call(self, x: mg.Tensor) -> mg.Tensor:
        return softplus(x)

    def _inverse(self, y: mg.Tensor) -> mg.Tensor:
        return (-y).expm1().neg().log() + y

    def log_abs_det_jacobian(self, x: mg.Tensor, y: mg.Tensor) -> mg.Tensor:
        return -softplus(-x)


class TanhTransform(_Stateless):
    """y = tanh(x). Give it a cache where y is near ±1: atanh cannot find x back."""

    domain = constraints.real
    codomain = constraints.interval(-1.0, 1.0)
    bijective = True
    sign = +1

    def _call(self, x: mg.Tensor) -> mg.Tensor:
        return x.tanh()

    def _inverse(self, y: mg.Tensor) -> mg.Tensor:
        return mg.atanh(y)

    def log_abs_det_jacobian(self, x: mg.Tensor, y: mg.Tensor) -> mg.Tensor:
        return 2.0 * (math.log(2.0) - x - softplus(-2.0 * x))  # log(1 - tanh^2) without cancellation


class AbsTransform(_Stateless):
    """y = |x|; the inverse takes the positive one."""

    domain = constraints.real
    codomain = constraints.positive

    def _call(self, x: mg.Tensor) -> mg.Tensor:
        return x.abs()

    def _inverse(self, y: mg.Tensor) -> mg.Tensor:
        return y


class AffineTransform(Transform):
    """y = loc + scale * x.

    Args:
        loc, scale: tensors or numbers.
        event_dim: how many rightmost dimensions make one event.
    """

    bijective = True

    def __init__(self, loc: Any, scale: Any, event_dim: int = 0, cache_size: int = 0) -> None:
        super().__init__(cache_size=cache_size)
        self.loc, self.scale, self._event_dim = loc, scale, event_dim

    @property
    def event_dim(self) -> int:
        return self._event_dim

    @constraints.dependent_property(is_discrete=False)
    def domain(self) -> constraints.Constraint:
        return constraints.independent(constraints.real, self._event_dim) if self._event_dim else constraints.real

    @constraints.dependent_property(is_discrete=False)
    def codomain(self) -> constraints.Constraint:
        return constraints.independent(constraints.real, self._event_dim) if self._event_dim else constraints.real

    def with_cache(self, cache_size: int = 1) -> Transform:
        return self if self._cache_size == cache_size else AffineTransform(self.loc, self.scale, self._event_dim, cache_size=cache_size)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AffineTransform):
            return False
        pairs = ((self.loc, other.loc), (self.scale, other.scale))
        return all(bool((mg.as_tensor(a) == mg.as_tensor(b)).all()) for a, b in pairs)

    __hash__ = Transform.__hash__

    @property
    def sign(self) -> Any:
        if isinstance(self.scale, mg.Tensor):
            return self.scale.sign()
        return 1 if float(self.scale) > 0 else -1 if float(self.scale) < 0 else 0

    def _call(self, x: mg.Tensor) -> mg.Tensor:
        return self.loc + self.scale * x

    def _inverse(self, y: mg.Tensor) -> mg.Tensor:
        return (y - self.loc) / self.scale

    def log_abs_det_jacobian(self, x: mg.Tensor, y: mg.Tensor) -> mg.Tensor:
        log_scale = self.scale.abs().log() if isinstance(self.scale, mg.Tensor) else mg.full_like(x, math.log(abs(self.scale)))
        shape = tuple(x.shape)
        if self._event_dim:
            log_scale = _sum_rightmost(log_scale.expand(mg.broadcast_shapes(shape, tuple(log_scale.shape))), self._event_dim)
            shape = shape[: len(shape) - self._event_dim]
        return log_scale.expand(shape)

    def _shape(self, shape: Any) -> Any:
        return mg.broadcast_shapes(shape, *(tuple(p.shape) for p in (self.loc, self.scale) if isinstance(p, mg.Tensor)))

    forward_shape = inverse_shape = _shape


from minigrad.distributions._combining_transforms import (  # noqa: E402  they need Transform
    CatTransform,
    ComposeTransform,
    CumulativeDistributionTransform,
    IndependentTransform,
    ReshapeTransform,
    StackTransform,
)
from minigrad.distributions._vector_transforms import (  # noqa: E402
    CorrCholeskyTransform,
    LowerCholeskyTransform,
    PositiveDefiniteTransform,
    SoftmaxTransform,
    StickBreakingTransform,
)

identity_transform = ComposeTransform([])
