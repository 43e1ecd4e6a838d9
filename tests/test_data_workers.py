"""DataLoader with worker processes: same batches as without, seeds, errors, deaths, and nothing left behind."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import minigrad as mg
from minigrad.data import DataLoader, Dataset, IterableDataset, get_worker_info

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="worker processes use memfd and SOCK_SEQPACKET"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
]
METHODS = ["fork", "spawn", "forkserver"]


class Rows(Dataset):
    def __init__(self, n, width=3):
        self.x = mg.arange(n * width).reshape(n, width).float()

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], i, {"name": f"row {i}", "half": self.x[i].bfloat16(), "np": np.full(2, i)}


class Stream(IterableDataset):
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        info = get_worker_info()
        return iter(range(info.id, self.n, info.num_workers) if info else range(self.n))


class Draws(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, i):
        return random.random(), mg.rand(()).item(), np.random.rand(), get_worker_info().seed - get_worker_info().id


class Faulty(Dataset):
    def __init__(self, action):
        self.action = action

    def __len__(self):
        return 12

    def __getitem__(self, i):
        if i == 5:
            return self.action()
        return i


class OwnError(Exception):
    def __init__(self, a, b):
        super().__init__(a, b)


def plain(value):
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return (value.dtype, value.tolist()) if isinstance(value, mg.Tensor) else value


def children():
    """Living or unreaped child processes of this one, but the multiprocessing helpers."""
    gc.collect()  # iterators in the tracebacks of earlier tests
    out = subprocess.run(["ps", "-ww", "--ppid", str(os.getpid()), "-o", "pid=,args="], capture_output=True, text=True).stdout
    lines = [line for line in out.splitlines() if line.split()[1] != "ps"]
    return [line for line in lines if "resource_tracker" not in line and "forkserver" not in line]


@pytest.mark.parametrize("method", METHODS)
def test_same_batches_as_without_workers(method):
    data = Rows(23)
    for options in ({"batch_size": 4}, {"batch_size": None}, {"batch_size": 5, "drop_last": True})[: 3 if method == "fork" else 1]:
        expected = plain(list(DataLoader(data, **options)))
        loader = DataLoader(data, **options, num_workers=2, multiprocessing_context=method)
        assert plain(list(loader)) == expected
        assert len(loader) == len(expected)


def test_order_is_the_seeds_with_any_number_of_workers():
    def order(workers):
        mg.manual_seed(3)
        loader = DataLoader(range(40), batch_size=7, shuffle=True, num_workers=workers)
        return [plain(list(loader)), plain(list(loader))]

    assert order(0) == order(1) == order(3)


@pytest.mark.parametrize("persistent", [False, True])
def test_streams(persistent):
    loader = DataLoader(Stream(21), batch_size=4, num_workers=3, persistent_workers=persistent)
    for _ in range(3):
        got = [batch.tolist() for batch in loader]
        assert got[0] == [0, 3, 6, 9] and got[1] == [1, 4, 7, 10]  # workers in turn
        assert sorted(x for batch in got for x in batch) == list(range(21))
    assert list(DataLoader(Stream(5), batch_size=None, num_workers=1)) == list(range(5))


def test_out_of_order():
    class Slow(Dataset):
        def __len__(self):
            return 6

        def __getitem__(self, i):
            time.sleep(0.5 if i == 0 else 0)
            return i

    got = list(DataLoader(Slow(), batch_size=None, num_workers=2, in_order=False))
    assert sorted(got) == list(range(6)) and got[0] != 0
    assert list(DataLoader(Slow(), batch_size=None, num_workers=2)) == list(range(6))


def test_seeds():
    def draws(seed, workers=2):
        generator = mg.Generator().manual_seed(seed)
        return [list(batch) for batch in DataLoader(Draws(), batch_size=None, num_workers=workers, generator=generator)]

    first = draws(1)
    assert first == draws(1) != draws(2)
    for kind in range(3):
        assert len({sample[kind] for sample in first}) == 8  # workers draw differently
    assert len({sample[3] for sample in first}) == 1


def test_worker_init_and_info():
    def init(worker_id):
        info = get_worker_info()
        assert info.id == worker_id and info.num_workers == 2
        info.dataset.x += 100

    data = Rows(4, 1)
    assert get_worker_info() is None
    got = [batch[0].item() for batch in DataLoader(data, num_workers=2, worker_init_fn=init)]
    assert got == [100, 101, 102, 103] and data.x[0].item() == 0  # fork: the worker's copy
    with pytest.raises(ZeroDivisionError, match="in DataLoader worker process 0"):
        next(iter(DataLoader(data, num_workers=1, worker_init_fn=lambda worker_id: 1 / 0)))


def test_persistent_workers_stay_and_others_go():
    class Pid(Dataset):
        def __len__(self):
            return 8

        def __getitem__(self, i):
            return os.getpid()

    loader = DataLoader(Pid(), batch_size=None, num_workers=2, persistent_workers=True)
    for i, _ in enumerate(loader):  # left in the middle: the next pass begins anew
        if i == 1:
            break
    passes = [list(loader) for _ in range(3)]
    assert all(len(set(pids)) == 2 for pids in passes) and len({pid for pids in passes for pid in pids}) == 2
    loader = DataLoader(Pid(), batch_size=None, num_workers=2)
    assert not set(loader) & set(loader)


def fail_key():
    raise KeyError("five")


def fail_own():
    raise OwnError(1, 2)


def fail_local():
    class Local(ValueError):
        pass

    raise Local("made here")


def fail_stop():
    raise StopIteration


@pytest.mark.parametrize(
    ("action", "error", "text"),
    [(fail_key, KeyError, "KeyError: 'five'"), (fail_own, RuntimeError, "OwnError"), (fail_local, ValueError, "Local"),
     (fail_stop, StopIteration, None), (lambda: (lambda: 1), Exception, "pickle")],
)  # fmt: skip
def test_errors_come_with_class_and_traceback(action, error, text):
    collate = list if action.__name__ == "<lambda>" else None
    iterator = iter(DataLoader(Faulty(action), batch_size=2, num_workers=2, collate_fn=collate))
    assert list(next(iterator)) == [0, 1] and list(next(iterator)) == [2, 3]
    with pytest.raises(error) as raised:
        next(iterator)
    if text is not None:
        assert text in str(raised.value) and "DataLoader worker process 0" in str(raised.value)
    assert list(next(iterator)) == [6, 7]  # an error costs its batch, no more


DEATHS = [
    (lambda: os._exit(3), "exit code 3"),
    (lambda: os.kill(os.getpid(), 9), r"\(pid \d+\) is killed by signal: Killed"),
    (sys.exit, "exit code"),
]


@pytest.mark.parametrize(("death", "how"), DEATHS)
def test_dead_worker_is_an_error(death, how):
    started = time.monotonic()
    iterator = iter(DataLoader(Faulty(death), batch_size=2, num_workers=2))
    with pytest.raises(RuntimeError, match=f"exited unexpectedly: .*{how}"):
        list(iterator)
    with pytest.raises(RuntimeError, match="exited unexpectedly"):
        next(iterator)
    assert time.monotonic() - started < 5 and not children()


def test_persistent_loader_recovers_from_a_dead_worker(tmp_path):
    def once():
        if not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            os._exit(1)
        return 5

    loader = DataLoader(Faulty(once), batch_size=None, num_workers=2, persistent_workers=True)
    with pytest.raises(RuntimeError):
        list(loader)
    assert list(loader) == list(range(12))


class Unreadable:
    def __reduce__(self):
        return int, ("not a number",)


def test_batch_that_cannot_be_unpickled_is_an_error():
    iterator = iter(DataLoader(Faulty(Unreadable), batch_size=None, num_workers=2))
    with pytest.raises(ValueError):
        list(iterator)
    with pytest.raises(RuntimeError, match="could not be unpickled"):
        next(iterator)


def test_prefetch_factor_must_be_positive():
    with pytest.raises(AssertionError, match="prefetch_factor must be greater than 0"):
        iter(DataLoader([1, 2], num_workers=1, prefetch_factor=0))


def test_timeout():
    loader = DataLoader(Faulty(lambda: time.sleep(60)), batch_size=None, num_workers=1, timeout=0.3)
    started = time.monotonic()
    iterator = iter(loader)
    with pytest.raises(RuntimeError, match="timed out after 0.3 seconds"):
        list(iterator)
    for process in iterator._workers:
        process.kill()  # it sleeps on; otherwise it would get 5 seconds to finish
    del iterator
    assert time.monotonic() - started < 5


def test_large_and_odd_values():
    class Odd(Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, i):
            base = mg.arange(24.0).reshape(2, 3, 4)
            return {
                "text": "x" * 300_000, "same": [base, base], "empty": mg.zeros(0, 3), "scalar": mg.tensor(2), "view": base[:, ::2],
                "transposed": base.permute(2, 0, 1), "expanded": mg.ones(1).expand(5), "parameter": mg.nn.Parameter(mg.ones(2)),
                "leaf": mg.ones(2, requires_grad=True), "list": list(range(50_000)), "complex": mg.ones(2, dtype=mg.complex64) * 1j,
            }  # fmt: skip

    data = Odd()
    for sample in DataLoader(data, batch_size=None, num_workers=2):
        assert plain(sample) == plain(data[0])
        assert sample["same"][0] is sample["same"][1] and sample["transposed"].stride() == (1, 12, 4)
        assert isinstance(sample["parameter"], mg.nn.Parameter) and sample["leaf"].requires_grad and sample["leaf"].is_shared()
        sample["same"][0].fill_(1)  # ours to write
        (sample["leaf"] * 2).sum().backward()
    loader = DataLoader([mg.ones(1, requires_grad=True) * 2] * 2, batch_size=None, num_workers=1)
    with pytest.raises(RuntimeError, match="Cowardly refusing"):
        list(loader)
    many = [list(range(60_000))]  # indices, too, may be larger than a message
    assert [len(b) for b in DataLoader(range(60_000), batch_sampler=many * 4, num_workers=2)] == [60_000] * 4


def test_kept_batches_are_never_overwritten():
    data = Rows(400, 64)
    kept = [batch[0] for batch in DataLoader(data, batch_size=10, num_workers=2)]
    assert mg.cat(kept).tolist() == data.x.tolist()
    views = [batch[0][0] for batch in DataLoader(data, batch_size=10, num_workers=2)]  # a view keeps its batch
    assert [view.tolist() for view in views] == data.x[::10].tolist()


def test_a_forked_child_keeps_its_batch():
    """After a fork the batch has two holders: the parent's letting go must not free its memory for reuse."""
    data = Rows(400, 64)
    iterator = iter(DataLoader(data, batch_size=10, num_workers=1))
    batch = next(iterator)[0]
    ours, theirs = os.pipe()
    go, wait = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(go, 1)
        os.write(theirs, b"1" if batch.tolist() == data.x[:10].tolist() else b"0")
        os._exit(0)
    del batch
    for _ in iterator:
        pass
    os.write(wait, b"x")
    assert os.read(ours, 1) == b"1"
    os.waitpid(pid, 0)


