"""Train a variational autoencoder on scikit-learn's handwritten digits and let it draw new ones.

    pip install '.[demo]' && python examples/vae_digits.py

Writes to --out: vae_digits.png (scans and their reconstructions, drawn digits, the way from one digit to another).

Shapes: B batch, Z latent numbers. Source: Kingma and Welling, Auto-Encoding Variational Bayes, 2013.
"""

from __future__ import annotations

import numpy as np
from support import command_line, digits, endless, figure, finish, progress, show_grid, start

import minigrad as mg
from minigrad import nn
from minigrad.data import DataLoader, TensorDataset
from minigrad.nn import functional as F


class VAE(nn.Module):
    """Images (B, 1, 8, 8) to a normal distribution over Z numbers, and back to the probability of ink."""

    def __init__(self, latent: int = 12, width: int = 32) -> None:
        super().__init__()
        self.latent = latent
        self.encoder = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.SiLU(),
            nn.Flatten(), nn.Linear(2 * width * 16, 128), nn.SiLU(),
            nn.Linear(128, 2 * latent),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(latent, 128), nn.SiLU(),
            nn.Linear(128, 2 * width * 16), nn.SiLU(), nn.Unflatten(1, (2 * width, 4, 4)),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(width, 1, 3, padding=1),
        )  # fmt: skip

    def loss(self, x_BCHW: mg.Tensor, beta: float) -> tuple[mg.Tensor, mg.Tensor]:
        """Nats per image: (of reconstruction, KL divergence from the standard normal); their weighted sum is what training lowers."""
        mean_BZ, log_variance_BZ = self.encoder(x_BCHW).chunk(2, 1)
        z_BZ = mean_BZ + (0.5 * log_variance_BZ).exp() * mg.randn_like(mean_BZ)
        reconstruction = F.binary_cross_entropy_with_logits(self.decoder(z_BZ), x_BCHW, reduction="sum") / len(x_BCHW)
        divergence = 0.5 * (mean_BZ.square() + log_variance_BZ.exp() - 1 - log_variance_BZ).sum() / len(x_BCHW)
        return reconstruction + beta * divergence, divergence

    @mg.no_grad()
    def draw(self, z_BZ: mg.Tensor) -> mg.Tensor:
        """Images (B, 8, 8)."""
        return self.decoder(z_BZ).sigmoid()[:, 0]

    @mg.no_grad()
    def encode(self, x_BCHW: mg.Tensor) -> mg.Tensor:
        """The mean code (B, Z)."""
        return self.encoder(x_BCHW)[:, : self.latent]


def main() -> None:
    """Train, draw."""
    options = start(command_line(__doc__, steps=2500))
    x_train, y_train, x_test, y_test = digits(options.seed)
    model = VAE()
    optimizer = mg.optim.Adam(model.parameters(), lr=2e-3)
    schedule = mg.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
    batches = endless(DataLoader(TensorDataset(x_train), 64, shuffle=True, drop_last=True))
    bar = progress(range(options.steps), desc="training", unit="step")
    for step in bar:
        (x_BCHW,) = next(batches)
        loss, divergence = model.loss(x_BCHW, beta=min(1.0, 2 * step / options.steps))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            bar.set_postfix(loss=f"{loss.item():.2f}", kl=f"{divergence.item():.2f}", refresh=False)
    model.eval()
    with mg.no_grad():
        held_out = sum(model.loss(x_test, beta=1.0)[0].item() for _ in range(8)) / 8
    print(f"held-out bound: {held_out:.2f} nats per image")
    drawing, (pairs, drawn, between) = figure(1, 3, (14, 5))
    shown = mg.stack([x_test[:30, 0], model.draw(model.encode(x_test[:30]))], 1).flatten(0, 1)
    show_grid(pairs, shown.numpy(), 10, "test scan | its reconstruction")
    show_grid(drawn, model.draw(mg.randn(80, model.latent)).numpy(), 10, "drawn from the prior")
    ends = [model.encode(x_test[y_test == digit][:1]) for digit in (0, 1, 3, 8, 4, 9, 7, 2)]
    steps = np.linspace(0, 1, 10)
    path_NZ = mg.cat([a + float(t) * (b - a) for a, b in zip(ends, [*ends[1:], ends[0]], strict=True) for t in steps])
    show_grid(between, model.draw(path_NZ).numpy(), 10, "from digit to digit")
    path = options.out / "vae_digits.png"
    drawing.savefig(path, dpi=110)
    finish(options, path)


if __name__ == "__main__":
    main()
