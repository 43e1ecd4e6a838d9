"""Train a small character GPT on the Python standard library's own source, and let it write Python.

    pip install '.[demo]' && python examples/char_gpt.py

The text is what lies in this Python's library folder: nothing is downloaded. Writes to --out: char_gpt.txt (what the model writes).

Shapes: B batch, T positions, C width, V characters.
"""

from __future__ import annotations

import math
import sysconfig
from pathlib import Path

from support import command_line, finish, progress, start

import minigrad as mg
from minigrad import nn
from minigrad.data import DataLoader, Dataset, RandomSampler
from minigrad.nn import functional as F

CHARACTERS = "\n" + "".join(map(chr, range(32, 127)))  # everything else is left out
CODES = {character: code for code, character in enumerate(CHARACTERS)}


class Windows(Dataset):
    """All stretches of `length` characters of a text, and the same moved by one: what comes next."""

    def __init__(self, text_N: mg.Tensor, length: int) -> None:
        self.text_N, self.length = text_N, length

    def __len__(self) -> int:
        return len(self.text_N) - self.length

    def __getitem__(self, i: int) -> tuple[mg.Tensor, mg.Tensor]:
        return self.text_N[i : i + self.length].long(), self.text_N[i + 1 : i + 1 + self.length].long()


class Block(nn.Module):
    """Causal self-attention and a two-layer network, each added to the stream."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x_BTC: mg.Tensor) -> mg.Tensor:
        """Same shape."""
        b, t, c = x_BTC.shape
        q, k, v = self.qkv(self.norm_1(x_BTC)).view(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x_BTC = x_BTC + self.project(attended.transpose(1, 2).reshape(b, t, c))
        return x_BTC + self.mlp(self.norm_2(x_BTC))


class CharGPT(nn.Module):
    """Codes (B, T) to logits (B, T, V) of the next character; the output layer is the embedding."""

    def __init__(self, width: int = 128, heads: int = 4, layers: int = 3, length: int = 96) -> None:
        super().__init__()
        self.length = length
        self.embed, self.place = nn.Embedding(len(CHARACTERS), width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.05)

    def forward(self, codes_BT: mg.Tensor) -> mg.Tensor:
        """The logits."""
        x_BTC = self.embed(codes_BT) + self.place(mg.arange(codes_BT.shape[1]))
        return self.norm(self.blocks(x_BTC)) @ self.embed.weight.T

    @mg.no_grad()
    def write(self, prompt: str, count: int, temperature: float = 0.6) -> str:
        """`prompt` continued by `count` drawn characters."""
        codes = [CODES[character] for character in prompt]
        for _ in range(count):
            logits_V = self(mg.tensor([codes[-self.length :]]))[0, -1] / temperature
            codes.append(int(mg.multinomial(logits_V.softmax(0), 1)))
        return "".join(CHARACTERS[code] for code in codes)


def standard_library(limit: int) -> mg.Tensor:
    """The source of the library's modules, in the order of their names, as codes (N,) of at most `limit` characters."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    text = "".join(path.read_text(errors="ignore") for path in sorted(folder.glob("*.py")))
    return mg.tensor([CODES[character] for character in text[:limit] if character in CODES], dtype=mg.uint8)


@mg.no_grad()
def held_out_loss(model: CharGPT, data: Windows, batches: int) -> float:
    """Mean cross entropy on evenly spaced windows."""
    places = [int(k * (len(data) - 1) / (32 * batches)) for k in range(32 * batches)]
    losses = [F.cross_entropy(model(x).flatten(0, 1), y.flatten()).item() for x, y in DataLoader(data, batch_size=32, sampler=places)]
    return sum(losses) / len(losses)


def main() -> None:
    """Train, measure, write."""
    parser = command_line(__doc__, steps=1200)
    parser.add_argument("--characters", type=int, default=2_000_000, metavar="N", help="of source read (default %(default)s)")
    parser.add_argument("--batch", type=int, default=24, metavar="N", help="windows per step (default %(default)s)")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes that load (default %(default)s)")
    parser.add_argument("--sample", type=int, default=800, metavar="N", help="characters written (default %(default)s)")
    options = start(parser)
    model = CharGPT()
    text_N = standard_library(options.characters)
    cut = len(text_N) * 95 // 100
    train, test = Windows(text_N[:cut], model.length), Windows(text_N[cut:], model.length)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(text_N):,} characters of Python's library")
    optimizer = mg.optim.AdamW(model.parameters(), lr=4e-3, betas=(0.9, 0.98), weight_decay=0.05)
    warm = min(50, options.steps)
    schedule = mg.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: min((k + 1) / warm, 0.5 + 0.5 * math.cos(math.pi * min(1.0, k / options.steps)) + 0.02)
    )
    sampler = RandomSampler(train, replacement=True, num_samples=options.steps * options.batch)
    loader = DataLoader(train, options.batch, sampler=sampler, num_workers=options.workers)
    bar = progress(loader, desc="training", unit="step")
    for x_BT, y_BT in bar:
        loss = F.cross_entropy(model(x_BT).flatten(0, 1), y_BT.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    model.eval()
    loss = held_out_loss(model, test, batches=8 if options.steps > 50 else 1)
    print(f"held-out source: {loss / math.log(2):.3f} bits per character (uniform guessing: {math.log2(len(CHARACTERS)):.2f})")
    written = "\n\n".join(model.write(prompt, options.sample // 2) for prompt in ("def ", "class "))
    print(written)
    path = options.out / "char_gpt.txt"
    path.write_text(written)
    finish(options, path)


if __name__ == "__main__":
    main()
