"""Pretrain a small vision transformer on upright digits, then teach it digits lying on their side with low-rank adapters (LoRA).

    pip install '.[demo]' && python examples/lora.py

Only the adapters learn; taking them off gives the old model back, bit by bit. Writes to --out: lora.png (accuracy of each model on both
kinds of digits; curves).

Shapes: B batch, T patches (16), C width, R rank. Source: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, 2021.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

from support import command_line, digits, endless, figure, finish, progress, start

import minigrad as mg
from minigrad import nn
from minigrad.data import DataLoader, TensorDataset
from minigrad.nn import functional as F
from minigrad.nn.utils import parametrize


class Attention(nn.Module):
    """Multi-head self-attention, (B, T, C) to the same."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x_BTC: mg.Tensor) -> mg.Tensor:
        """Every patch looks at every other."""
        b, t, c = x_BTC.shape
        q, k, v = self.qkv(x_BTC).view(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        return self.project(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, c))


class Block(nn.Module):
    """Attention and a two-layer network, each added to the stream."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x_BTC: mg.Tensor) -> mg.Tensor:
        """Same shape."""
        x_BTC = x_BTC + self.attention(self.norm_1(x_BTC))
        return x_BTC + self.down(F.gelu(self.up(self.norm_2(x_BTC))))


class ViT(nn.Module):
    """Images (B, 1, 8, 8) as 16 patches of 2x2 to logits (B, 10)."""

    def __init__(self, width: int = 64, heads: int = 4, layers: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 2, stride=2)
        self.place = nn.Parameter(mg.randn(16, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm, self.classify = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x_BCHW: mg.Tensor) -> mg.Tensor:
        """The logits."""
        x_BTC = self.patches(x_BCHW).flatten(2).transpose(1, 2) + self.place
        return self.classify(self.norm(self.blocks(x_BTC)).mean(1))


class LowRank(nn.Module):
    """A weight plus a product of two thin matrices; the second begins at zero, so that nothing changes at first."""

    def __init__(self, weight: mg.Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.scale = alpha / rank
        self.down = nn.Parameter(mg.randn(rank, columns) / math.sqrt(columns))
        self.up = nn.Parameter(mg.zeros(rows, rank))

    def forward(self, weight: mg.Tensor) -> mg.Tensor:
        """The adapted weight."""
        return weight + self.scale * (self.up @ self.down)


def linears(model: nn.Module) -> Iterator[nn.Linear]:
    """The layers that get adapters."""
    return (module for module in model.modules() if isinstance(module, nn.Linear))


def add_adapters(model: nn.Module, rank: int, alpha: float = 8.0) -> list[nn.Parameter]:
    """Freeze the model and give each linear layer an adapter; returns what is left to learn."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for layer in list(linears(model)):
        parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, rank, alpha))
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def remove_adapters(model: nn.Module) -> None:
    """Back to the plain layers, without what the adapters learned."""
    for layer in list(linears(model)):
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)


@mg.no_grad()
def accuracy(model: nn.Module, x_NCHW: mg.Tensor, y_N: mg.Tensor) -> float:
    """Share of right answers."""
    return (model(x_NCHW).argmax(1) == y_N).float().mean().item()


def train(model: nn.Module, parameters: list, data: TensorDataset, steps: int, lr: float, label: str) -> list[float]:
    """Train `parameters`; returns the losses."""
    optimizer = mg.optim.AdamW(parameters, lr=lr, weight_decay=0.01)
    schedule = mg.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    batches = endless(DataLoader(data, 64, shuffle=True, drop_last=True))
    losses = []
    for _ in progress(range(steps), desc=label, unit="step"):
        x_BCHW, y_B = next(batches)
        loss = F.cross_entropy(model(x_BCHW), y_B)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


def main() -> None:
    """Pretrain, adapt three ways, compare."""
    parser = command_line(__doc__, steps=700)
    parser.add_argument("--rank", type=int, default=4, metavar="R", help="rank of the adapters (default %(default)s)")
    options = start(parser)
    x_train, y_train, x_test, y_test = digits(options.seed)
    lying_train, lying_test = mg.rot90(x_train, 1, (2, 3)), mg.rot90(x_test, 1, (2, 3))
    base = ViT()
    curves = {"pretraining": train(base, list(base.parameters()), TensorDataset(x_train, y_train), options.steps, 2e-3, "pretraining")}
    results = {"pretrained": (base, 0)}
    lying = TensorDataset(lying_train, y_train)
    head = copy.deepcopy(base)
    curves["last layer only"] = train(head, list(head.classify.parameters()), lying, options.steps, 4e-3, "last layer")
    results["last layer only"] = (head, sum(p.numel() for p in head.classify.parameters()))
    adapted = copy.deepcopy(base)
    learned = add_adapters(adapted, options.rank)
    curves[f"LoRA, rank {options.rank}"] = train(adapted, learned, lying, options.steps, 4e-3, "LoRA")
    results[f"LoRA, rank {options.rank}"] = (adapted, sum(p.numel() for p in learned))
    full = copy.deepcopy(base)
    curves["everything"] = train(full, list(full.parameters()), lying, options.steps, 1e-3, "everything")
    results["everything"] = (full, sum(p.numel() for p in full.parameters()))

    print(f"{'model':20} {'learned':>8} {'upright':>8} {'lying':>8}")
    scores = []
    for name, (model, count) in results.items():
        scores.append((accuracy(model, x_test, y_test), accuracy(model, lying_test, y_test)))
        print(f"{name:20} {count:8,} {scores[-1][0]:8.3f} {scores[-1][1]:8.3f}")
    remove_adapters(adapted)
    if not mg.equal(adapted(x_test), base(x_test)):
        raise SystemExit("without its adapters the model differs from the pretrained one")
    print("adapters off: the pretrained model, bit by bit")
    drawing, (bars, curve) = figure(1, 2, (13, 4.5))
    for k, kind in enumerate(("upright digits", "lying digits")):
        bars.bar([i + 0.4 * k for i in range(len(scores))], [score[k] for score in scores], 0.38, label=kind)
    bars.set(title="test accuracy", xticks=[i + 0.2 for i in range(len(results))], ylim=(0, 1.05))
    bars.set_xticklabels([f"{name}\n{count:,} learned" for name, (_, count) in results.items()])
    bars.legend(loc="upper left", bbox_to_anchor=(0.17, 1))
    for name, losses in curves.items():
        curve.plot(losses, label=name, linewidth=0.8)
    curve.set(title="training loss", xlabel="step", yscale="log")
    curve.legend()
    path = options.out / "lora.png"
    drawing.savefig(path, dpi=110)
    finish(options, path)


if __name__ == "__main__":
    main()
