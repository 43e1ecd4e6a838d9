"""Under `mg.set_default_device("cuda")` only what is asked for is made there: files, orders of data and index lists are not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad.data import DataLoader, RandomSampler, SubsetRandomSampler, TensorDataset, WeightedRandomSampler, random_split


@pytest.fixture(autouse=True)
def _on_device() -> Iterator[None]:
    mg.set_default_device("cuda")
    yield
    mg.set_default_device(None)


@pytest.mark.parametrize("name", ("x.mg", "x.pt", "x.safetensors"))
@pytest.mark.parametrize("mmap", (False, True))
def test_files(tmp_path: Path, name: str, mmap: bool) -> None:
    state = {"a": mg.arange(6).reshape(2, 3), "b": mg.arange(4.0, device="cpu")}
    mg.save(state, tmp_path / name)
    again = mg.load(tmp_path / name, map_location="cpu", mmap=mmap) if mmap else mg.load(tmp_path / name, map_location="cuda")
    assert {t.device.type for t in again.values()} == {"cpu" if mmap else "cuda"}
    assert again["a"].tolist() == [[0, 1, 2], [3, 4, 5]] and again["b"].tolist() == [0, 1, 2, 3]


def test_orders_of_data_are_those_of_the_cpu() -> None:
    def orders() -> list[list[int]]:
        mg.manual_seed(3)
        data = list(range(11))
        own = mg.Generator().manual_seed(5)
        return [
            list(RandomSampler(data)), list(RandomSampler(data, True, 7)), list(RandomSampler(data, generator=own)),
            list(SubsetRandomSampler(data)), list(WeightedRandomSampler([1.0, 2.0, 3.0], 9)),
            [i for part in random_split(data, [5, 6], generator=own) for i in part.indices],
            [int(i) for batch in DataLoader(data, batch_size=4, shuffle=True) for i in batch],
        ]  # fmt: skip

    there = orders()
    mg.set_default_device(None)
    assert there == orders()
    device = mg.Generator("cuda").manual_seed(5)
    assert sorted(RandomSampler(range(11), generator=device)) == list(range(11))


def test_loading_batches() -> None:
    data = TensorDataset(mg.arange(10.0), mg.arange(10))
    for x, y in DataLoader(data, batch_size=4, shuffle=True):
        assert x.device.type == y.device.type == "cuda" and x.tolist() == y.tolist()


def test_tensors_on_the_cpu_are_still_usable() -> None:
    x = mg.arange(12.0, device="cpu").reshape(3, 4)
    assert x[[0, 2]].tolist() == [[0, 1, 2, 3], [8, 9, 10, 11]] and x[:, np.array([1, 3])].tolist() == [[1, 3], [5, 7], [9, 11]]
    assert x[[True, False, True], 1:].shape == (2, 3) and x[True].shape == (1, 3, 4)
    x[[0, 1]] = 7
    x[2] = [1, 2, 3, 4]
    x[:, [0]] = mg.zeros(3, 1, device="cpu")
    assert x.tolist() == [[0, 7, 7, 7], [0, 7, 7, 7], [0, 2, 3, 4]]
    layer = mg.nn.Linear(4, 2, device="cpu")
    mg.nn.init.orthogonal_(layer.weight)
    mg.nn.init.sparse_(layer.weight, 0.5)
    mg.optim.AdamW(layer.parameters()).step(lambda: layer(x).sum().backward())
    assert mg.nn.functional.one_hot(mg.tensor([1, 0], device="cpu")).device.type == "cpu"
    assert mg.as_tensor([1.0]).device.type == "cuda"


def test_forked_generators() -> None:
    mg.manual_seed(0)
    expected = mg.rand(3).tolist(), mg.rand(3, device="cpu").tolist()
    mg.manual_seed(0)
    with mg.random.fork_rng():
        mg.rand(5)
        mg.rand(5, device="cpu")
    assert (mg.rand(3).tolist(), mg.rand(3, device="cpu").tolist()) == expected
    mg.manual_seed(0)
    with mg.random.fork_rng(devices=[]):
        mg.rand(3)
    assert mg.rand(3).tolist() != expected[0]
    with pytest.raises(RuntimeError, match="no devices of type"), mg.random.fork_rng(device_type="tpu"):
        pass


def test_threads_have_default_devices_of_their_own() -> None:
    def work(seed: int) -> list[float]:
        x = mg.rand(33, 17, device="cuda", generator=mg.Generator("cuda").manual_seed(seed)).requires_grad_()
        (x @ x.mT).softmax(1).square().sum().backward()
        return x.grad.sum(0).tolist()

    expected = [work(k) for k in range(3)]
    found: list[list[list[float]]] = [[], [], []]
    places = []

    def call(k: int) -> None:
        places.append(mg.ones(1).device.type)
        found[k] += [work(k) for _ in range(4)]

    threads = [threading.Thread(target=call, args=(k,)) for k in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert found == [[e] * 4 for e in expected] and places == ["cpu"] * 3
