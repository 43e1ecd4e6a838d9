"""Mixtures of distributions of one family."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.distributions import constraints
from minigrad.distributions.categorical import Categorical
from minigrad.distributions.constraints import MixtureSameFamilyConstraint
from minigrad.distributions.distribution import Distribution

__all__ = ["MixtureSameFamily"]


class MixtureSameFamily(Distribution):
    """A component is chosen by mixture_distribution, the value is drawn from it.

    Args:
        mixture_distribution: Categorical over K components.
        component_distribution: its rightmost batch dimension is K.
    Raises:
        ValueError when the batch shapes do not fit.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    has_rsample = False

    def __init__(self, mixture_distribution: Categorical, component_distribution: Distribution, validate_args: bool | None = None) -> None:
        self._mixture_distribution, self._component_distribution = mixture_distribution, component_distribution
        if not isinstance(mixture_distribution, Categorical):
            raise ValueError(" The Mixture distribution needs to be an  instance of minigrad.distributions.Categorical")
        if not isinstance(component_distribution, Distribution):
            raise ValueError("The Component distribution need to be an instance of minigrad.distributions.Distribution")
        batch, batch_of_parts = mixture_distribution.batch_shape, component_distribution.batch_shape[:-1]
        for a, b in zip(reversed(batch), reversed(batch_of_parts)):
            if a != 1 and b != 1 and a != b:
                raise ValueError(
                    f"`mixture_distribution.batch_shape` ({tuple(batch)}) is not compatible with "
                    f"`component_distribution.batch_shape`({tuple(component_distribution.batch_shape)})"
                )
        components = mixture_distribution.logits.shape[-1]
        if not component_distribution.batch_shape or component_distribution.batch_shape[-1] != components:
            got = component_distribution.batch_shape[-1] if component_distribution.batch_shape else None
            raise ValueError(
                f"`mixture_distribution component` ({components}) does not equal `component_distribution.batch_shape[-1]` ({got})"
            )
        self._num_component = components
        self._event_ndims = len(component_distribution.event_shape)
        super().__init__(batch_of_parts, component_distribution.event_shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> MixtureSameFamily:
        batch_shape = mg.Size(batch_shape)
        new = self._get_checked_instance(MixtureSameFamily, _instance)
        new._component_distribution = self._component_distribution.expand(tuple(batch_shape) + (self._num_component,))
        new._mixture_distribution = self._mixture_distribution.expand(batch_shape)
        new._num_component, new._event_ndims = self._num_component, self._event_ndims
        super(MixtureSameFamily, new).__init__(batch_shape, new._component_distribution.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        return MixtureSameFamilyConstraint(self._component_distribution.support)

    @property
    def mixture_distribution(self) -> Categorical:
        return self._mixture_distribution

    @property
    def component_distribution(self) -> Distribution:
        return self._component_distribution

    @property
    def mean(self) -> mg.Tensor:
        return mg.sum(self._weights() * self.component_distribution.mean, dim=-1 - self._event_ndims)

    @property
    def variance(self) -> mg.Tensor:
        # within the components + between their means
        dim, weights = -1 - self._event_ndims, self._weights()
        within = mg.sum(weights * self.component_distribution.variance, dim=dim)
        between = mg.sum(weights * (self.component_distribution.mean - self._pad(self.mean)).pow(2.0), dim=dim)
        return within + between

    def cdf(self, x: mg.Tensor) -> mg.Tensor:
        return mg.sum(self.component_distribution.cdf(self._pad(x)) * self.mixture_distribution.probs, dim=-1)

    def log_prob(self, x: mg.Tensor) -> mg.Tensor:
        if self._validate_args:
            self._validate_sample(x)
        of_parts = self.component_distribution.log_prob(self._pad(x))
        return mg.logsumexp(of_parts + mg.log_softmax(self.mixture_distribution.logits, dim=-1), dim=-1)

    def sample(self, sample_shape: Any = mg.Size()) -> mg.Tensor:
        with mg.no_grad():
            events = (1,) * self._event_ndims
            drawn = self.component_distribution.sample(sample_shape)  # (*sample, *batch, K, *event)
            mixture = self.mixture_distribution
            chosen = (mixture if mixture.batch_shape == self.batch_shape else mixture.expand(self.batch_shape)).sample(sample_shape)
            dim = drawn.dim() - self._event_ndims - 1
            chosen = chosen.reshape(tuple(chosen.shape) + (1,) + events)
            chosen = chosen.expand(tuple(drawn.shape[:dim]) + (1,) + tuple(drawn.shape[dim + 1 :]))
            return mg.gather(drawn, dim, chosen).squeeze(dim)

    def _pad(self, x: mg.Tensor) -> mg.Tensor:
        return x.unsqueeze(-1 - self._event_ndims)

    def _weights(self) -> mg.Tensor:
        """Probabilities with a dimension of size 1 for each of the event's."""
        probs = self.mixture_distribution.probs
        return probs.reshape(tuple(probs.shape) + (1,) * self._event_ndims)

    def __repr__(self) -> str:
        return f"MixtureSameFamily(\n  {self.mixture_distribution},\n  {self.component_distribution})"
