"""AdaptiveLogSoftmaxWithLoss (Grave et al., Efficient softmax approximation for GPUs, arXiv 1609.04309).

Shapes: N samples, I features. Frequent classes sit in the head; rarer ones in clusters whose scores come from narrower
projections, and which the head sees as one class each.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from typing import Any

import minigrad as mg

from .. import functional as F
from .container import ModuleList, Sequential
from .linear import Linear
from .module import Module

__all__ = ["AdaptiveLogSoftmaxWithLoss"]
_ASMoutput = namedtuple("_ASMoutput", ["output", "loss"])


class AdaptiveLogSoftmaxWithLoss(Module):
    """Log-softmax over many classes that spends most of its work on the frequent ones; labels are sorted by frequency.

    Args:
        in_features: I.
        n_classes: number of classes.
        cutoffs: first labels of the clusters, increasing, in [1, n_classes - 1].
        div_value: each cluster's projection is this much narrower than the one before.
        head_bias: learn a bias in the head.

    Example:
        >>> loss = mg.nn.AdaptiveLogSoftmaxWithLoss(8, 20, [4, 10])
        >>> loss(mg.zeros(3, 8), mg.tensor([0, 5, 19])).output.shape
        minigrad.Size([3])
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        cutoffs = list(cutoffs)
        if not cutoffs:
            raise ValueError("cutoffs should be a sequence of length larger than 0")
        if cutoffs != sorted(set(cutoffs)) or min(cutoffs) <= 0 or max(cutoffs) > n_classes - 1 or any(int(c) != c for c in cutoffs):
            raise ValueError(
                "cutoffs should be a sequence of unique, positive integers sorted in an increasing order, where each value "
                "is between 1 and n_classes-1"
            )
        made = {"device": device, "dtype": dtype}
        self.in_features = in_features
        self.n_classes = n_classes
        self.cutoffs = [*cutoffs, n_classes]
        self.div_value = div_value
        self.head_bias = head_bias
        self.shortlist_size = self.cutoffs[0]
        self.n_clusters = len(self.cutoffs) - 1
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, bias=head_bias, **made)
        self.tail = ModuleList()
        for i in range(self.n_clusters):
            width = int(in_features // div_value ** (i + 1))
            size = self.cutoffs[i + 1] - self.cutoffs[i]
            self.tail.append(Sequential(Linear(in_features, width, bias=False, **made), Linear(width, size, bias=False, **made)))

    def reset_parameters(self) -> None:
        """Draw fresh initial values."""
        self.head.reset_parameters()
        for first, second in self.tail:
            first.reset_parameters()
            second.reset_parameters()

    def forward(self, input_: mg.Tensor, target_: mg.Tensor) -> _ASMoutput:
        """Log probability of each target (N) and the mean loss.

        Args:
            input_: (N, I) or (I).
            target_: (N) or () int64 labels.
        """
        if input_.dim() == 2:
            if target_.dim() != 1 or input_.size(0) != target_.size(0):
                raise RuntimeError("Input and target should have the same size in the batch dimension.")
        elif input_.dim() == 1:
            if target_.dim() != 0:
                raise RuntimeError("Input and target should have the same size in the batch dimension.")
        if target_.dim() > 1:
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
        batched = target_.dim() > 0
        input, target = (input_, target_) if batched else (input_.unsqueeze(0), target_.unsqueeze(0))
        if target.numel() and (int(target.min()) < 0 or int(target.max()) >= self.n_classes):
            raise RuntimeError(
                f"Target values should be in [0, {self.n_classes - 1}], but values in range [{int(target.min())}, "
                f"{int(target.max())}] were found. "
            )
        head = F.log_softmax(self.head(input), dim=1)
        place, pieces, rows = target, [], []
        for i, cluster in enumerate(self.tail):
            low, high = self.cutoffs[i], self.cutoffs[i + 1]
            inside = ((target >= low) & (target < high)).nonzero().squeeze(1)
            if inside.numel():
                local = F.log_softmax(cluster(input.index_select(0, inside)), dim=1)
                rows.append(inside)
                pieces.append(local.gather(1, (target.index_select(0, inside) - low).unsqueeze(1)).squeeze(1))
                place = place.index_fill(0, inside, self.shortlist_size + i)
        output = head.gather(1, place.unsqueeze(1)).squeeze(1)
        if rows:
            output = output.index_add(0, mg.cat(rows), mg.cat(pieces))
        loss = (-output).mean()
        return _ASMoutput(output if batched else output.squeeze(0), loss)

    def _get_full_log_prob(self, input: mg.Tensor, head_output: mg.Tensor) -> mg.Tensor:
        head = F.log_softmax(head_output, dim=1)
        parts = [head[:, : self.shortlist_size]]
        for i, cluster in enumerate(self.tail):
            parts.append(F.log_softmax(cluster(input), dim=1) + head[:, self.shortlist_size + i].unsqueeze(1))
        return mg.cat(parts, dim=1)

    def log_prob(self, input: mg.Tensor) -> mg.Tensor:
        """(N, n_classes) log probabilities of all classes for `input` (N, I)."""
        return self._get_full_log_prob(input, self.head(input))

    def predict(self, input: mg.Tensor) -> mg.Tensor:
        """(N) the most probable class for `input` (N, I), looking into the clusters only where the head says so."""
        head = self.head(input)
        output = head.argmax(dim=1)
        in_tail = output >= self.shortlist_size
        if not bool(in_tail.any()):
            return output
        rows = in_tail.nonzero().squeeze(1)
        full = self._get_full_log_prob(input.index_select(0, rows), head.index_select(0, rows))
        return output.index_copy(0, rows, full.argmax(dim=1))
