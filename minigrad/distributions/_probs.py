"""What the distributions given by probabilities or by logits share."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.distributions.utils import broadcast_all, lazy_property, logits_to_probs, probs_to_logits


def check_one_of(probs: Any, logits: Any) -> None:
    """ValueError unless exactly one is given."""
    if (probs is None) == (logits is None):
        raise ValueError("Either `probs` or `logits` must be specified, but not both.")


class ProbsOrLogits:
    """Has `probs` or `logits`; the other one is computed at the first use. `_binary`: elementwise, else along the last dimension."""

    _binary = True
    _event_size_in_parameter = 0  # trailing dimensions of the parameter that are no batch

    def _take(self, probs: Any, logits: Any) -> bool:
        """Stores the parameter given (binary case); True when all are numbers."""
        check_one_of(probs, logits)
        name, value = ("probs", probs) if logits is None else ("logits", logits)
        (self.__dict__[name],) = broadcast_all(value)
        return not isinstance(value, mg.Tensor)

    @property
    def _param(self) -> mg.Tensor:
        return self.__dict__["probs"] if "probs" in self.__dict__ and not self._from_logits else self.__dict__["logits"]

    @property
    def _from_logits(self) -> bool:
        return next(name for name in self.__dict__ if name in ("probs", "logits")) == "logits"

    @lazy_property
    def logits(self) -> mg.Tensor:
        """Log odds, or log probabilities."""
        return probs_to_logits(self.probs, is_binary=self._binary)

    @lazy_property
    def probs(self) -> mg.Tensor:
        """Probabilities."""
        return logits_to_probs(self.logits, is_binary=self._binary)

    @property
    def param_shape(self) -> mg.Size:
        """Shape of the parameter."""
        return self._param.size()

    def _new(self, *args: Any, **kwargs: Any) -> mg.Tensor:
        return self._param.new(*args, **kwargs)
