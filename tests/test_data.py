"""Datasets, samplers, collation and the DataLoader."""

from __future__ import annotations

from collections import Counter, namedtuple

import numpy as np
import pytest

import minigrad as mg
from minigrad.data import (
    BatchSampler,
    ChainDataset,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    StackDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    default_convert,
    random_split,
)


class Count(IterableDataset):
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        return iter(range(self.n))


def batches(loader):
    return [batch.tolist() for batch in loader]


def test_tensor_dataset_and_loader():
    x, y = mg.arange(10).reshape(5, 2), mg.arange(5)
    data = TensorDataset(x, y)
    assert len(data) == 5 and data[3][0].tolist() == [6, 7]
    out = [(a.tolist(), b.tolist()) for a, b in DataLoader(data, batch_size=2)]
    assert out == [([[0, 1], [2, 3]], [0, 1]), ([[4, 5], [6, 7]], [2, 3]), ([[8, 9]], [4])]
    loader = DataLoader(data, batch_size=2, drop_last=True)
    assert len(loader) == 2 == len(list(loader))
    with pytest.raises(AssertionError):
        TensorDataset(mg.zeros(2), mg.zeros(3))


def test_shuffle_is_a_seeded_permutation():
    data = list(range(50))

    def order(seed):
        generator = mg.Generator()
        generator.manual_seed(seed)
        loader = DataLoader(data, batch_size=7, shuffle=True, generator=generator)
        return [b for batch in batches(loader) for b in batch]

    assert sorted(order(0)) == data and order(0) != data
    assert order(0) == order(0) != order(1)
    mg.manual_seed(3)
    loader = DataLoader(data, batch_size=50, shuffle=True)
    first, second = batches(loader), batches(loader)
    assert first != second
    mg.manual_seed(3)
    assert batches(loader) == first


def test_dataset_combinations():
    data = ConcatDataset([list(range(3)), list(range(10, 12))])
    assert [data[i] for i in range(len(data))] == [0, 1, 2, 10, 11] and data[-1] == 11
    with pytest.raises(IndexError):
        data[5]
    with pytest.raises(ValueError):
        data[-6]
    assert [Subset(data, [4, 0])[i] for i in range(2)] == [11, 0]
    assert list(ChainDataset([Count(2), Count(3)])) == [0, 1, 0, 1, 2]
    assert StackDataset(a=[1, 2], b=[3, 4])[1] == {"a": 2, "b": 4} and StackDataset([1], [2])[0] == (1, 2)

    class Own(Dataset):
        def __init__(self, n):
            self.n = n

        def __len__(self):
            return self.n

        def __getitem__(self, i):
            return i * i

    both = Own(2) + Own(3)
    assert [both[i] for i in range(5)] == [0, 1, 0, 1, 4]
    with pytest.raises(NotImplementedError):
        Dataset()[0]


def test_random_split():
    data = list(range(11))
    parts = random_split(data, [4, 7], generator=mg.Generator().manual_seed(0))
    assert [len(p) for p in parts] == [4, 7]
    assert sorted(p[i] for p in parts for i in range(len(p))) == data
    assert [len(p) for p in random_split(data, [0.5, 0.25, 0.25])] == [6, 3, 2]
    with pytest.raises(ValueError):
        random_split(data, [4, 4])


