"""Single ops of the benchmark, forward or forward and backward. A case is written once; `torch` is either library.

A case's function makes its operands from `models.numbers` (equal in both libraries) and returns the call; the call returns the tensors that
are compared. `flops` or `moved` (bytes that must move: operands read once, results written once) give the rate. Sizes are those on which
issue "CPU kernels at the machine's limit" states its aims.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.models import numbers


@dataclass
class Case:
    """An op with its operands: `make(torch)` returns the call."""

    make: Callable[[Any], Callable[[], Any]]
    flops: float = 0
    moved: float = 0
    limit: float = 1e-5  # largest accepted relative difference of a result


CASES: dict[str, Case] = {}
LARGE = (16384, 1024)  # 16 Mi float32, 64 MiB
CONVOLUTIONS = (  # batch, channels in, size, channels out, kernel, stride, groups: ResNet-18 on 32x32 and 224x224, and a depthwise layer
    (32, 3, 32, 64, 3), (32, 64, 32, 64, 3), (32, 64, 32, 128, 3, 2), (32, 128, 16, 128, 3), (32, 256, 8, 256, 3), (32, 512, 4, 512, 3),
    (4, 3, 224, 64, 7, 2), (4, 64, 56, 64, 3), (4, 128, 28, 128, 3), (4, 256, 14, 256, 3), (4, 512, 7, 512, 3), (4, 64, 56, 256, 1),
    (32, 128, 56, 128, 3, 1, 128),
)


def backward(torch, call: Callable[[], Any], *leaves: Any) -> Callable[[], Any]:
    """The call with its gradients: returns (result, gradients of the leaves). The cotangent is random numbers: anything simpler lies in the
    null space of one normalisation or another."""
    cotangent: list[Any] = []

    def run():
        out = call()
        if not cotangent:
            cotangent.append(numbers(torch, tuple(out.shape), 99).to(out.dtype))
        for leaf in leaves:
            leaf.grad = None
        out.backward(cotangent[0])
        return (out.detach(), *(leaf.grad for leaf in leaves))

    return run


def leaf(torch, shape, seed=0, scale=1.0):
    """Random numbers that need a gradient."""
    return (numbers(torch, shape, seed) * scale).requires_grad_()


def matmul_case(b, m, n, k, dtype="float32", backwards=False) -> Case:
    """(b, m, k) @ (b, k, n); `dtype` is a name."""
    def make(torch):
        shapes = ((m, k), (k, n)) if b == 1 else ((b, m, k), (b, k, n))
        if dtype == "int8":
            x, y = (numbers(torch, s, i, 127).to(torch.int8) for i, s in enumerate(shapes))
            return lambda: torch._int_mm(x, y)
        x, y = (numbers(torch, s, i).to(getattr(torch, dtype)) for i, s in enumerate(shapes))
        if torch.get_default_dtype() == torch.float64:  # the reference: what the rounded numbers give in float64
            x, y = x.double(), y.double()
        if backwards:
            x.requires_grad_(), y.requires_grad_()
            return backward(torch, lambda: x @ y, x, y)
        return lambda: x @ y

    return Case(make, flops=2.0 * b * m * n * k * (3 if backwards else 1), limit={"float32": 1e-5, "int8": 0}.get(dtype, 1e-2))


def linear_case(m, n, k) -> Case:
    """A linear layer on m rows, k to n features."""
    def make(torch):
        x, w, b = numbers(torch, (m, k)), numbers(torch, (n, k), 1), numbers(torch, (n,), 2)
        return lambda: torch.nn.functional.linear(x, w, b)

    return Case(make, flops=2.0 * m * n * k)


def conv_case(batch, inside, size, out, kernel, stride=1, groups=1) -> Case:
    """A convolution without bias, forward and backward."""
    def make(torch):
        x, w = leaf(torch, (batch, inside, size, size)), leaf(torch, (out, inside // groups, kernel, kernel), 1, 0.1)
        return backward(torch, lambda: torch.nn.functional.conv2d(x, w, None, stride, kernel // 2, 1, groups), x, w)

    return Case(make, flops=3 * 2.0 * batch * out * (size // stride) ** 2 * inside // groups * kernel**2)


def pointwise_case(fn: Callable[[Any, Any], Any], arrays: int, shape=LARGE) -> Case:
    """fn(torch, x) into a fresh output; `arrays` of this size move."""
    def make(torch):
        x = numbers(torch, shape)
        return lambda: fn(torch, x)

    return Case(make, moved=4.0 * arrays * shape[0] * shape[1])


def gradient_case(fn: Callable[[Any, Any], Any], arrays: int, shape=LARGE) -> Case:
    """fn(torch, x) and the gradient for x."""
    def make(torch):
        x = leaf(torch, shape)
        return backward(torch, lambda: fn(torch, x), x)

    return Case(make, moved=4.0 * arrays * shape[0] * shape[1])


def out_case(name: str, binary: bool = False) -> Case:
    """A pointwise op into an existing output."""
    def make(torch):
        x, y, out = numbers(torch, LARGE), numbers(torch, LARGE, 1), torch.empty(*LARGE)
        return (lambda: getattr(torch, name)(x, y, out=out)) if binary else (lambda: getattr(torch, name)(x, out=out))

    return Case(make, moved=4.0 * (3 if binary else 2) * LARGE[0] * LARGE[1])


def attention_case(b, h, t, d, backwards, causal=True) -> Case:
    """Causal scaled_dot_product_attention; the flops count half of the pairs where it is causal."""
    def make(torch):
        q, k, v = (leaf(torch, (b, h, t, d), i) for i in range(3))

        def call():
            return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)

        if backwards:
            return backward(torch, call, q, k, v)
        return lambda: call().detach()

    return Case(make, flops=4.0 * b * h * t * t * d * (0.5 if causal else 1) * (3.5 if backwards else 1))


def layer_case(build: Callable[[Any], Any], shape, flops=0.0, moved=0.0) -> Case:
    """A module on random input, forward and backward; constant weights, so that both libraries have the same."""
    def make(torch):
        module, x = build(torch), leaf(torch, shape)
        with torch.no_grad():
            for i, p in enumerate(module.parameters()):
                p.copy_(numbers(torch, tuple(p.shape), i) * 0.05)

        def call():
            out = module(x)
            return out[0] if isinstance(out, tuple) else out

        return backward(torch, call, x, *module.parameters())

    return Case(make, flops=flops, moved=moved)


def embedding_backward(torch):
    """Lookup of 16384 tokens in 50257 x 768 and the dense gradient of the table."""
    weight, tokens = leaf(torch, (50257, 768)), numbers(torch, (16384,), 1, 50257)
    return backward(torch, lambda: torch.nn.functional.embedding(tokens, weight), weight)


def cross_entropy(torch):
    """Loss of 1024 rows over 50257 classes and its gradient."""
    x, y = leaf(torch, (1024, 50257)), numbers(torch, (1024,), 1, 50257)

    def run():
        x.grad = None
        loss = torch.nn.functional.cross_entropy(x, y)
        loss.backward()
        return loss.detach(), x.grad

    return run


def optimizer_case(name: str, arrays: int, **options) -> Case:
    """One step over 148 tensors of GPT-2's shapes at a third of its width."""
    shapes = [(768, 256), (256,), (256, 256), (256,), (1024, 256), (1024,), (256, 1024), (256,), (256,), (256,), (256,), (256,)] * 12
    count = sum(s[0] * (s[1] if len(s) > 1 else 1) for s in shapes)

    def make(torch):
        params = [torch.nn.Parameter(numbers(torch, s, i)) for i, s in enumerate(shapes)]
        for i, p in enumerate(params):
            p.grad = numbers(torch, tuple(p.shape), 1000 + i)
        optimizer = getattr(torch.optim, name)(params, **options)

        def run():
            optimizer.step()
            return params[0].detach(), params[-1].detach()

        return run

    return Case(make, moved=4.0 * arrays * count)


