"""Train an LSTM to forecast a chaotic series, and compare it with simpler forecasters.

    pip install '.[demo]' && python examples/lstm_forecast.py

The series is the Mackey-Glass equation, a model of blood cell counts and a standard test of forecasters, integrated here; small noise is
added to what is measured. Writes to --out: lstm_forecast.png (forecasts beside the truth; error against the horizon).

Shapes: B batch, T time steps, H hidden numbers. Source: Mackey and Glass, Oscillation and Chaos in Physiological Control Systems, 1977.
"""

from __future__ import annotations

import numpy as np
from support import command_line, endless, figure, finish, progress, start

import minigrad as mg
from minigrad import nn
from minigrad.data import DataLoader, Dataset, Subset
from minigrad.nn import functional as F

SEEN, AHEAD = 100, 50  # steps the forecaster sees, and steps it must foretell


def mackey_glass(count: int, seed: int, delay: int = 17, noise: float = 0.01) -> np.ndarray:
    """`count` noisy measurements, one per unit of time, standardised."""
    rng = np.random.default_rng(seed)
    fine = 10  # Euler steps per unit of time
    x = np.full((count + 300) * fine, 1.2)
    x[: delay * fine] += 0.1 * rng.standard_normal(delay * fine)
    for k in range(delay * fine, len(x) - 1):
        late = x[k - delay * fine]
        x[k + 1] = x[k] + (0.2 * late / (1 + late**10) - 0.1 * x[k]) / fine
    series = x[300 * fine :: fine][:count]
    series = (series - series.mean()) / series.std()
    return (series + noise * rng.standard_normal(count)).astype(np.float32)


class Windows(Dataset):
    """Every stretch of SEEN + AHEAD measurements."""

    def __init__(self, series_N: mg.Tensor) -> None:
        self.series_N = series_N

    def __len__(self) -> int:
        return len(self.series_N) - SEEN - AHEAD + 1

    def __getitem__(self, i: int) -> mg.Tensor:
        return self.series_N[i : i + SEEN + AHEAD]


class Forecaster(nn.Module):
    """Reads a series and foretells the change to the next value, again and again from its own forecasts."""

    def __init__(self, hidden: int = 48, layers: int = 2) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, hidden, layers, batch_first=True)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x_BT: mg.Tensor) -> mg.Tensor:
        """The next value after each one, (B, T)."""
        return x_BT + self.head(self.lstm(x_BT[..., None])[0])[..., 0]

    def continued(self, x_BT: mg.Tensor, ahead: int) -> mg.Tensor:
        """The `ahead` values (B, ahead) after the series."""
        hidden_BTH, state = self.lstm(x_BT[..., None])
        value_B = x_BT[:, -1] + self.head(hidden_BTH[:, -1])[:, 0]
        out = [value_B]
        while len(out) < ahead:
            hidden_BTH, state = self.lstm(value_B[:, None, None], state)
            value_B = value_B + self.head(hidden_BTH[:, -1])[:, 0]
            out.append(value_B)
        return mg.stack(out, 1)


def linear_forecasts(train_N: mg.Tensor, x_BT: mg.Tensor, order: int = 30) -> mg.Tensor:
    """What the best linear combination of the last `order` values (least squares) foretells, continued like the LSTM."""
    past = train_N.unfold(0, order + 1, 1)
    weight = mg.linalg.lstsq(past[:, :-1].double(), past[:, -1:].double()).solution
    x = x_BT.double()
    for _ in range(AHEAD):
        x = mg.cat([x, x[:, -order:] @ weight], 1)
    return x[:, -AHEAD:].float()


def error(forecast_BT: mg.Tensor, truth_BT: mg.Tensor) -> np.ndarray:
    """Root mean squared error for each number of steps ahead."""
    return (forecast_BT - truth_BT).square().mean(0).sqrt().numpy()


def main() -> None:
    """Train, compare, draw."""
    options = start(command_line(__doc__, steps=400))
    series_N = mg.from_numpy(mackey_glass(6000, options.seed))
    train_N, test_N = series_N[:5000], series_N[5000:]
    train, test = Windows(train_N), Windows(test_N)
    model = Forecaster()
    optimizer = mg.optim.Adam(model.parameters(), lr=4e-3)
    schedule = mg.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
    batches = endless(DataLoader(train, 32, shuffle=True, drop_last=True))
    bar = progress(range(options.steps), desc="training", unit="step")
    for step in bar:
        x_BT = next(batches)
        loss = F.mse_loss(model(x_BT[:, :-1]), x_BT[:, 1:])
        if step >= options.steps // 2:  # then also on its own forecasts, as it will be used
            loss = loss + 0.2 * F.mse_loss(model.continued(x_BT[:, :SEEN], 20), x_BT[:, SEEN : SEEN + 20])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.5f}", refresh=False)
    with mg.no_grad():
        x_BT = mg.stack(list(Subset(test, range(0, len(test), 5))))
        seen, truth = x_BT[:, :SEEN], x_BT[:, SEEN:]
        forecasts = {
            "LSTM": model.continued(seen, AHEAD),
            "linear (30 values)": linear_forecasts(train_N, seen),
            "same as last": seen[:, -1:].expand(-1, AHEAD),
        }
    drawing, (left, right) = figure(1, 2, (13, 4.5))
    left.plot(range(-SEEN, AHEAD), x_BT[0].numpy(), color="black", linewidth=1, label="truth")
    for name, forecast in forecasts.items():
        left.plot(range(AHEAD), forecast[0].numpy(), label=name)
        errors = error(forecast, truth)
        right.plot(range(1, AHEAD + 1), errors, label=name)
        print(f"{name:20} error after 1, 10, {AHEAD} steps: {errors[0]:.4f} {errors[9]:.4f} {errors[-1]:.4f}")
    left.set(title="one test series", xlabel="steps ahead")
    right.set(title="error on the test series", xlabel="steps ahead", ylabel="root mean squared error (series: 1)", yscale="log")
    left.legend()
    right.legend()
    path = options.out / "lstm_forecast.png"
    drawing.savefig(path, dpi=110)
    finish(options, path)


if __name__ == "__main__":
    main()
