"""minigrad.multiprocessing: tensors shared with other processes, spawn, and pickling rules."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import time

import pytest

import minigrad as mg
import minigrad.multiprocessing as mp

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="shared memory uses memfd")


def answer(requests, replies, shared):
    shared += 1
    for tensor in iter(requests.get, None):
        tensor.mul_(2)
        replies.put((tensor.tolist(), tensor.is_shared(), tensor.requires_grad, tensor.stride()))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_tensors_through_queues_are_shared(method):
    context = mp.get_context(method)
    requests, replies = context.Queue(), context.Queue()
    shared = mg.zeros(3).share_memory_()
    process = context.Process(target=answer, args=(requests, replies, shared), daemon=True)
    process.start()
    base = mg.arange(6.0).reshape(2, 3)
    for tensor in (base.t(), base[1], mg.ones(2).bfloat16(), mg.zeros(0), mg.tensor(2), mg.ones(2, dtype=mg.complex64)):
        expected = (tensor * 2).tolist()
        requests.put(tensor)
        values, is_shared, needs_grad, strides = replies.get(timeout=30)
        assert values == expected == tensor.tolist() and is_shared and not needs_grad and strides == tensor.stride()
    assert base.tolist() == [[0, 2, 4], [12, 16, 20]]  # written by the other process, both times
    requests.put(None)
    process.join(10)
    assert shared.tolist() == [1, 1, 1] and process.exitcode == 0


def send_and_leave(replies, rank):
    replies.put((rank, mg.full((3,), float(rank))))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_stays_until_its_tensors_are_taken(method):
    context = mp.get_context(method)
    replies = context.Queue()
    children = [context.Process(target=send_and_leave, args=(replies, rank)) for rank in range(2)]
    for child in children:
        child.start()
    time.sleep(0.3)
    got = dict(replies.get(timeout=30) for _ in children)
    assert {rank: tensor.tolist() for rank, tensor in got.items()} == {0: [0, 0, 0], 1: [1, 1, 1]}
    started = time.monotonic()
    for child in children:
        child.join(30)
        assert child.exitcode == 0
    assert time.monotonic() - started < 5


def test_share_memory_moves_the_storage_under_all_views():
    base = mg.zeros(4, 4)
    view, version = base[1:3], base._version
    assert not base.is_shared()
    assert view.share_memory_() is view and base.is_shared() and base._version == version
    view.fill_(1)
    assert base.sum().item() == 8
    address = base.data_ptr()
    assert base.share_memory_().data_ptr() == address  # once
    with pytest.raises(RuntimeError):
        base.resize_(100)


def test_the_same_storage_arrives_as_the_same_memory():
    ours, theirs = mp.Pipe()
    base = mg.zeros(4)
    theirs.send((base, base[1:]))
    whole, part = ours.recv()
    assert whole.data_ptr() == base.data_ptr() and part.data_ptr() == base[1:].data_ptr()
    part.fill_(3)
    assert base.tolist() == [0, 3, 3, 3]


def test_parameters_modules_and_attributes():
    ours, theirs = mp.Pipe()
    layer = mg.nn.Linear(2, 2)
    theirs.send(layer)
    received = ours.recv()
    assert isinstance(received.weight, mg.nn.Parameter) and received.weight.requires_grad
    received.weight.data.fill_(5)
    assert layer.weight.tolist() == [[5, 5], [5, 5]]
    assert mg.nn.Linear(2, 2).share_memory().weight.is_shared()
    tagged = mg.ones(2)
    tagged.note = "hello"
    theirs.send(tagged)
    assert ours.recv().note == "hello"


def test_pickling_rules():
    ours, theirs = mp.Pipe()
    leaf = mg.ones(2, requires_grad=True)
    theirs.send(leaf)
    assert ours.recv().requires_grad
    with pytest.raises(RuntimeError, match="Cowardly refusing"):
        theirs.send(leaf * 2)
    copied = pickle.loads(pickle.dumps(leaf))  # plain pickle copies
    assert copied.data_ptr() != leaf.data_ptr() and copied.requires_grad


def add_rank(rank, total):
    total[rank] += rank + 1
    if total.dim() > 1:
        raise ValueError(f"rank {rank} has a matrix")
    if total[-1] == 9:
        os.kill(os.getpid(), signal.SIGKILL) if rank == 0 else sys.exit(4)


def test_spawn():
    total = mg.zeros(3).share_memory_()
    mp.spawn(add_rank, args=(total,), nprocs=2)
    assert total.tolist() == [1, 2, 0]
    with pytest.raises(mp.ProcessRaisedException, match="rank 0 has a matrix") as raised:
        mp.spawn(add_rank, args=(mg.zeros(1, 1),), nprocs=1)
    assert raised.value.error_index == 0 and "ValueError" in str(raised.value)
    for count, text in ((1, "signal SIGKILL"), (2, "SIGKILL|exit code 4")):
        with pytest.raises(mp.ProcessExitedException, match=text):
            mp.spawn(add_rank, args=(mg.tensor([0, 0, 9]),), nprocs=count)
    context = mp.start_processes(add_rank, args=(total,), nprocs=1, join=False, start_method="fork")
    while not context.join(timeout=1):
        pass
    assert total.tolist() == [2, 2, 0]


def test_sharing_strategies():
    assert mp.get_sharing_strategy() in mp.get_all_sharing_strategies() == {"file_descriptor", "file_system"}
    mp.set_sharing_strategy("file_system")
    mp.set_sharing_strategy("file_descriptor")
    with pytest.raises(AssertionError):
        mp.set_sharing_strategy("telepathy")


def test_names_of_the_standard_module():
    import multiprocessing

    assert all(getattr(mp, name) is getattr(multiprocessing, name) for name in multiprocessing.__all__ if name != "reducer")


def test_segments_check_their_bounds():
    segment = mg._core.SharedSegment(128)
    lease = segment.lease(True)
    for place in ((0, 256, mg.float32, (64,)), (64, 64, mg.float32, (17,)), (8, 8, mg.float32, (1,)), (0, 128, mg.uint8, (4,), (-1,))):
        with pytest.raises((RuntimeError, ValueError)):
            lease.tensor(*place)
    with pytest.raises(ValueError):
        segment.write(128, mg.ones(1))
    segment.state = 1
    tensor = lease.tensor(64, 64, mg.float32, (16,))
    del lease
    assert segment.state == 1  # held by the tensor
    del tensor
    assert segment.state == 0
    with pytest.raises((RuntimeError, ValueError)):
        with open(os.devnull) as file:
            mg._core.SharedSegment.open(os.dup(file.fileno()))
