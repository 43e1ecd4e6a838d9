"""Models of the benchmark, written once for PyTorch and minigrad: every function takes the library as `torch`.

MODELS maps a name to `build(torch, tiny) -> Work`. `tiny` shrinks everything so that a test runs in milliseconds. Equal weights come from
the caller (compare.py copies them); inputs come from numpy, so they are equal by themselves.
Shapes: B batch, T time, D width, H heads, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass
class Work:
    """One model with its inputs. In training `loss()` gives the scalar to differentiate and `optimizer` steps; inference has none."""

    model: Any
    loss: Callable[[], Any]  # the scalar loss; for inference the tensor that is computed
    optimizer: Any = None
    clip: float = 0.0  # norm to which gradients are clipped, 0 = not at all
    per: int = 1  # units of work in one call, as tokens of a decode: the table shows time per unit
    weights_bytes: int = 0  # set where reading the weights once per unit is the limit, not arithmetic


def numbers(torch, shape, seed=0, high=0):
    """Normal float32 values, or integers below `high`, equal in both libraries; float64 where that is the default dtype."""
    rng = np.random.default_rng(seed)
    if high:
        return torch.from_numpy(rng.integers(0, high, shape))
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)).to(torch.get_default_dtype())


def mlp(torch, tiny):
    """784-128-10, batch 64, Adam."""
    nn, batch = torch.nn, 4 if tiny else 64
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    x, y = numbers(torch, (batch, 784)), numbers(torch, (batch,), 1, 10)
    criterion = nn.CrossEntropyLoss()
    return Work(model, lambda: criterion(model(x), y), torch.optim.Adam(model.parameters(), lr=1e-3))


def cnn(torch, tiny):
    """Two 3x3 convolutions, pooling, dropout, two linear layers on 28x28 (PyTorch's MNIST example), batch 64, Adam."""
    nn, batch = torch.nn, 2 if tiny else 64
    model = nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25), nn.Flatten(),
                          nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10))
    x, y = numbers(torch, (batch, 1, 28, 28)), numbers(torch, (batch,), 1, 10)
    criterion = nn.CrossEntropyLoss()
    return Work(model, lambda: criterion(model(x), y), torch.optim.Adam(model.parameters(), lr=1e-3))


def _basic_block(torch):
    """The class of ResNet-18's blocks: two 3x3 convolutions with a shortcut."""
    nn = torch.nn

    class BasicBlock(nn.Module):
        def __init__(self, inside, out, stride):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(inside, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
            self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
            self.relu = nn.ReLU(inplace=True)
            self.shortcut = None
            if stride != 1 or inside != out:
                self.shortcut = nn.Sequential(nn.Conv2d(inside, out, 1, stride, bias=False), nn.BatchNorm2d(out))

        def forward(self, x):
            y = self.relu(self.bn1(self.conv1(x)))
            y = self.bn2(self.conv2(y))
            y += x if self.shortcut is None else self.shortcut(x)
            return self.relu(y)

    return BasicBlock


def _resnet18(torch, classes, small_images, base):
    """ResNet-18 (He et al. 2015, arXiv:1512.03385): `small_images` has a 3x3 stem and no pooling in front, as usual on 32x32."""
    nn, block = torch.nn, _basic_block(torch)
    stem = [nn.Conv2d(3, base, 3, 1, 1, bias=False)] if small_images else [nn.Conv2d(3, base, 7, 2, 3, bias=False)]
    layers = [*stem, nn.BatchNorm2d(base), nn.ReLU(inplace=True)]
    if not small_images:
        layers.append(nn.MaxPool2d(3, 2, 1))
    inside = base
    for stage in range(4):
        out = base << stage
        layers += [block(inside, out, 1 if stage == 0 else 2), block(out, out, 1)]
        inside = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inside, classes))


def resnet18_32(torch, tiny):
    """ResNet-18 on 32x32 images, batch 32, SGD with momentum."""
    batch, base = (2, 4) if tiny else (32, 64)
    model = _resnet18(torch, 10, True, base)
    x, y = numbers(torch, (batch, 3, 32, 32)), numbers(torch, (batch,), 1, 10)
    criterion = torch.nn.CrossEntropyLoss()
    return Work(model, lambda: criterion(model(x), y), torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4))


def resnet18_224(torch, tiny):
    """ResNet-18 on one 224x224 image, inference."""
    model = _resnet18(torch, 1000, False, 8 if tiny else 64).eval()
    x = numbers(torch, (1, 3, 64, 64) if tiny else (1, 3, 224, 224))
    return Work(model, lambda: model(x))


def _gpt(torch, vocabulary, context, layers, heads, width, approximate="none"):
    """A pre-norm decoder with learned positions and the output tied to the embedding; `past` holds keys and values of earlier tokens."""
    nn, F = torch.nn, torch.nn.functional

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

        def forward(self, x_BTD, past=None):
            b, t, d = x_BTD.shape
            q, k, v = (part.view(b, t, heads, d // heads).transpose(1, 2) for part in self.qkv(x_BTD).split(d, dim=2))
            if past is not None:
                k, v = torch.cat((past[0], k), dim=2), torch.cat((past[1], v), dim=2)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=t > 1)
            return self.proj(y.transpose(1, 2).reshape(b, t, d)), (k, v)

        def attention_flops(self, x_BTD, past=None):
            b, t, d = x_BTD.shape
            keys = t + (0 if past is None else past[0].shape[2])
            return 4 * b * t * keys * d // (2 if t > 1 else 1)  # causal: half of the pairs

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.ln_1, self.attn, self.ln_2 = nn.LayerNorm(width), Attention(), nn.LayerNorm(width)
            self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate=approximate), nn.Linear(4 * width, width))

        def forward(self, x, past=None):
            y, kv = self.attn(self.ln_1(x), past)
            x = x + y
            return x + self.mlp(self.ln_2(x)), kv

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.wte, self.wpe = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
            self.blocks, self.ln_f = nn.ModuleList([Block() for _ in range(layers)]), nn.LayerNorm(width)
            self.head = nn.Linear(width, vocabulary, bias=False)
            self.head.weight = self.wte.weight
            nn.init.normal_(self.wte.weight, std=0.02)

        def forward(self, tokens_BT, past=None):
            start = 0 if past is None else past[0][0].shape[2]
            x = self.wte(tokens_BT) + self.wpe(torch.arange(start, start + tokens_BT.shape[1]))
            cache = []
            for i, block in enumerate(self.blocks):
                x, kv = block(x, None if past is None else past[i])
                cache.append(kv)
            return self.head(self.ln_f(x)), cache

    return GPT()


