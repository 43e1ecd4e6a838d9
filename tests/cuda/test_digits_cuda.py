"""examples/digits.py trains on the device as on the CPU: the same weights, order of samples and (given the same generator state) dropout
masks, so the same losses up to rounding and the same accuracy.

Plain runs of the two devices differ from the first dropout on: each device has a generator of its own, both start from the seed, and the
CPU's has by then been used for the weights and the order.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import minigrad as mg

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "digits.py"


@pytest.fixture
def digits(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for name in ("sklearn", "matplotlib", "tqdm"):
        pytest.importorskip(name)
    monkeypatch.syspath_prepend(EXAMPLE.parent)
    import digits

    return digits


def epoch(digits: ModuleType, device: str) -> tuple[list[float], float]:
    """(loss of every step, accuracy on the test set) of one epoch of a narrow net."""
    mg.manual_seed(0)
    train, test = digits.load_data(0, device)
    model = digits.DigitNet(width=8).to(device)
    loader = digits.DataLoader(train, batch_size=64, shuffle=True)
    optimizer = mg.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    schedule = mg.optim.lr_scheduler.OneCycleLR(optimizer, 2e-2, total_steps=len(loader))
    losses = []
    for x_BCHW, y_B in loader:
        if not losses and device == "cuda":
            mg.cuda.set_rng_state(mg.get_rng_state())  # where the CPU's dropout starts
        loss = digits.nn.functional.cross_entropy(model(x_BCHW), y_B, label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses, float((digits.predict(model, test) == digits.labels(test)).mean())


def test_same_training_as_on_the_cpu(digits: ModuleType) -> None:
    (here, accuracy), (there, same) = epoch(digits, "cpu"), epoch(digits, "cuda")
    assert there == pytest.approx(here, rel=1e-5)
    assert same == accuracy and accuracy > 0.5


@pytest.mark.slow
def test_the_program(digits: ModuleType, tmp_path: Path) -> None:
    """`python examples/digits.py --device cuda` reaches the CPU's accuracy in as many epochs; masks differ, hence the margin."""
    reached = []
    for device in ("cpu", "cuda"):
        done = subprocess.run([sys.executable, EXAMPLE, "--epochs", "3", "--device", device, "--out", tmp_path], capture_output=True,
                              text=True, timeout=1200, env={**os.environ, "MPLCONFIGDIR": str(tmp_path)})  # fmt: skip
        assert done.returncode == 0, done.stderr
        reached.append(float(done.stdout.rpartition("test accuracy: ")[2]))
    assert abs(reached[0] - reached[1]) < 0.02 and min(reached) > 0.95, reached
