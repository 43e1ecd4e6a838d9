"""Sets of allowed values: `constraint.check(value)` says which are inside.

Every constraint has `is_discrete` and `event_dim` (how many rightmost dimensions one value has; `check` returns a bool tensor without
them). The ones without arguments are instances (`real`, `positive`, `simplex` …), the others classes with lower-case names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import minigrad as mg

__all__ = [
    "Constraint", "boolean", "cat", "corr_cholesky", "dependent", "dependent_property", "greater_than", "greater_than_eq", "independent",
    "integer_interval", "interval", "half_open_interval", "is_dependent", "less_than", "lower_cholesky", "lower_triangular",
    "MixtureSameFamilyConstraint", "multinomial", "nonnegative", "nonnegative_integer", "one_hot", "positive", "positive_semidefinite",
    "positive_definite", "positive_integer", "real", "real_vector", "simplex", "square", "stack", "symmetric", "unit_interval",
]  # fmt: skip


class Constraint:
    """Base of all: a region of values."""

    is_discrete: Any = False
    event_dim: Any = 0

    def check(self, value: mg.Tensor) -> mg.Tensor:
        """Bool tensor of sample_shape + batch_shape: whether each event is inside."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return type(self).__name__.removeprefix("_") + "()"


def _all_rightmost(inside: mg.Tensor, count: int) -> mg.Tensor:
    return inside.reshape(inside.shape[: inside.dim() - count] + (-1,)).all(-1)


class _Dependent(Constraint):
    """Depends on other parameters or on the instance; cannot be checked on its own."""

    def __init__(self, *, is_discrete: Any = NotImplemented, event_dim: Any = NotImplemented) -> None:
        self._is_discrete, self._event_dim = is_discrete, event_dim
        super().__init__()

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]
        if self._is_discrete is NotImplemented:
            raise NotImplementedError(".is_discrete cannot be determined statically")
        return self._is_discrete

    @property
    def event_dim(self) -> int:  # type: ignore[override]
        if self._event_dim is NotImplemented:
            raise NotImplementedError(".event_dim cannot be determined statically")
        return self._event_dim

    def __call__(self, *, is_discrete: Any = NotImplemented, event_dim: Any = NotImplemented) -> _Dependent:
        return _Dependent(
            is_discrete=self._is_discrete if is_discrete is NotImplemented else is_discrete,
            event_dim=self._event_dim if event_dim is NotImplemented else event_dim,
        )

    def check(self, x: mg.Tensor) -> mg.Tensor:
        raise ValueError("Cannot determine validity of dependent constraint")


def is_dependent(constraint: Any) -> bool:
    """Whether the constraint depends on other parameters."""
    return isinstance(constraint, _Dependent)


class _DependentProperty(property, _Dependent):
    """A property that returns a constraint; on the class it stands for an unknown one.

        @constraints.dependent_property(is_discrete=False, event_dim=0)
        def support(self): ...
    """

    def __init__(self, fn: Callable | None = None, *, is_discrete: Any = NotImplemented, event_dim: Any = NotImplemented) -> None:
        super().__init__(fn)
        self._is_discrete, self._event_dim = is_discrete, event_dim

    def __call__(self, fn: Callable) -> _DependentProperty:  # type: ignore[override]
        return _DependentProperty(fn, is_discrete=self._is_discrete, event_dim=self._event_dim)


class _IndependentConstraint(Constraint):
    """A constraint whose last batch dimensions count as part of one event."""

    def __init__(self, base_constraint: Constraint, reinterpreted_batch_ndims: int) -> None:
        if not isinstance(base_constraint, Constraint) or not isinstance(reinterpreted_batch_ndims, int) or reinterpreted_batch_ndims < 0:
            raise AssertionError(f"independent: expected a Constraint and a count, got {base_constraint!r}, {reinterpreted_batch_ndims!r}")
        self.base_constraint, self.reinterpreted_batch_ndims = base_constraint, reinterpreted_batch_ndims
        super().__init__()

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]
        return self.base_constraint.is_discrete

    @property
    def event_dim(self) -> int:  # type: ignore[override]
        return self.base_constraint.event_dim + self.reinterpreted_batch_ndims

    def check(self, value: mg.Tensor) -> mg.Tensor:
        inside = self.base_constraint.check(value)
        if inside.dim() < self.reinterpreted_batch_ndims:
            raise ValueError(f"Expected value.dim() >= {self.event_dim} but got {value.dim()}")
        return _all_rightmost(inside, self.reinterpreted_batch_ndims)

    def __repr__(self) -> str:
        return f"IndependentConstraint({self.base_constraint!r}, {self.reinterpreted_batch_ndims})"


