"""Every example runs, shortly: it ends well, writes its picture or text, and its helpers do what they say."""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

import minigrad as mg

FOLDER = Path(__file__).resolve().parent.parent / "examples"
# (script, options of a short run, the file it writes, a word of its report)
RUNS = [
    ("char_gpt", ["--steps", "3", "--characters", "40000", "--batch", "4", "--sample", "20"], "char_gpt.txt", "bits per character"),
    ("resnet_digits", ["--steps", "1", "--workers", "1"], "resnet_digits.png", "test accuracy"),
    ("vae_digits", ["--steps", "3"], "vae_digits.png", "held-out bound"),
    ("ddpm_digits", ["--steps", "2", "--each", "1"], "ddpm_digits.png", "loss of the last steps"),
    ("lstm_forecast", ["--steps", "2"], "lstm_forecast.png", "LSTM"),
    ("reinforce_cartpole", ["--steps", "2", "--carts", "4"], "reinforce_cartpole.png", "the pole stands"),
    ("lora", ["--steps", "2"], "lora.png", "bit by bit"),
    ("digits", ["--epochs", "1"], "digits.png", "test accuracy"),
]


def needs_demo() -> None:
    for name in ("sklearn", "matplotlib", "tqdm"):
        pytest.importorskip(name)


def load(name: str):
    """An example as a module."""
    needs_demo()
    sys.path.insert(0, str(FOLDER))
    try:
        spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(FOLDER))


@pytest.mark.parametrize(("name", "options", "result", "word"), RUNS, ids=[run[0] for run in RUNS])
def test_example_runs(tmp_path, name, options, result, word):
    needs_demo()
    command = [sys.executable, FOLDER / f"{name}.py", *options, "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ, "MPLCONFIGDIR": str(tmp_path / "mpl")})
    assert done.returncode == 0, done.stderr
    assert word in done.stdout
    written = (tmp_path / result).read_bytes()
    assert written.startswith(b"\x89PNG") or result.endswith(".txt") and len(written) > 20


def test_every_example_has_a_run():
    scripts = {path.stem for path in FOLDER.glob("*.py") if "__main__" in path.read_text()}
    others = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py") if path.name != Path(__file__).name)
    assert not [script for script in sorted(scripts - {run[0] for run in RUNS}) if f"{script}.py" not in others]


def test_gpt_does_not_see_the_future():
    gpt = load("char_gpt")
    model = gpt.CharGPT(width=16, heads=2, layers=2, length=12).eval()
    codes = mg.randint(0, len(gpt.CHARACTERS), (1, 12))
    changed = codes.clone()
    changed[0, 8:] = 0
    before, after = model(codes), model(changed)
    assert mg.allclose(before[0, :8], after[0, :8], atol=1e-6) and not mg.allclose(before[0, 8:], after[0, 8:])
    text = model.write("def ", 30)
    assert text.startswith("def ") and len(text) == 34
    data = gpt.Windows(mg.arange(50, dtype=mg.uint8), 7)
    assert data[3][1].tolist() == list(range(4, 11)) and len(data) == 43


def test_cart_pole_conserves_energy_without_a_push():
    cart = load("reinforce_cartpole")
    world = cart.CartPole(1)
    world.force, world.tick = 0.0, 1e-3
    world.state_E4 = mg.tensor([[0.0, 0.3, 0.1, -0.2]], dtype=mg.float64)
    mass, m, half = world.cart + world.pole, world.pole, world.half_length

    def energy() -> float:
        _, v, angle, turning = world.state_E4[0].tolist()
        moving = mass * v**2 / 2 + m * half * v * turning * math.cos(angle) + 2 / 3 * m * half**2 * turning**2
        return moving + m * world.gravity * half * math.cos(angle)

    before = energy()
    for _ in range(500):
        world.step(mg.zeros(1, dtype=mg.float64))
    assert abs(world.state_E4[0, 2].item()) > 0.15  # it falls
    assert energy() == pytest.approx(before, rel=2e-3)


def test_returns_are_discounted_and_stop_at_the_fall():
    cart = load("reinforce_cartpole")
    standing = mg.tensor([[1.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    assert (cart.returns(standing, discount=0.5) * 100).tolist() == [[1.75, 1.0], [1.5, 0.0], [1.0, 0.0]]


def test_adapters_start_as_nothing_and_come_off():
    lora = load("lora")
    model = lora.ViT(width=16, heads=2, layers=1).eval()
    x = mg.rand(3, 1, 8, 8)
    before = model(x)
    names = set(model.state_dict())
    learned = lora.add_adapters(model, rank=2)
    assert mg.allclose(model(x), before, atol=1e-6) and all(p.dim() == 2 for p in learned)
    with mg.no_grad():
        for parameter in learned:
            parameter.add_(0.1)
    assert not mg.allclose(model(x), before)
    lora.remove_adapters(model)
    assert mg.equal(model(x), before) and set(model.state_dict()) == names


def test_noise_schedule_and_forecast_windows():
    diffusion = load("ddpm_digits").Diffusion()
    assert diffusion.left[0] > 0.99 and diffusion.left[-1] < 1e-3 and (diffusion.left[1:] < diffusion.left[:-1]).all()
    forecast = load("lstm_forecast")
    model = forecast.Forecaster(hidden=8, layers=1)
    x = mg.rand(2, 10)
    continued = model.continued(x, 3)
    by_hand = x
    for _ in range(3):  # feeding forecasts back by hand gives the same
        by_hand = mg.cat([by_hand, model(by_hand)[:, -1:]], 1)
    assert mg.allclose(continued, by_hand[:, 10:], atol=1e-5)
    series = mg.from_numpy(forecast.mackey_glass(600, 0, noise=0.0))
    linear = forecast.linear_forecasts(series, series[:200][None])
    assert linear.shape == (1, forecast.AHEAD)
    assert forecast.error(linear, series[200 : 200 + forecast.AHEAD][None])[0] < 0.05
