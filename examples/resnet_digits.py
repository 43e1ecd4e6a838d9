"""Train a residual network with augmentation on scikit-learn's handwritten digits (1797 real 8x8 scans).

    pip install '.[demo]' && python examples/resnet_digits.py

Worker processes turn, shift and scale the training images. Writes to --out: resnet_digits.png (learning curve, augmented samples, and the
test images it gets wrong).

Shapes: B batch, C channels, H W image sides (8).
"""

from __future__ import annotations

import numpy as np
from support import command_line, digits, figure, finish, progress, show_grid, start

import minigrad as mg
from minigrad import nn
from minigrad.data import DataLoader, Dataset
from minigrad.nn import functional as F


class Augmented(Dataset):
    """Digits, each time turned by up to 15 degrees, shifted by up to a pixel and scaled by up to 10 %."""

    def __init__(self, x_NCHW: mg.Tensor, y_N: mg.Tensor) -> None:
        self.x_NCHW, self.y_N = x_NCHW, y_N

    def __len__(self) -> int:
        return len(self.y_N)

    def __getitems__(self, indices: list[int]) -> list[tuple[mg.Tensor, mg.Tensor]]:
        x_BCHW, y_B = self.x_NCHW[indices], self.y_N[indices]
        angle, scale = (mg.rand(len(indices)) - 0.5) * 0.52, 1 + (mg.rand(len(indices)) - 0.5) * 0.2
        shift_B2 = (mg.rand(len(indices), 2) - 0.5) * 0.5
        cos, sin = scale * angle.cos(), scale * angle.sin()
        warp_B23 = mg.stack([mg.stack([cos, -sin, shift_B2[:, 0]], 1), mg.stack([sin, cos, shift_B2[:, 1]], 1)], 1)
        grid = F.affine_grid(warp_B23, list(x_BCHW.shape), align_corners=False)
        return list(zip(F.grid_sample(x_BCHW, grid, align_corners=False), y_B))


class Residual(nn.Module):
    """Two convolutions around which the input goes unchanged (or through a 1x1 convolution, where the shape changes)."""

    def __init__(self, inside: int, outside: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(inplace=True),
            nn.Conv2d(outside, outside, 3, padding=1, bias=False),
            nn.BatchNorm2d(outside),
        )
        same = inside == outside and stride == 1
        self.skip = nn.Identity() if same else nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

    def forward(self, x_BCHW: mg.Tensor) -> mg.Tensor:
        """The sum of both ways."""
        return F.relu(self.body(x_BCHW) + self.skip(x_BCHW))


def resnet(width: int = 16) -> nn.Sequential:
    """Images (B, 1, 8, 8) to logits (B, 10)."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        Residual(width, width),
        Residual(width, 2 * width, stride=2),
        Residual(2 * width, 4 * width, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, 10),
    )


@mg.no_grad()
def predict(model: nn.Module, x_NCHW: mg.Tensor) -> mg.Tensor:
    """The most likely class of every image."""
    model.eval()
    return mg.cat([model(x).argmax(1) for x in x_NCHW.split(256)])


def main() -> None:
    """Train, test, draw."""
    parser = command_line(__doc__, steps=25, unit="passes over the data")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes that augment (default %(default)s)")
    options = start(parser)
    x_train, y_train, x_test, y_test = digits(options.seed)
    loader = DataLoader(Augmented(x_train, y_train), 64, shuffle=True, num_workers=options.workers, persistent_workers=options.workers > 0)
    model = resnet()
    optimizer = mg.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = mg.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=options.steps * len(loader))
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(x_train)} training and {len(x_test)} test images")
    losses, accuracies = [], []
    bar = progress(range(options.steps), desc="training", unit="pass")
    for _ in bar:
        model.train()
        total = 0.0
        for x_BCHW, y_B in loader:
            loss = F.cross_entropy(model(x_BCHW), y_B, label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(y_B)
        losses.append(total / len(x_train))
        accuracies.append((predict(model, x_test) == y_test).float().mean().item())
        bar.set_postfix(loss=f"{losses[-1]:.3f}", accuracy=f"{accuracies[-1]:.3f}")
    predicted_N = predict(model, x_test)
    wrong = (predicted_N != y_test).nonzero().flatten().tolist()
    drawing, (curve, samples, mistakes) = figure(1, 3, (14, 4.5))
    curve.plot(losses, color="tab:blue", label="training loss")
    other = curve.twinx()
    other.plot(accuracies, color="tab:orange", label="test accuracy")
    curve.legend(handles=[*curve.lines, *other.lines], loc="center right")
    curve.set(title="learning curve", xlabel="pass")
    show_grid(samples, next(iter(loader))[0][:48, 0].numpy(), 8, "augmented training images")
    shown = x_test[wrong][:24, 0].numpy() if wrong else np.zeros((1, 8, 8))
    show_grid(mistakes, shown, 6, f"{len(wrong)} of {len(x_test)} test images wrong")
    path = options.out / "resnet_digits.png"
    drawing.savefig(path, dpi=110)
    for k in wrong[:10]:
        print(f"test image {k}: a {y_test[k].item()} taken for a {predicted_N[k].item()}")
    print(f"test accuracy: {accuracies[-1]:.4f}")
    finish(options, path)


if __name__ == "__main__":
    main()