class MixtureSameFamilyConstraint(Constraint):
    """Support of a mixture: a value must lie in the support of every component.

    Args:
        base_constraint: support of the component distribution.
    """

    def __init__(self, base_constraint: Constraint) -> None:
        if not isinstance(base_constraint, Constraint):
            raise AssertionError(f"MixtureSameFamilyConstraint: expected a Constraint, got {base_constraint!r}")
        self.base_constraint = base_constraint
        super().__init__()

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]
        return self.base_constraint.is_discrete

    @property
    def event_dim(self) -> int:  # type: ignore[override]
        return self.base_constraint.event_dim

    def check(self, value: mg.Tensor) -> mg.Tensor:
        if value.dim() < self.event_dim:
            raise ValueError(f"Expected value.dim() >= {self.event_dim} but got {value.dim()}")
        inside = self.base_constraint.check(value.unsqueeze(-1 - self.event_dim))
        keep = value.dim() - self.event_dim
        return inside.reshape(inside.shape[:keep] + (-1,)).all(-1)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_constraint!r})"


class _Boolean(Constraint):
    is_discrete = True

    def check(self, value: mg.Tensor) -> mg.Tensor:
        return (value == 0) | (value == 1)


class _OneHot(Constraint):
    is_discrete = True
    event_dim = 1

    def check(self, value: mg.Tensor) -> mg.Tensor:
        return ((value == 0) | (value == 1)).all(-1) & (value.sum(-1) == 1)


def _whole(value: mg.Tensor) -> mg.Tensor:
    return value % 1 == 0


class _Bounded(Constraint):
    """Bounds by name, shown in the repr."""

    _bounds: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__.removeprefix('_')}({', '.join(f'{name}={getattr(self, name)}' for name in self._bounds)})"


class _Above(_Bounded):
    _bounds = ("lower_bound",)

    def __init__(self, lower_bound: Any) -> None:
        self.lower_bound = lower_bound
        super().__init__()


class _Below(_Bounded):
    _bounds = ("upper_bound",)

    def __init__(self, upper_bound: Any) -> None:
        self.upper_bound = upper_bound
        super().__init__()


class _Between(_Bounded):
    _bounds = ("lower_bound", "upper_bound")

    def __init__(self, lower_bound: Any, upper_bound: Any) -> None:
        self.lower_bound, self.upper_bound = lower_bound, upper_bound
        super().__init__()


class _IntegerInterval(_Between):
    is_discrete = True

    def check(self, value: mg.Tensor) -> mg.Tensor:
        return _whole(value) & (value >= self.lower_bound) & (value <= self.upper_bound)


class _IntegerLessThan(_Below):
    is_discrete = True

    def check(self, value: mg.Tensor) -> mg.Tensor:
        return _whole(value) & (value <= self.upper_bound)


class _IntegerGreaterThan(_Above):
    is_discrete = True

    def check(self, value: mg.Tensor) -> mg.Tensor:
        return _whole(value) & (value >= self.lower_bound)


class _Real(Constraint):
    def check(self, value: mg.Tensor) -> mg.Tensor:
        return value == value  # false for NaN


class _GreaterThan(_Above):
    def check(self, value: mg.Tensor) -> mg.Tensor:
        return value > self.lower_bound


class _GreaterThanEq(_Above):
    def check(self, value: mg.Tensor) -> mg.Tensor:
        return value >= self.lower_bound


class _LessThan(_Below):
    def check(self, value: mg.Tensor) -> mg.Tensor:
        return value < self.upper_bound


class _Interval(_Between):
    def check(self, value: mg.Tensor) -> mg.Tensor:
        return (value >= self.lower_bound) & (value <= self.upper_bound)


class _HalfOpenInterval(_Between):
    def check(self, value: mg.Tensor) -> mg.Tensor:
        return (value >= self.lower_bound) & (value < self.upper_bound)


class _Simplex(Constraint):
    event_dim = 1

    def check(self, value: mg.Tensor) -> mg.Tensor:
        return (value >= 0).all(-1) & ((value.sum(-1) - 1).abs() < 1e-6)


class _Multinomial(Constraint):
    is_discrete = True
    event_dim = 1

    def __init__(self, upper_bound: Any) -> None:
        self.upper_bound = upper_bound

    def check(self, x: mg.Tensor) -> mg.Tensor:
        return (x >= 0).all(-1) & (x.sum(-1) <= self.upper_bound)


def _all_entries(inside: mg.Tensor) -> mg.Tensor:
    return inside.flatten(-2).all(-1)


class _LowerTriangular(Constraint):
    event_dim = 2

    def check(self, value: mg.Tensor) -> mg.Tensor:
        return _all_entries(value.tril() == value)


