"""DistributedSampler: every process of a group gets its own part of the dataset."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, TypeVar

import minigrad as mg

from .sampler import Sampler

__all__ = ["DistributedSampler"]

T_co = TypeVar("T_co", covariant=True)


class DistributedSampler(Sampler[T_co]):
    """The indices of one of several processes: number `rank`, `rank + num_replicas`, … of an order all of them share.

    Args:
        dataset: a sized dataset.
        num_replicas, rank: how many processes there are, and which this is; None asks `minigrad.distributed`.
        shuffle: a new order for every `set_epoch`.
        seed: of the order; the same in all processes.
        drop_last: leave out the tail that does not divide evenly; otherwise the first indices come again to fill it.

    Raises:
        ValueError: a rank outside the group.
        RuntimeError: no group given and none there.

    Source: torch.utils.data.distributed.DistributedSampler.
    """

    def __init__(
        self,
        dataset: Any,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        if num_replicas is None or rank is None:
            distributed = getattr(mg, "distributed", None)
            if distributed is None or not distributed.is_available():
                raise RuntimeError("Requires distributed package to be available")
            num_replicas = distributed.get_world_size() if num_replicas is None else num_replicas
            rank = distributed.get_rank() if rank is None else rank
        if rank >= num_replicas or rank < 0:
            raise ValueError(f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]")
        self.dataset = dataset
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self.drop_last = drop_last
        size = len(dataset)
        self.num_samples = size // num_replicas if drop_last else math.ceil(size / num_replicas)
        self.total_size = self.num_samples * num_replicas
        self.shuffle = shuffle
        self.seed = seed

    def __iter__(self) -> Iterator[T_co]:
        size = len(self.dataset)
        if self.shuffle:
            generator = mg.Generator()
            generator.manual_seed(self.seed + self.epoch)
            order = mg.randperm(size, generator=generator, device="cpu").tolist()
        else:
            order = list(range(size))
        if self.drop_last:
            order = order[: self.total_size]
        elif size:
            order = (order * math.ceil(self.total_size / size))[: self.total_size]
        return iter(order[self.rank : self.total_size : self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass: call it before each, with the same number in all processes."""
        self.epoch = epoch