def _gpt_training(torch, batch, vocabulary, context, layers, heads, width):
    model = _gpt(torch, vocabulary, context, layers, heads, width)
    x, y = numbers(torch, (batch, context), 0, vocabulary), numbers(torch, (batch, context), 1, vocabulary)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1)
    return Work(model, lambda: torch.nn.functional.cross_entropy(model(x)[0].flatten(0, 1), y.flatten()), optimizer, clip=1.0)


def gpt(torch, tiny):
    """6 layers, 6 heads, width 384, context 256, vocabulary 4096, batch 4, AdamW, clipped gradients."""
    return _gpt_training(torch, *((2, 11, 8, 1, 2, 16) if tiny else (4, 4096, 256, 6, 6, 384)))


def chargpt(torch, tiny):
    """4 layers, 4 heads, width 128, context 64, vocabulary 65, batch 12, AdamW, clipped gradients."""
    return _gpt_training(torch, *((2, 11, 8, 1, 2, 16) if tiny else (12, 65, 64, 4, 4, 128)))


def lstm_lm(torch, tiny):
    """Embedding 256, two LSTM layers of 256, vocabulary 1000, 64 steps, batch 16, Adam, clipped gradients."""
    batch, steps, vocabulary, width = (2, 5, 11, 8) if tiny else (16, 64, 1000, 256)
    nn = torch.nn

    class LanguageModel(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.lstm = nn.Embedding(vocabulary, width), nn.LSTM(width, width, num_layers=2, batch_first=True)
            self.head = nn.Linear(width, vocabulary)

        def forward(self, tokens_BT):
            return self.head(self.lstm(self.embedding(tokens_BT))[0])

    model = LanguageModel()
    x, y = numbers(torch, (batch, steps), 0, vocabulary), numbers(torch, (batch, steps), 1, vocabulary)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return Work(model, lambda: criterion(model(x).flatten(0, 1), y.flatten()), optimizer, clip=0.5)


def gpt2_decode(torch, tiny):
    """GPT-2 124M (random weights): 16 tokens greedily with a KV cache after a prompt of 64, batch 1; time per token."""
    shape, prompt, tokens = ((11, 16, 2, 2, 16), 4, 3) if tiny else ((50257, 1024, 12, 12, 768), 64, 16)
    model = _gpt(torch, *shape, approximate="tanh").eval()
    prefix = numbers(torch, (1, prompt), 0, shape[0])
    state = []  # the prompt's keys and values: computed once the weights have been copied

    def decode():
        if not state:
            state.extend(model(prefix)[1])
        past, token, logits = state, prefix[:, -1:], None
        for _ in range(tokens):
            logits, past = model(token, past)
            token = logits[:, -1].argmax(-1, keepdim=True)
        return logits

    return Work(model, decode, per=tokens, weights_bytes=4 * sum(p.numel() for p in model.parameters()))


TRAINING = {"mlp": mlp, "cnn28": cnn, "resnet18_32": resnet18_32, "gpt": gpt, "chargpt": chargpt, "lstm_lm": lstm_lm}
INFERENCE = {"gpt2_decode": gpt2_decode, "resnet18_224": resnet18_224}
MODELS = TRAINING | INFERENCE


def step(torch, work: Work):
    """One training step (or one inference); returns the loss (or the output)."""
    if work.optimizer is None:
        with torch.no_grad():
            return work.loss()
    work.optimizer.zero_grad()
    loss = work.loss()
    loss.backward()
    if work.clip:
        torch.nn.utils.clip_grad_norm_(work.model.parameters(), work.clip)
    work.optimizer.step()
    return loss


def step_flops(torch, work: Work) -> int:
    """Floating-point operations of the products in one step, counted by hooks on linear, convolution, LSTM and attention layers: forward,
    and in training the gradient of the weights and, where it needs one, of the input (attention: 2.5 times its forward)."""
    nn, total = torch.nn, 0
    training = work.optimizer is not None

    def count(module, inputs, out):
        nonlocal total
        flops = module.attention_flops(*inputs) if hasattr(module, "attention_flops") else 0
        total += int(flops * 3.5) if training else flops
        flops = 0
        if isinstance(module, nn.Linear):
            flops = 2 * out.numel() * module.in_features
        elif isinstance(module, nn.Conv2d):
            flops = 2 * out.numel() * module.weight[0].numel()
        elif isinstance(module, nn.LSTM):
            flops = 2 * (out[0].numel() // module.hidden_size) * sum(p.numel() for n, p in module.named_parameters() if "weight" in n)
        total += flops * ((2 + inputs[0].requires_grad) if training else 1)

    hooks = [m.register_forward_hook(count) for m in work.model.modules()]
    with torch.set_grad_enabled(training):
        work.loss()
    for hook in hooks:
        hook.remove()
    return total
