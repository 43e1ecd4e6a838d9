"""`Distribution`, the base of all: shapes, validation of parameters and values, the methods that every distribution has."""

from __future__ import annotations

import warnings
from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions.utils import lazy_property

__all__ = ["Distribution"]


class Distribution:
    """A probability distribution with parameters of shape batch_shape and values of shape batch_shape + event_shape.

    Args:
        batch_shape: shape of independent, differently parametrised copies.
        event_shape: shape of one value.
        validate_args: check parameters here and values in log_prob and cdf; None takes the default (True unless Python runs with -O).
    Raises:
        ValueError for parameters outside of `arg_constraints`, when validated.
    """

    has_rsample = False
    has_enumerate_support = False
    _validate_args = __debug__

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Sets whether distributions made from now on check their arguments."""
        if value not in (True, False):
            raise ValueError(f"set_default_validate_args: expected a bool, got {value!r}")
        Distribution._validate_args = value

    def __init__(self, batch_shape: Any = mg.Size([]), event_shape: Any = mg.Size([]), validate_args: bool | None = None) -> None:
        self._batch_shape, self._event_shape = mg.Size(batch_shape), mg.Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if self._validate_args:
            self._validate_parameters()
        super().__init__()

    def _validate_parameters(self) -> None:
        try:
            wanted = self.arg_constraints
        except NotImplementedError:
            warnings.warn(
                f"{type(self)} does not define `arg_constraints`. Please set `arg_constraints = {{}}` or initialize the distribution "
                "with `validate_args=False` to turn off validation.",
                stacklevel=4,
            )
            return
        for name, constraint in wanted.items():
            if constraints.is_dependent(constraint):
                continue
            if name not in self.__dict__ and isinstance(getattr(type(self), name, None), lazy_property):
                continue  # the other parametrisation was given
            value = getattr(self, name)
            if not constraint.check(value).all():
                raise ValueError(
                    f"Expected parameter {name} ({type(value).__name__} of shape {tuple(value.shape)}) of distribution {self!r} to "
                    f"satisfy the constraint {constraint!r}, but found invalid values:\n{value}"
                )

    # --- what subclasses define
    def expand(self, batch_shape: Any, _instance: Any = None) -> Distribution:
        """The same distribution with parameters expanded to batch_shape (no memory is copied)."""
        raise NotImplementedError

    @property
    def batch_shape(self) -> mg.Size:
        """Shape over which parameters are batched."""
        return self._batch_shape

    @property
    def event_shape(self) -> mg.Size:
        """Shape of a single value."""
        return self._event_shape

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        """Constraint of each parameter by name."""
        raise NotImplementedError

    @property
    def support(self) -> constraints.Constraint | None:
        """The set of possible values."""
        raise NotImplementedError

    @property
    def mean(self) -> mg.Tensor:
        """Mean."""
        raise NotImplementedError

    @property
    def mode(self) -> mg.Tensor:
        """Most likely value."""
        raise NotImplementedError(f"{type(self)} does not implement mode")

    @property
    def variance(self) -> mg.Tensor:
        """Variance."""
        raise NotImplementedError

    @property
    def stddev(self) -> mg.Tensor:
        """Standard deviation: the square root of the variance."""
        return self.variance.sqrt()

    def sample(self, sample_shape: Any = mg.Size()) -> mg.Tensor:
        """Values of shape sample_shape + batch_shape + event_shape, without gradient."""
        with mg.no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = mg.Size()) -> mg.Tensor:
        """Reparameterised values: differentiable by the parameters (where has_rsample)."""
        raise NotImplementedError

    def sample_n(self, n: int) -> mg.Tensor:
        """n values; deprecated, use sample((n,))."""
        warnings.warn("sample_n will be deprecated. Use .sample((n,)) instead", UserWarning, stacklevel=2)
        return self.sample(mg.Size((n,)))

    def log_prob(self, value: mg.Tensor) -> mg.Tensor:
        """Logarithm of the density (or probability) at value."""
        raise NotImplementedError

    def cdf(self, value: mg.Tensor) -> mg.Tensor:
        """Probability of at most value."""
        raise NotImplementedError

    def icdf(self, value: mg.Tensor) -> mg.Tensor:
        """Quantile: the inverse of cdf."""
        raise NotImplementedError

    def enumerate_support(self, expand: bool = True) -> mg.Tensor:
        """All values along a new first dimension, expanded over the batch unless expand=False."""
        raise NotImplementedError

    def entropy(self) -> mg.Tensor:
        """Entropy in nats, of shape batch_shape."""
        raise NotImplementedError

    def perplexity(self) -> mg.Tensor:
        """exp of the entropy."""
        return mg.exp(self.entropy())

    # --- help for subclasses
    def _extended_shape(self, sample_shape: Any = mg.Size()) -> mg.Size:
        """sample_shape + batch_shape + event_shape."""
        return mg.Size(tuple(mg.Size(sample_shape)) + tuple(self._batch_shape) + tuple(self._event_shape))

    def _validate_sample(self, value: Any) -> None:
        """Raises ValueError for a value whose shape does not fit or that lies outside of the support."""
        if not isinstance(value, mg.Tensor):
            raise ValueError("The value argument to log_prob must be a Tensor")
        events = value.dim() - len(self._event_shape)
        if tuple(value.shape[max(events, 0) :]) != tuple(self._event_shape):
            raise ValueError(
                f"The right-most size of value must match event_shape: {value.size()} vs {self._event_shape}."
            )
        expected = mg.Size(tuple(self._batch_shape) + tuple(self._event_shape))
        for a, b in zip(reversed(value.shape), reversed(expected)):
            if a != 1 and b != 1 and a != b:
                raise ValueError(f"Value is not broadcastable with batch_shape+event_shape: {value.size()} vs {expected}.")
        try:
            support = self.support
        except NotImplementedError:
            warnings.warn(
                f"{type(self)} does not define `support` to enable sample validation. Please initialize the distribution with "
                "`validate_args=False` to turn off validation.",
                stacklevel=3,
            )
            return
        if not support.check(value).all():
            raise ValueError(
                f"Expected value argument ({type(value).__name__} of shape {tuple(value.shape)}) to be within the support ({support!r}) "
                f"of the distribution {self!r}, but found invalid values:\n{value}"
            )

    def _get_checked_instance(self, cls: type, _instance: Any = None) -> Any:
        """An empty instance for `expand` to fill; subclasses with another __init__ must bring their own expand."""
        if _instance is None and type(self).__init__ != cls.__init__:
            raise NotImplementedError(
                f"Subclass {type(self).__name__} of {cls.__name__} that defines a custom __init__ method must also define a custom "
                ".expand() method."
            )
        return self.__new__(type(self)) if _instance is None else _instance

    def _expand_parameters(self, cls: type, batch_shape: Any, _instance: Any, names: tuple[str, ...]) -> Any:
        """`expand` of a distribution that consists of the named tensors (those of them that it has)."""
        new = self._get_checked_instance(cls, _instance)
        batch_shape = mg.Size(batch_shape)
        for name, value in list(self.__dict__.items()):  # in the order in which they were given
            if name in names:
                new.__dict__[name] = value.expand(tuple(batch_shape) + tuple(value.shape[len(self._batch_shape) :]))
        Distribution.__init__(new, batch_shape, self._event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def __repr__(self) -> str:
        shown = []
        for name in self.arg_constraints:
            if name in self.__dict__:
                value = self.__dict__[name]
                shown.append(f"{name}: {value.item() if value.numel() == 1 else value.size()}")
        return f"{type(self).__name__}({', '.join(shown)})"
