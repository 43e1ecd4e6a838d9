"""Train a diffusion model with a small U-Net on scikit-learn's handwritten digits; it then draws digits on demand.

    pip install '.[demo]' && python examples/ddpm_digits.py

Writes to --out: ddpm_digits.png (a row of samples for each digit, and how they come out of the noise).

Shapes: B batch, C channels, H W image sides (8). Source: Ho, Jain and Abbeel, Denoising Diffusion Probabilistic Models, 2020.
"""

from __future__ import annotations

import math

from support import command_line, digits, endless, figure, finish, progress, show_grid, start

import minigrad as mg
from minigrad import nn
from minigrad.data import DataLoader, TensorDataset
from minigrad.nn import functional as F

NOISE_STEPS = 150


class Block(nn.Module):
    """Two normalised convolutions with the time and class code added between, around a shortcut."""

    def __init__(self, inside: int, outside: int, code: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.GroupNorm(8, inside), nn.SiLU(), nn.Conv2d(inside, outside, 3, padding=1))
        self.code = nn.Linear(code, outside)
        self.second = nn.Sequential(nn.GroupNorm(8, outside), nn.SiLU(), nn.Conv2d(outside, outside, 3, padding=1))
        self.skip = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()

    def forward(self, x_BCHW: mg.Tensor, code_BE: mg.Tensor) -> mg.Tensor:
        """Same height and width."""
        return self.second(self.first(x_BCHW) + self.code(code_BE)[:, :, None, None]) + self.skip(x_BCHW)


class UNet(nn.Module):
    """A noisy image, its noise step and its class to the noise in it."""

    def __init__(self, width: int = 32, code: int = 64) -> None:
        super().__init__()
        self.frequencies: mg.Tensor
        self.register_buffer("frequencies", mg.exp(mg.linspace(0, math.log(1000.0), code // 2)) / NOISE_STEPS)
        self.time = nn.Sequential(nn.Linear(code, code), nn.SiLU(), nn.Linear(code, code))
        self.kind = nn.Embedding(10, code)
        self.enter = nn.Conv2d(1, width, 3, padding=1)
        self.down_1, self.down_2 = Block(width, width, code), Block(width, 2 * width, code)
        self.middle = Block(2 * width, 2 * width, code)
        self.up_2, self.up_1 = Block(4 * width, width, code), Block(2 * width, width, code)
        self.leave = nn.Sequential(nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, x_BCHW: mg.Tensor, t_B: mg.Tensor, kind_B: mg.Tensor) -> mg.Tensor:
        """The noise, same shape as the image."""
        phase_BE = t_B[:, None].float() * self.frequencies
        code_BE = F.silu(self.time(mg.cat([phase_BE.sin(), phase_BE.cos()], 1)) + self.kind(kind_B))
        wide = self.down_1(self.enter(x_BCHW), code_BE)
        small = self.down_2(F.avg_pool2d(wide, 2), code_BE)
        smallest = self.middle(F.avg_pool2d(small, 2), code_BE)
        up = self.up_2(mg.cat([F.interpolate(smallest, scale_factor=2.0), small], 1), code_BE)
        return self.leave(self.up_1(mg.cat([F.interpolate(up, scale_factor=2.0), wide], 1), code_BE))


class Diffusion:
    """The noise schedule: how much of the image is left after each step (cosine, Nichol and Dhariwal 2021)."""

    def __init__(self) -> None:
        t = mg.arange(NOISE_STEPS + 1, dtype=mg.float64) / NOISE_STEPS
        left = mg.cos((t + 0.008) / 1.008 * math.pi / 2).square()
        self.beta = (1 - left[1:] / left[:-1]).clamp(max=0.999).float()
        self.left = (1 - self.beta).cumprod(0)

    def loss(self, model: nn.Module, x_BCHW: mg.Tensor, kind_B: mg.Tensor) -> mg.Tensor:
        """Mean squared error of the guessed noise at random steps."""
        t_B = mg.randint(0, NOISE_STEPS, (len(x_BCHW),))
        left = self.left[t_B][:, None, None, None]
        noise = mg.randn_like(x_BCHW)
        return F.mse_loss(model(left.sqrt() * x_BCHW + (1 - left).sqrt() * noise, t_B, kind_B), noise)

    @mg.no_grad()
    def draw(self, model: nn.Module, kind_B: mg.Tensor) -> tuple[mg.Tensor, list[mg.Tensor]]:
        """Images (B, 8, 8) from 0 to 1, and the way there of the first ten."""
        x = mg.randn(len(kind_B), 1, 8, 8)
        film = []
        for t in progress(range(NOISE_STEPS - 1, -1, -1), desc="drawing", unit="step"):
            noise = model(x, mg.full((len(x),), t), kind_B)
            clean = ((x - (1 - self.left[t]).sqrt() * noise) / self.left[t].sqrt()).clamp(-1, 1)
            before = self.left[t - 1] if t else mg.tensor(1.0)
            x = (before.sqrt() * self.beta[t] * clean + (1 - self.beta[t]).sqrt() * (1 - before) * x) / (1 - self.left[t])
            if t:
                x = x + (self.beta[t] * (1 - before) / (1 - self.left[t])).sqrt() * mg.randn_like(x)
            if t % (NOISE_STEPS // 10) == 0:
                film.append((x[:10, 0] + 1) / 2)
        return (x[:, 0] + 1) / 2, film


def main() -> None:
    """Train, draw."""
    parser = command_line(__doc__, steps=1800)
    parser.add_argument("--each", type=int, default=10, metavar="N", help="samples drawn of each digit (default %(default)s)")
    options = start(parser)
    x_train, y_train, _, _ = digits(options.seed, test_share=0.0)
    model, diffusion = UNet(), Diffusion()
    average = mg.optim.swa_utils.AveragedModel(model, multi_avg_fn=mg.optim.swa_utils.get_ema_multi_avg_fn(0.99))
    optimizer = mg.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = mg.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=options.steps)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(x_train)} images")
    batches = endless(DataLoader(TensorDataset(x_train * 2 - 1, y_train), 64, shuffle=True, drop_last=True))
    bar = progress(range(options.steps), desc="training", unit="step")
    mean = 1.0
    for _ in bar:
        loss = diffusion.loss(model, *next(batches))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(model)
        mean += 0.02 * (loss.item() - mean)
        bar.set_postfix(loss=f"{mean:.3f}", refresh=False)
    average.eval()
    images, film = diffusion.draw(average, mg.arange(10 * options.each) % 10)
    drawing, (samples, coming) = figure(1, 2, (11, 5.5))
    by_digit = images.reshape(options.each, 10, 8, 8).transpose(0, 1).flatten(0, 1)
    show_grid(samples, by_digit.numpy(), options.each, "drawn on demand: a row for each digit")
    show_grid(coming, mg.stack(film, 1).flatten(0, 1).numpy(), len(film), "out of the noise")
    path = options.out / "ddpm_digits.png"
    drawing.savefig(path, dpi=110)
    print(f"loss of the last steps: {mean:.4f}")
    finish(options, path)


if __name__ == "__main__":
    main()
