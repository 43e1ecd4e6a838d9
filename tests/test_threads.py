"""The thread pool as a Python program meets it: forks, signals, errors in workers, callers in several threads, affinity, idle time.

The pool itself is tested in tests/cpp/test_parallel.cpp.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import minigrad as mg

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks and signals of POSIX")


@pytest.fixture(autouse=True)
def restored_threads():
    before = mg.get_num_threads()
    mg.set_num_threads(2)
    yield
    mg.set_num_threads(before)


def work(seed: int = 0) -> bytes:
    """Ops that run on all threads; their bits."""
    rng = np.random.default_rng(seed)
    a, b = (mg.tensor(rng.standard_normal((256, 256), dtype=np.float32)) for _ in range(2))
    return ((a @ b).softmax(1).sum(0) + mg.nn.functional.gelu(a).sum(0)).numpy().tobytes()


def ended(pid: int, seconds: float = 30) -> int:
    """The exit status of a child; kills one that hangs."""
    for _ in range(int(seconds * 100)):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done == pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise AssertionError("the child hangs")


def test_a_forked_child_computes_with_threads_of_its_own():
    expected = work()
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            os._exit(0 if work() == expected and mg.get_num_threads() == 2 else 1)
        assert work() == expected  # both at once
        assert ended(pid) == 0


def test_fork_while_another_thread_computes():
    expected, stop, wrong = work(), threading.Event(), []

    def loop():
        while not stop.is_set():
            if work() != expected:
                wrong.append(1)

    other = threading.Thread(target=loop)
    other.start()
    try:
        for _ in range(5):
            pid = os.fork()
            if pid == 0:
                os._exit(0 if work() == expected else 1)
            assert ended(pid) == 0
    finally:
        stop.set()
        other.join()
    assert not wrong


def test_error_in_a_worker_reaches_the_caller_and_the_pool_goes_on():
    n = 1 << 20
    x, y = mg.arange(n), mg.ones(n, dtype=mg.int64)
    expected = work()
    for at in (0, n // 2 + 7, n - 1):
        y[at] = 0
        with pytest.raises(RuntimeError, match="ero"):
            mg.floor_divide(x, y)
        y[at] = 1
        assert mg.equal(mg.floor_divide(x, y), x)
        assert work() == expected


def test_callers_in_several_threads():
    expected = [work(k) for k in range(4)]
    found = [[] for _ in range(4)]

    def call(k):
        for _ in range(20):
            found[k].append(work(k))

    threads = [threading.Thread(target=call, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for n in (1, 2, 3, 2):
        mg.set_num_threads(n)
        time.sleep(0.01)
    for t in threads:
        t.join()
    assert all(set(f) == {e} for f, e in zip(found, expected))


CTRL_C = """
import minigrad as mg
mg.set_num_threads(2)
a = mg.ones(512, 512)
expected = (a @ a).sum().item()
print("ready", flush=True)
try:
    while True:
        a @ a
except KeyboardInterrupt:
    assert (a @ a).sum().item() == expected  # the workers are where they were
    print("interrupted", flush=True)
"""


def test_ctrl_c_between_parallel_ops():
    start = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell may have it ignored
    with subprocess.Popen([sys.executable, "-c", start + CTRL_C], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.1)
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == "interrupted\n"
        assert child.wait(30) == 0


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="Linux")
def test_the_callers_affinity_is_left_alone():
    before = os.sched_getaffinity(0)
    for _ in range(3):
        work()
        time.sleep(0.003)
    assert os.sched_getaffinity(0) == before
    program = "import os; print(sorted(os.sched_getaffinity(0)))"
    assert eval(subprocess.check_output([sys.executable, "-c", program], text=True)) == sorted(before)


def test_an_idle_pool_uses_no_cpu():
    work()
    time.sleep(0.01)
    began = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - began < 0.03