def clip_gradients(torch):
    """clip_grad_norm_ of the same tensors, with a norm that never clips, so that every call does the same."""
    params = [torch.nn.Parameter(numbers(torch, (1024, 256), i)) for i in range(48)]
    for i, p in enumerate(params):
        p.grad = numbers(torch, (1024, 256), 1000 + i)
    return lambda: torch.nn.utils.clip_grad_norm_(params, 1e9)


def _declare() -> None:
    for n in (32, 64, 128, 256, 512, 1024, 2048):
        CASES[f"gemm/{n}"] = matmul_case(1, n, n, n)
    for m, n, k in ((1, 4096, 4096), (1, 3072, 768), (8, 4096, 1024), (32, 3072, 768), (64, 768, 3072)):
        CASES[f"gemm/{m}x{n}x{k}"] = linear_case(m, n, k)
    CASES["gemm/512_fb"] = matmul_case(1, 512, 512, 512, backwards=True)
    CASES["gemm/1024_f64"] = matmul_case(1, 1024, 1024, 1024, "float64")
    CASES["gemm/batch96x128x128x64"] = matmul_case(96, 128, 128, 64)
    CASES["gemm/batch64x32"] = matmul_case(64, 32, 32, 32)
    for short, dtype in (("bf16", "bfloat16"), ("f16", "float16"), ("int8", "int8")):
        CASES[f"gemm/512_{short}"] = matmul_case(1, 512, 512, 512, dtype)
    for args in CONVOLUTIONS:
        batch, inside, size, out, kernel = args[:5]
        suffix = "_depthwise" if args[6:] else "s2" if args[5:] else ""
        CASES[f"conv/{batch}x{inside}x{size}_{out}k{kernel}{suffix}"] = conv_case(*args)
    CASES["mem/add"] = pointwise_case(lambda m, x: x + x, 2)
    for name in ("exp", "tanh", "sigmoid"):
        CASES[f"mem/{name}"] = pointwise_case(lambda m, x, name=name: getattr(x, name)(), 2)
    CASES["mem/gelu"] = pointwise_case(lambda m, x: m.nn.functional.gelu(x), 2)
    CASES["mem/softmax"] = pointwise_case(lambda m, x: x.softmax(-1), 2)
    CASES["mem/layer_norm"] = pointwise_case(lambda m, x: m.nn.functional.layer_norm(x, (1024,)), 2)
    for name, binary in (("add", True), ("exp", False), ("sigmoid", False), ("tanh", False)):
        CASES[f"mem/{name}_out"] = out_case(name, binary)
    CASES["mem/bias_gelu_fb"] = gradient_case(lambda m, x: m.nn.functional.gelu(x + 1.0), 5)
    CASES["mem/softmax_fb"] = gradient_case(lambda m, x: x.softmax(-1), 5)
    CASES["mem/layer_norm_fb"] = gradient_case(lambda m, x: m.nn.functional.layer_norm(x, (1024,)), 5)
    CASES["mem/transposed_copy"] = pointwise_case(lambda m, x: x.t().contiguous(), 2)
    CASES["mem/sum_columns"] = pointwise_case(lambda m, x: x.sum(0), 1)
    CASES["mem/sum_rows"] = pointwise_case(lambda m, x: x.sum(1), 1)
    CASES["mem/cumsum"] = pointwise_case(lambda m, x: x.cumsum(1), 2)
    CASES["mem/batch_norm_fb"] = layer_case(lambda m: m.nn.BatchNorm2d(64), (32, 64, 56, 56), moved=4.0 * 6 * 32 * 64 * 56 * 56)
    CASES["mem/max_pool_fb"] = layer_case(lambda m: m.nn.MaxPool2d(2), (32, 64, 56, 56), moved=4.0 * 2.75 * 32 * 64 * 56 * 56)
    CASES["mem/embedding_fb"] = Case(embedding_backward, moved=4.0 * 768 * (50257 + 3 * 16384))
    CASES["mem/cross_entropy_fb"] = Case(cross_entropy, moved=4.0 * 3 * 1024 * 50257)
    CASES["attention/4x6x256x64"] = attention_case(4, 6, 256, 64, False)
    CASES["attention/4x6x256x64_fb"] = attention_case(4, 6, 256, 64, True)
    CASES["attention/1x12x1024x64_fb"] = attention_case(1, 12, 1024, 64, True)
    CASES["attention/1x12x1024x64_full_fb"] = attention_case(1, 12, 1024, 64, True, causal=False)
    rnn = 16 * 64 * 2.0 * 256 * 512
    CASES["rnn/lstm_fb"] = layer_case(lambda m: m.nn.LSTM(256, 256, batch_first=True), (16, 64, 256), flops=3 * 4 * rnn)
    CASES["rnn/gru_fb"] = layer_case(lambda m: m.nn.GRU(256, 256, batch_first=True), (16, 64, 256), flops=3 * 3 * rnn)
    CASES["optim/adamw"] = optimizer_case("AdamW", 7, lr=1e-3)
    CASES["optim/sgd_momentum"] = optimizer_case("SGD", 5, lr=1e-3, momentum=0.9)
    CASES["optim/clip_grad_norm"] = Case(clip_gradients, moved=4.0 * 48 * 1024 * 256)


_declare()
