"""Workers and parents killed at random: no shared memory, no process and no hang may be left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc and /dev/shm")

# Loads for three epochs, or dies; prints a line per event, so that the test knows how far it is.
PROGRAM = """
import random, sys, time, warnings
import minigrad as mg
from minigrad.data import DataLoader, Dataset
warnings.simplefilter("ignore")

class Images(Dataset):
    def __len__(self):
        return 240
    def __getitem__(self, i):
        time.sleep(random.random() * float(sys.argv[3]))
        return mg.full((3, 64, 64), float(i)), i

if __name__ == "__main__":
    loader = DataLoader(Images(), batch_size=8, num_workers=int(sys.argv[1]), multiprocessing_context=sys.argv[2],
                        persistent_workers=sys.argv[4] == "True")
    print("start", flush=True)
    for epoch in range(3):
        seen = []
        for x, i in loader:
            assert x.mean((1, 2, 3)).tolist() == i.tolist()
            seen += i.tolist()
        assert seen == list(range(240))
    print("done", flush=True)
"""


def shared_files() -> set[str]:
    """What lies in shared memory, but for other libraries' semaphores (joblib's, in a test that runs beside this one)."""
    return {name for name in os.listdir("/dev/shm") if not name.startswith("sem.loky")}


def processes(session: int) -> list[int]:
    """Process ids of a session: a program and all its descendants."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session:
                found.append(int(entry))
    return found


def workers_of(session: int) -> list[int]:
    return [pid for pid in processes(session) if pid != session]


def gone(session: int, patience: float) -> list[int]:
    """Processes of the session that are still there after `patience` seconds."""
    deadline = time.monotonic() + patience
    while (left := processes(session)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def one_kill(script: Path, dice: random.Random, workers: int, method: str, victim: str) -> str:
    """Run the program, kill a victim at a random time; returns how the program ended."""
    before = shared_files()
    pause, persistent = dice.choice([0, 0.001, 0.01]), dice.random() < 0.5
    program = subprocess.Popen(
        [sys.executable, str(script), str(workers), method, str(pause), str(persistent)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        assert program.stdout.readline() == "start\n", program.stderr.read()
        time.sleep(dice.random() * (1.2 if method == "fork" else 3))
        if victim == "parent":
            program.kill()
        elif victim == "worker":
            living = workers_of(program.pid)
            for pid in dice.sample(living, k=min(dice.choice([1, 1, 3]), len(living))):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:  # it had just ended
                    pass
        out, errors = program.communicate(timeout=60)  # no hang
        left = gone(program.pid, patience=10)
        assert not left, f"orphans {left} after the {victim} was killed"
        assert shared_files() <= before, "files left in /dev/shm"
        if victim == "parent":
            assert program.returncode in (-signal.SIGKILL, 0)
        elif "done" not in out:
            assert program.returncode == 1 and ("exited unexpectedly" in errors or method == "forkserver"), errors
        return "done" if "done" in out else "failed"
    finally:
        for pid in processes(program.pid):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("victim", ["nobody", "worker", "parent"])
def test_killed_at_random(tmp_path, victim):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    for round_number in range(2):
        ended = one_kill(script, random.Random(f"{victim}{round_number}"), 3, "fork", victim)
        assert victim != "nobody" or ended == "done"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("victim", ["nobody", "worker", "parent"])
def test_eight_workers_killed_at_random(tmp_path, victim, method):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    dice = random.Random()
    for round_number in range(2 if victim == "nobody" else 15):
        seed = dice.randrange(10**6)
        print(f"{method} {victim} round {round_number} seed {seed}")
        ended = one_kill(script, random.Random(seed), 8, method, victim)
        assert victim != "nobody" or ended == "done"