def test_memory_is_reused_and_released():
    def mapped():
        with open("/proc/self/maps") as maps:
            return sum("memfd:minigrad" in line for line in maps)

    before, descriptors = mapped(), len(os.listdir("/proc/self/fd"))
    iterator = iter(DataLoader(Rows(2000, 64), batch_size=10, num_workers=2))
    most = max(mapped() for _ in iterator)
    assert most - before <= 2 * (2 + 4)  # not one per batch
    del iterator
    assert mapped() == before and len(os.listdir("/proc/self/fd")) <= descriptors and not children()


def test_iterator_may_be_left_anywhere():
    for _ in range(3):
        iterator = iter(DataLoader(Rows(100), batch_size=2, num_workers=2))
        next(iterator)
        del iterator
    assert not children()
    with pytest.raises(NotImplementedError):
        import pickle

        pickle.dumps(iter(DataLoader(Rows(4), num_workers=1)))


INTERRUPTED = """
import sys, time
import minigrad as mg
from minigrad.data import DataLoader, Dataset

class Slow(Dataset):
    def __len__(self):
        return 1000
    def __getitem__(self, i):
        time.sleep(0.01)
        return mg.ones(1000)

if __name__ == "__main__":
    print("ready", flush=True)
    for _ in DataLoader(Slow(), num_workers=2):
        pass
"""


def test_ctrl_c(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED)
    process = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )  # fmt: skip
    process.stdout.readline()
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: everybody gets it
    _, errors = process.communicate(timeout=20)
    assert process.returncode != 0 and errors.count("Traceback") == 1 and "KeyboardInterrupt" in errors
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
