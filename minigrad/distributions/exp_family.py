"""`ExponentialFamily`: distributions with density exp(<t(x), theta> - F(theta) + k(x))."""

from __future__ import annotations

import minigrad as mg
from minigrad.distributions.distribution import Distribution

__all__ = ["ExponentialFamily"]


class ExponentialFamily(Distribution):
    """Base of the exponential families; entropy and KL divergence follow from the log normaliser F and its gradient.

    Source: Nielsen and Nock, "Entropies and cross-entropies of exponential families", ICIP 2010.
    """

    @property
    def _natural_params(self) -> tuple[mg.Tensor, ...]:
        """theta."""
        raise NotImplementedError

    def _log_normalizer(self, *natural_params: mg.Tensor) -> mg.Tensor:
        """F(theta)."""
        raise NotImplementedError

    @property
    def _mean_carrier_measure(self) -> float:
        """Mean of k(x)."""
        raise NotImplementedError

    def entropy(self) -> mg.Tensor:
        """F(theta) - <theta, grad F(theta)> - E k(x)."""
        theta = [p.detach().requires_grad_() for p in self._natural_params]
        with mg.enable_grad():
            log_normalizer = self._log_normalizer(*theta)
            gradients = mg.autograd.grad(log_normalizer.sum(), theta, create_graph=True)
        result = log_normalizer - self._mean_carrier_measure
        for p, g in zip(theta, gradients):
            result = result - (p * g).reshape(tuple(self._batch_shape) + (-1,)).sum(-1)
        return result
