"""Samplers: which indices a DataLoader visits, and in which order."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import minigrad as mg

T_co = TypeVar("T_co", covariant=True)


class Sampler(Generic[T_co]):
    """Base class: subclasses define `__iter__` over indices (or lists of them)."""

    def __init__(self, data_source: Any = None) -> None:
        """Programs written for older PyTorch pass the data source up."""

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError


class SequentialSampler(Sampler[int]):
    """0, 1, 2, …"""

    def __init__(self, data_source: Any) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


def device_of(generator: Any) -> Any:
    """Where a generator draws; None is the CPU's, whatever the default device: an order is a list of Python numbers in the end."""
    return "cpu" if generator is None else generator.device


def _fresh_generator(generator: Any) -> Any:
    """The given generator, or a new one seeded from the global one: the order then follows `mg.manual_seed`."""
    if generator is not None:
        return generator
    made = mg.Generator()
    made.manual_seed(int(mg.empty((), dtype=mg.int64, device="cpu").random_().item()))
    return made


class RandomSampler(Sampler[int]):
    """A random order without repetition, or draws with `replacement`.

    Args:
        data_source: a sized dataset.
        replacement: draw independently.
        num_samples: how many to draw; len(data_source) by default.
        generator: source of the order.
    """

    def __init__(
        self, data_source: Any, replacement: bool = False, num_samples: int | None = None, generator: Any = None
    ) -> None:
        if not isinstance(replacement, bool):
            raise TypeError(f"replacement should be a boolean value, but got replacement={replacement}")
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = generator
        if not isinstance(self.num_samples, int) or self.num_samples <= 0:
            raise ValueError(f"num_samples should be a positive integer value, but got num_samples={self.num_samples}")

    @property
    def num_samples(self) -> int:
        """How many indices one pass yields."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        size = len(self.data_source)
        generator = _fresh_generator(self.generator)
        if self.replacement:
            yield from mg.randint(0, size, (self.num_samples,), generator=generator, device=device_of(generator)).tolist()
            return
        if size == 0:
            return
        for start in range(0, self.num_samples, size):
            order = mg.randperm(size, generator=generator, device=device_of(generator)).tolist()
            yield from order[: self.num_samples - start]

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler[int]):
    """The given indices in random order."""

    def __init__(self, indices: Sequence[int], generator: Any = None) -> None:
        self.indices = indices
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        for i in mg.randperm(len(self.indices), generator=self.generator, device=device_of(self.generator)).tolist():
            yield self.indices[i]

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """Draws index i with probability weights[i] / sum(weights).

    Args:
        weights: non-negative, one per sample.
        num_samples: how many to draw.
        replacement: draw independently; otherwise no index comes twice.
        generator: source of the draws.
    """

    def __init__(
        self, weights: Sequence[float], num_samples: int, replacement: bool = True, generator: Any = None
    ) -> None:
        if not isinstance(num_samples, int) or isinstance(num_samples, bool) or num_samples <= 0:
            raise ValueError(f"num_samples should be a positive integer value, but got num_samples={num_samples}")
        if not isinstance(replacement, bool):
            raise ValueError(f"replacement should be a boolean value, but got replacement={replacement}")
        self.weights = mg.as_tensor(weights, dtype=mg.float64, device=None if isinstance(weights, mg.Tensor) else device_of(generator))
        if self.weights.dim() != 1:
            raise ValueError(
                f"weights should be a 1d sequence but given weights have shape {tuple(self.weights.shape)}"
            )
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        picked = mg.multinomial(self.weights, self.num_samples, self.replacement, generator=self.generator)
        yield from picked.tolist()

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """Groups the indices of `sampler` into lists of `batch_size`; the last may be shorter unless `drop_last`."""

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool) -> None:
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size <= 0:
            raise ValueError(f"batch_size should be a positive integer value, but got batch_size={batch_size}")
        if not isinstance(drop_last, bool):
            raise ValueError(f"drop_last should be a boolean value, but got drop_last={drop_last}")
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[int]]:
        indices = iter(self.sampler)
        while batch := list(itertools.islice(indices, self.batch_size)):
            if self.drop_last and len(batch) < self.batch_size:
                return
            yield batch

    def __len__(self) -> int:
        full, rest = divmod(len(self.sampler), self.batch_size)
        return full + (1 if rest and not self.drop_last else 0)
