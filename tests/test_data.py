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
    DistributedSampler,
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


class Bag:
    def __init__(self, n):
        self.n = n


def test_collate_table_is_open():
    from minigrad.data.collate import collate, default_collate_fn_map

    default_collate_fn_map[Bag] = lambda batch, *, collate_fn_map: [bag.n for bag in batch]
    try:
        assert default_collate([(Bag(1), 2), (Bag(3), 4)])[0] == [1, 3]
    finally:
        del default_collate_fn_map[Bag]
    with pytest.raises(TypeError):
        default_collate([Bag(1)])
    assert collate([1, 2], collate_fn_map={int: lambda batch, *, collate_fn_map: sum(batch)}) == 3


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("size", [1, 10, 23])
def test_distributed_sampler_covers_the_data(size, drop_last, shuffle):
    parts = [DistributedSampler(range(size), 4, rank, shuffle=shuffle, drop_last=drop_last) for rank in range(4)]
    seen = [list(part) for part in parts]
    assert all(len(indices) == len(part) for indices, part in zip(seen, parts, strict=True))
    counts = Counter(i for indices in seen for i in indices)
    assert max(counts.values(), default=0) <= (1 if drop_last else 4 if size == 1 else 2)
    assert len(counts) == (size // 4 * 4 if drop_last else size)
    if shuffle and size > 4:
        parts[0].set_epoch(1)
        assert list(parts[0]) != seen[0]
    with pytest.raises(ValueError):
        DistributedSampler(range(3), 2, 2)


def test_orders_and_batches_are_torchs():
    torch_data = pytest.importorskip("torch").utils.data
    own = {name: getattr(mg.data, name) for name in mg.data.__all__}
    samples = [(np.full(2, i), i, float(i), str(i), {"k": [i, i]}) for i in range(11)]

    def plain(value):
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(v) for v in value]
        return (str(value.dtype).split(".")[1], value.tolist()) if hasattr(value, "dtype") else value

    for options in ({"batch_size": 4}, {"batch_size": 4, "drop_last": True}, {"batch_size": None}, {"batch_sampler": [[3, 1], [2]]},
                    {"sampler": [5, 2, 9], "batch_size": 2}):  # fmt: skip
        ours, theirs = own["DataLoader"](samples, **options), torch_data.DataLoader(samples, **options)
        assert plain(list(ours)) == plain(list(theirs)) and len(ours) == len(theirs)
    for make in (
        lambda d: d["ConcatDataset"]([range(3), range(5, 7)])[-1],
        lambda d: [list(d["DistributedSampler"](range(10), 3, r, shuffle=False)) for r in range(3)],
        lambda d: list(d["BatchSampler"](d["SequentialSampler"](range(10)), 3, False)),
        lambda d: [len(part) for part in d["random_split"](range(10), [0.33, 0.33, 0.34])],
        lambda d: d["StackDataset"](a=range(3), b=range(3)).__getitems__([0, 2]),
        lambda d: d["Subset"](range(10), [4, 5]).__getitems__([1]),
    ):
        assert make(own) == make(vars(torch_data))


def test_stream_longer_than_it_said():
    class Long(Count):
        def __len__(self):
            return 2

    loader = DataLoader(Long(3), batch_size=None)
    assert len(loader) == 2
    with pytest.warns(UserWarning, match="was reported to be 2"):
        list(loader)


def test_pin_memory_warns_without_accelerator():
    with pytest.warns(UserWarning, match="no accelerator is found"):
        assert len(list(DataLoader([1, 2], pin_memory=True))) == 2


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
        ({"num_workers": -1}, ValueError),
        ({"shuffle": True, "sampler": [0]}, ValueError),
        ({"batch_sampler": [[0]], "batch_size": 3}, ValueError),
        ({"batch_size": None, "drop_last": True}, ValueError),
        ({"batch_size": 0}, ValueError),
        ({"timeout": -1}, ValueError),
        ({"prefetch_factor": 2}, ValueError),
        ({"persistent_workers": True}, ValueError),
        ({"multiprocessing_context": "spawn"}, ValueError),
        ({"num_workers": 1, "multiprocessing_context": "sporn"}, ValueError),
        ({"num_workers": 1, "multiprocessing_context": 3}, TypeError),
        ({"num_workers": 1, "prefetch_factor": -1}, ValueError),
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
    from minigrad.utils.data import DataLoader as Same
    from minigrad.utils.data._utils.collate import default_collate as same_collate
    from minigrad.utils.data.dataset import Subset as SameSubset
    from minigrad.utils.data.distributed import DistributedSampler as SameSampler

    assert Same is DataLoader and SameSubset is Subset and same_collate is default_collate and SameSampler is DistributedSampler
