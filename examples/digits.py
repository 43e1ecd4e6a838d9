"""Train a small convolutional network on scikit-learn's handwritten digits (1797 real 8x8 scans).

    pip install '.[demo]' && python examples/digits.py

Writes to --out: digits.mg (the checkpoint), digits.png (learning curve and confusion matrix of the test set).

Shapes: B batch, C channels, H W image sides (8), K classes (10).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

import minigrad as mg
from minigrad import nn
from minigrad.data import DataLoader, TensorDataset, random_split

CLASSES = 10


class DigitNet(nn.Module):
    """Two convolution blocks and a linear classifier: (B, 1, 8, 8) to logits (B, 10)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classify = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(2 * width * 2 * 2, CLASSES))

    def forward(self, x_BCHW: mg.Tensor) -> mg.Tensor:
        """Return the logits."""
        return self.classify(self.features(x_BCHW))


def load_data(seed: int, device: str) -> list[TensorDataset]:
    """The scans as (train, test): 80 % and 20 %, split at random by `seed`; pixels scaled from 0…16 to 0…1."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x_BCHW = mg.from_numpy((digits.images[:, None] / 16.0).astype(np.float32)).to(device)
    y_B = mg.from_numpy(digits.target.astype(np.int64)).to(device)
    data = TensorDataset(x_BCHW, y_B)
    train, test = random_split(data, [0.8, 0.2], generator=mg.Generator().manual_seed(seed))
    return [TensorDataset(*data[mg.tensor(part.indices)]) for part in (train, test)]


def train_epoch(model: nn.Module, loader: DataLoader, optimizer: mg.optim.Optimizer, schedule, bar) -> float:
    """One pass over the training set; returns the mean loss."""
    model.train()
    total, count = 0.0, 0
    for x_BCHW, y_B in loader:
        loss = nn.functional.cross_entropy(model(x_BCHW), y_B, label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        total += loss.item() * len(y_B)
        count += len(y_B)
        bar.set_postfix(loss=f"{total / count:.3f}", refresh=False)
        bar.update()
    return total / count


@mg.no_grad()
def predict(model: nn.Module, data: TensorDataset) -> np.ndarray:
    """The most likely class of every sample."""
    model.eval()
    return np.concatenate([model(x).argmax(1).cpu().numpy() for x, _ in DataLoader(data, batch_size=256)])


def labels(data: TensorDataset) -> np.ndarray:
    """The true classes."""
    return data.tensors[1].cpu().numpy()


def draw(path: Path, losses: list[float], accuracies: list[float], confusion_KK: np.ndarray) -> None:
    """Write the learning curve and the confusion matrix as one PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (curve, matrix) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    epochs = range(1, len(losses) + 1)
    curve.plot(epochs, losses, color="tab:blue", label="training loss")
    curve.set(xlabel="epoch", ylabel="training loss (cross entropy)", title="learning curve")
    other = curve.twinx()
    other.plot(epochs, accuracies, color="tab:orange", label="test accuracy")
    other.set_ylabel("test accuracy")
    curve.legend(handles=[*curve.lines, *other.lines], loc="center right")
    matrix.imshow(np.sqrt(confusion_KK), cmap="Blues")  # the root makes single errors visible beside 40 hits
    matrix.set(xlabel="predicted", ylabel="true", title="test set", xticks=range(CLASSES), yticks=range(CLASSES))
    for (row, column), n in np.ndenumerate(confusion_KK):
        if n:
            matrix.text(column, row, str(n), ha="center", va="center", color="white" if row == column else "black")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Train, save, reload, verify, draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=15, help="passes over the training set (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of split, weights and order (default %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("."), metavar="DIR", help="where the files go (default .)")
    parser.add_argument("--device", default="cpu", help="where to compute (default %(default)s)")
    options = parser.parse_args()
    if options.epochs < 1:
        parser.error("--epochs must be at least 1")
    options.out.mkdir(parents=True, exist_ok=True)
    from tqdm import tqdm

    started = time.perf_counter()
    mg.manual_seed(options.seed)
    train, test = load_data(options.seed, options.device)
    model = DigitNet().to(options.device)
    loader = DataLoader(train, batch_size=64, shuffle=True)
    optimizer = mg.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    schedule = mg.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=options.epochs * len(loader))
    print(model)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{parameters} parameters, {len(train)} training and {len(test)} test images")

    losses, accuracies = [], []
    with tqdm(total=options.epochs * len(loader), unit="batch", desc="training") as bar:
        for _ in range(options.epochs):
            losses.append(train_epoch(model, loader, optimizer, schedule, bar))
            accuracies.append(float((predict(model, test) == labels(test)).mean()))

    path = options.out / "digits.mg"
    mg.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epochs": options.epochs}, path)
    reloaded = DigitNet().to(options.device)
    reloaded.load_state_dict(mg.load(path, map_location=options.device)["model"])
    predicted = predict(reloaded, test)
    if not np.array_equal(predicted, predict(model, test)):
        raise SystemExit(f"{path}: the reloaded model predicts differently")
    print(f"checkpoint {path} reloaded: equal predictions")

    confusion_KK = np.zeros((CLASSES, CLASSES), dtype=int)
    np.add.at(confusion_KK, (labels(test), predicted), 1)
    picture = options.out / "digits.png"
    draw(picture, losses, accuracies, confusion_KK)
    print(f"picture {picture}; {time.perf_counter() - started:.1f} s")
    print(f"test accuracy: {(predicted == labels(test)).mean():.3f}")


if __name__ == "__main__":
    main()