def test_samplers():
    data = list(range(20))
    assert list(SequentialSampler(data)) == data
    assert sorted(RandomSampler(data)) == data and len(RandomSampler(data)) == 20
    assert len(list(RandomSampler(data, replacement=True, num_samples=33))) == 33
    drawn = list(RandomSampler(data, num_samples=45))
    assert len(drawn) == 45 and max(Counter(drawn).values()) == 3 and min(Counter(drawn).values()) == 2
    assert sorted(SubsetRandomSampler([5, 7, 9])) == [5, 7, 9]
    assert list(BatchSampler(SequentialSampler(range(5)), 2, False)) == [[0, 1], [2, 3], [4]]
    assert list(BatchSampler(SequentialSampler(range(5)), 2, True)) == [[0, 1], [2, 3]]
    assert len(BatchSampler(range(5), 2, False)) == 3 and len(BatchSampler(range(5), 2, True)) == 2
    mg.manual_seed(0)
    counts = Counter(WeightedRandomSampler([0.0, 1.0, 3.0], 4000))
    assert counts[0] == 0 and abs(counts[2] / 4000 - 0.75) < 0.04
    assert sorted(WeightedRandomSampler([1.0, 0.0, 3.0, 2.0], 3, replacement=False)) == [0, 2, 3]
    for make in (
        lambda: RandomSampler(data, replacement=1),
        lambda: BatchSampler(data, 0, False),
        lambda: WeightedRandomSampler([1.0], 0),
    ):
        with pytest.raises((TypeError, ValueError)):
            make()


def test_collate():
    Point = namedtuple("Point", ["x", "y"])
    out = default_collate([Point(1, mg.ones(2)), Point(2, mg.zeros(2))])
    assert out.x.tolist() == [1, 2] and tuple(out.y.shape) == (2, 2)
    out = default_collate([{"a": 1.5, "b": "s", "c": [1, 2]}, {"a": 2.5, "b": "t", "c": [3, 4]}])
    assert out["a"].dtype == mg.float64 and out["b"] == ["s", "t"]
    assert [c.tolist() for c in out["c"]] == [[1, 3], [2, 4]]
    out = default_collate([(np.float32(1), np.ones(2, dtype=np.int64))] * 3)
    assert isinstance(out, list) and out[0].dtype == mg.float32 and out[1].dtype == mg.int64
    assert default_collate([True, False]).dtype == mg.bool
    with pytest.raises(RuntimeError, match="equal size"):
        default_collate([[1, 2], [1]])
    with pytest.raises(TypeError):
        default_collate([object()])
    assert default_convert({"a": np.ones(2), "b": [np.zeros(1), "x"]})["b"][1] == "x"


def test_iterable_and_unbatched():
    assert batches(DataLoader(Count(5), batch_size=2)) == [[0, 1], [2, 3], [4]]
    assert batches(DataLoader(Count(5), batch_size=2, drop_last=True)) == [[0, 1], [2, 3]]
    assert batches(DataLoader(Count(4), batch_size=2)) == [[0, 1], [2, 3]]
    assert list(DataLoader(Count(3), batch_size=None)) == [0, 1, 2]
    assert list(DataLoader([4, 5], batch_size=None)) == [4, 5]
    assert batches(DataLoader(range(6), batch_sampler=[[0, 5], [3]])) == [[0, 5], [3]]
    assert batches(DataLoader(range(4), sampler=[3, 1], batch_size=2)) == [[3, 1]]
    assert list(DataLoader([1, 2, 3], batch_size=2, collate_fn=sum)) == [3, 3]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"num_workers": 2}, NotImplementedError),
        ({"num_workers": -1}, ValueError),
        ({"shuffle": True, "sampler": [0]}, ValueError),
        ({"batch_sampler": [[0]], "batch_size": 3}, ValueError),
        ({"batch_size": None, "drop_last": True}, ValueError),
        ({"batch_size": 0}, ValueError),
        ({"timeout": -1}, ValueError),
        ({"prefetch_factor": 2}, ValueError),
        ({"persistent_workers": True}, ValueError),
    ],
)
def test_loader_errors(options, error):
    with pytest.raises(error):
        DataLoader([1, 2, 3], **options)


def test_loader_is_fixed_after_construction():
    loader = DataLoader([1, 2, 3])
    with pytest.raises(ValueError):
        loader.batch_size = 5
    with pytest.raises(ValueError):
        DataLoader(Count(3), shuffle=True)


def test_torchs_import_path():
    from minigrad.utils.data.dataset import Subset as SameSubset

    from minigrad.utils.data import DataLoader as Same

    assert Same is DataLoader and SameSubset is Subset