class _LowerCholesky(Constraint):
    event_dim = 2

    def check(self, value: mg.Tensor) -> mg.Tensor:
        return _all_entries(value.tril() == value) & (value.diagonal(dim1=-2, dim2=-1) > 0).all(-1)


class _CorrCholesky(Constraint):
    event_dim = 2

    def check(self, value: mg.Tensor) -> mg.Tensor:
        tolerance = mg.finfo(value.dtype).eps * value.size(-1) * 10  # 10 is an adjustable fudge factor
        unit_rows = ((value.detach() ** 2).sum(-1).sqrt() - 1).abs() <= tolerance
        return _LowerCholesky().check(value) & unit_rows.all(-1)


class _Square(Constraint):
    event_dim = 2

    def check(self, value: mg.Tensor) -> mg.Tensor:
        return mg.full(value.shape[:-2], value.shape[-2] == value.shape[-1], dtype=mg.bool, device=value.device)


class _Symmetric(_Square):
    def check(self, value: mg.Tensor) -> mg.Tensor:
        if value.shape[-2] != value.shape[-1]:
            return super().check(value)
        return _all_entries(mg.isclose(value, value.mT, atol=1e-6))


class _PositiveSemidefinite(_Symmetric):
    def check(self, value: mg.Tensor) -> mg.Tensor:
        symmetric = super().check(value)
        return mg.linalg.eigvalsh(value).ge(0).all(-1) if symmetric.all() else symmetric


class _PositiveDefinite(_Symmetric):
    def check(self, value: mg.Tensor) -> mg.Tensor:
        symmetric = super().check(value)
        return mg.linalg.cholesky_ex(value).info.eq(0) if symmetric.all() else symmetric


class _Pieces(Constraint):
    """Base of `cat` and `stack`: several constraints along one dimension."""

    def __init__(self, cseq: Sequence[Constraint], dim: int = 0) -> None:
        if not all(isinstance(c, Constraint) for c in cseq):
            raise AssertionError("All elements of cseq must be Constraint instances")
        self.cseq, self.dim = list(cseq), dim
        super().__init__()

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]
        return any(c.is_discrete for c in self.cseq)

    @property
    def event_dim(self) -> int:  # type: ignore[override]
        dims = max(c.event_dim for c in self.cseq)
        return dims + 1 if isinstance(self, _Stack) and self.dim + dims < 0 else dims


class _Cat(_Pieces):
    """Constraints on consecutive pieces (of `lengths`) along a dimension."""

    def __init__(self, cseq: Sequence[Constraint], dim: int = 0, lengths: Sequence[int] | None = None) -> None:
        super().__init__(cseq, dim)
        self.lengths = [1] * len(self.cseq) if lengths is None else list(lengths)
        if len(self.lengths) != len(self.cseq):
            raise AssertionError(f"cat: {len(self.lengths)} lengths for {len(self.cseq)} constraints")

    def check(self, value: mg.Tensor) -> mg.Tensor:
        parts = mg.split(value, self.lengths, dim=self.dim)
        return mg.cat([c.check(part) for c, part in zip(self.cseq, parts)], self.dim)


class _Stack(_Pieces):
    """One constraint per slice along a dimension."""

    def check(self, value: mg.Tensor) -> mg.Tensor:
        if value.size(self.dim) != len(self.cseq):
            raise AssertionError(f"stack: size {value.size(self.dim)} along dim {self.dim} for {len(self.cseq)} constraints")
        return mg.stack([c.check(value.select(self.dim, k)) for k, c in enumerate(self.cseq)], self.dim)


dependent = _Dependent()
dependent_property = _DependentProperty
independent = _IndependentConstraint
boolean = _Boolean()
one_hot = _OneHot()
nonnegative_integer = _IntegerGreaterThan(0)
positive_integer = _IntegerGreaterThan(1)
integer_interval = _IntegerInterval
real = _Real()
real_vector = independent(real, 1)
positive = _GreaterThan(0.0)
nonnegative = _GreaterThanEq(0.0)
greater_than = _GreaterThan
greater_than_eq = _GreaterThanEq
less_than = _LessThan
multinomial = _Multinomial
unit_interval = _Interval(0.0, 1.0)
interval = _Interval
half_open_interval = _HalfOpenInterval
simplex = _Simplex()
lower_triangular = _LowerTriangular()
lower_cholesky = _LowerCholesky()
corr_cholesky = _CorrCholesky()
square = _Square()
symmetric = _Symmetric()
positive_semidefinite = _PositiveSemidefinite()
positive_definite = _PositiveDefinite()
cat = _Cat
stack = _Stack
