"""Random programs, compiled and plain: values, gradients, what is written into arguments and what shares memory are the same.

A program is a list of steps on a growing pool of tensors; each step takes what it can from the pool, so every list is a valid program and
hypothesis can shrink it. A long run: MINIGRAD_COMPILE_FUZZ=20000 pytest tests/test_compile_fuzz.py
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.compiler import CompiledFunction
from minigrad.compiler.codegen import native
from minigrad.nn import functional as F

Tensor = mg.Tensor
EXAMPLES = int(os.environ.get("MINIGRAD_COMPILE_FUZZ", "120"))


def by_hand(x: Tensor, log: bool = False) -> Tensor:
    if not x.shape[-1] or not x.is_floating_point():
        return x
    z = x - (x.amax(-1, keepdim=True) if x.shape[-1] % 2 else x.max(-1, keepdim=True).values)
    e = z.exp()
    return z - e.sum(-1, keepdim=True).log() if log else e / e.sum(-1, keepdim=True)


def picked(x: Tensor) -> Tensor:
    if x.dim() != 2 or not x.numel():
        return x
    rows = mg.arange(x.shape[0])
    target = rows % x.shape[1]
    return F.nll_loss(x.log_softmax(-1), target) + x.log_softmax(-1)[rows, target] + by_hand(x, True).gather(1, target[:, None]).squeeze(1)


UNARY: dict[str, Callable] = {
    "sin": mg.sin, "tanh": mg.tanh, "relu": mg.relu, "sigmoid": mg.sigmoid, "abs": mg.abs, "neg": mg.neg, "times_one": lambda x: x * 1,
    "minus_zero": lambda x: x - 0, "plus_zero": lambda x: x + 0.0, "square": lambda x: x**2, "quarter": lambda x: x / 4, "clone": mg.clone,
    "contiguous": lambda x: x.contiguous(), "gelu": F.gelu, "to_double": lambda x: x.double(), "to_float": lambda x: x.float(),
    "to_bfloat16": lambda x: x.bfloat16(), "detach": lambda x: x.detach(), "sign": lambda x: mg.where(x > 0, 1.0, -1.0),
    "exp": lambda x: mg.exp(-x.abs()), "sqrt": lambda x: mg.sqrt(x.abs() + 1), "clamp": lambda x: x.clamp(-1, 1),
}  # fmt: skip
BINARY: dict[str, Callable] = {
    "add": mg.add, "sub": mg.sub, "mul": mg.mul, "maximum": mg.maximum, "where": lambda x, y: mg.where(x > y, x, y * 2),
    "divide": lambda x, y: x / (y.abs() + 1), "addcmul": lambda x, y: mg.addcmul(x, x, y), "less": lambda x, y: (x < y).float(),
}  # fmt: skip
REDUCTIONS: dict[str, Callable] = {
    "sum": lambda x, d: x.sum(d), "mean": lambda x, d: x.mean(d, keepdim=True), "softmax": lambda x, d: x.softmax(d),
    "var": lambda x, d: x.var(d, correction=0), "cumsum": lambda x, d: x.cumsum(d), "total": lambda x, d: x.sum(),
    "normalise": lambda x, d: x - x.mean(d, keepdim=True), "amax": lambda x, d: x.amax(d) if x.shape[d] else x,
    "softmax_by_hand": lambda x, d: by_hand(x),
    "log_softmax_by_hand": lambda x, d: by_hand(x, True), "picked": lambda x, d: picked(x),
    "logsumexp": lambda x, d: x.logsumexp(d), "mean_of_all": lambda x, d: x.mean(), "squares": lambda x, d: (x * x).sum(),
    "largest": lambda x, d: x.amax() if x.numel() else x, "least": lambda x, d: (x * 2).amin() if x.numel() else x,
    "by_norm": lambda x, d: x / ((x * x).sum().sqrt() + 1), "centred": lambda x, d: x - x.mean(d).unsqueeze(d),
    "rms": lambda x, d: x * (x.square().mean(-1) + 1).rsqrt().unsqueeze(-1), "loss": lambda x, d: ((x - 1).abs() * 0.5).mean(),
}  # fmt: skip
VIEWS: dict[str, Callable] = {
    "transpose": lambda x, d, k: x.transpose(d, k % x.dim()), "flatten": lambda x, d, k: x.flatten(),
    "unsqueeze": lambda x, d, k: x.unsqueeze(d),
    "select": lambda x, d, k: x.select(d, k % x.shape[d]) if x.shape[d] else x, "chunk": lambda x, d, k: x.chunk(2, d)[-1],
    "narrow": lambda x, d, k: x.narrow(d, min(k, x.shape[d]), max(x.shape[d] - k - 1, 0)), "squeeze": lambda x, d, k: x.squeeze(d),
    "expand": lambda x, d, k: x.unsqueeze(0).expand(2, *x.shape), "step": lambda x, d, k: x[::2], "view": lambda x, d, k: x.reshape(-1, 1),
    "flip": lambda x, d, k: x.flip(d), "view_as": lambda x, d, k: x.reshape(x.shape[::-1]), "alias": lambda x, d, k: x.view(x.shape),
    "rows": lambda x, d, k: x.reshape(-1, x.shape[-1]) if x.shape[-1] else x,
    "split_last": lambda x, d, k: x.unflatten(-1, (-1, 2)) if x.numel() and x.shape[-1] % 2 == 0 else x.unsqueeze(-1),
    "merged": lambda x, d, k: x.flatten(d), "outer": lambda x, d, k: x.flatten(0, d),
    "spread": lambda x, d, k: x - x.sum(-1).unsqueeze(-1).expand(x.shape),
    "mT": lambda x, d, k: x.transpose(-1, -2) if x.dim() > 1 else x,
}  # fmt: skip
WRITES: dict[str, Callable] = {
    "add_": lambda x, y: x.add_(1), "mul_": lambda x, y: x.mul_(0.5), "zero_": lambda x, y: x.zero_(), "fill_": lambda x, y: x.fill_(2.0),
    "relu_": lambda x, y: x.relu_(), "copy_": lambda x, y: x.copy_(y) if fits(y, x) else x,
    "iadd": lambda x, y: x.add_(y) if fits(y, x) else x,
    "set_row": lambda x, y: x.__setitem__(0, 3.0) if x.dim() and len(x) else x,
    "masked_fill_": lambda x, y: x.masked_fill_(x > 0, 1.5), "set_rest": lambda x, y: x[1:].mul_(3) if x.dim() else x,
    "sigmoid_": lambda x, y: x.sigmoid_(), "clamp_": lambda x, y: x.clamp_(-1, 1), "by_itself": lambda x, y: x.mul_(x),
    "mul_by": lambda x, y: x.mul_(y) if fits(y, x) else x, "wide": lambda x, y: x.add_(y.double()) if fits(y, x) else x,
    "addcmul_": lambda x, y: x.addcmul_(y, y, value=0.5) if fits(y, x) else x, "by_name": lambda x, y: x.detach().neg_(),
    "flat": lambda x, y: x.view(-1).add_(1), "turned": lambda x, y: x.transpose(0, -1).mul_(2) if x.dim() else x,
    "row_sums": lambda x, y: x.sub_(x.sum(-1, keepdim=True)) if x.dim() else x,
    "turn_added": lambda x, y: x.add_(x.t()) if x.dim() == 2 and x.shape[0] == x.shape[1] else x,
}  # fmt: skip
FRESH: dict[str, Callable] = {
    "zeros_like": mg.zeros_like, "arange": lambda x: mg.arange(float(x.shape[-1])) if x.dim() else x, "eye": lambda x: mg.eye(2, 3),
    "full": lambda x: mg.full(x.shape, 2.0), "constant_mask": lambda x: x * mg.ones(x.shape[-2:]).tril() if x.dim() > 1 else x,
    "tensor": lambda x: mg.tensor([1.0, 2.0]), "rand": lambda x: mg.rand(2, 3), "dropout": lambda x: F.dropout(x, 0.5),
    "by_size": lambda x: x + 1 if x.dim() and x.shape[0] > 2 else x * 2, "loop": lambda x: sum((x * k for k in range(x.dim())), x),
}  # fmt: skip
JOINS: dict[str, Callable] = {
    "matmul": lambda x, y: x @ y if x.dim() == 2 and y.dim() == 2 and x.shape[1] == y.shape[0] and x.dtype == y.dtype else x,
    "gram": lambda x, y: x.t() @ x if x.dim() == 2 else x,
    "cat": lambda x, y: mg.cat([x, y], 0) if x.dim() and x.shape[1:] == y.shape[1:] and y.dim() else x,
    "stack": lambda x, y: mg.stack([x, y]) if x.shape == y.shape else x,
    "parts": lambda x, y: sum((p * (k + 1) for k, p in enumerate(x.unbind(0))), 0 * x.sum()) if x.dim() and len(x) else x,
    "split": lambda x, y: x.chunk(2, 0)[0].sin().sum() + x.chunk(2, 0)[-1].cos().sum() if x.dim() else x,
}  # fmt: skip
KINDS = (UNARY, BINARY, REDUCTIONS, VIEWS, WRITES, FRESH, JOINS)
NAMES = [name for kind in KINDS for name in kind]
Step = tuple[str, int, int, int]


def fits(small: Tensor, large: Tensor) -> bool:
    pairs = zip(reversed(small.shape), reversed(large.shape))
    return small.dim() <= large.dim() and all(a in (1, b) for a, b in pairs)


def together(x: Tensor, y: Tensor) -> bool:
    return all(a == b or 1 in (a, b) for a, b in zip(reversed(x.shape), reversed(y.shape)))


def writable(x: Tensor) -> bool:
    return not (x.requires_grad and x.is_leaf) and all(s or n < 2 for s, n in zip(x.stride(), x.shape)) and not shares_with_leaf(x)


def shares_with_leaf(x: Tensor) -> bool:
    base = x._base if x._is_view() else None
    return base is not None and base.requires_grad and base.is_leaf


def step(pool: list[Tensor], name: str, a: int, b: int, c: int) -> Tensor | None:
    x, y = pool[a % len(pool)], pool[b % len(pool)]
    if x.numel() > 400:
        return None
    if name in UNARY:
        return UNARY[name](x)
    if name in BINARY:
        return BINARY[name](x, y) if together(x, y) else None
    if name in REDUCTIONS:
        return REDUCTIONS[name](x, c % x.dim()) if x.dim() else None
    if name in VIEWS:
        return VIEWS[name](x, c % x.dim(), b) if x.dim() and x.dim() < 4 else None
    if name in WRITES:
        if writable(x) and x.is_floating_point():
            WRITES[name](x, y)
        return None
    if name in FRESH:
        return FRESH[name](x)
    return JOINS[name](x, y)


def program(steps: list[Step], results: list[int]) -> Callable:
    def f(*inputs: Tensor) -> Any:
        pool = list(inputs)
        for name, a, b, c in steps:
            made = step(pool, name, a, b, c)
            if made is not None:
                pool.append(made)
        return [pool[-1 - k % len(pool)] for k in results]

    return f


SHAPES = [(2, 3), (3, 3), (4,), (1, 3), (0, 3), (), (3, 2, 2), (3, 1)]


def make(shapes: list[int], grads: list[bool], dtype: Any, extra: int, seed: int) -> list[Tensor]:
    """The arguments; `extra` is added to sizes of 2 and more in the first dimension. With odd seeds some overlap in memory."""
    mg.manual_seed(seed)
    found = []
    for k, needs in zip(shapes, grads):
        shape = SHAPES[k]
        shape = (shape[0] + extra, *shape[1:]) if extra and shape and shape[0] > 1 else shape
        found.append(mg.randn(shape, dtype=dtype).requires_grad_(needs))
    if seed % 2 and len(found) > 1 and found[0].dim() and found[0].shape == found[1].shape and not any(grads[:2]):
        base = mg.randn(found[0].shape[0] + 1, *found[0].shape[1:], dtype=dtype)
        found[:2] = base[1:], base[:-1]
    return found


def layout(tensors: list[Tensor]) -> list[Any]:
    """Which of them share memory, which are one object, and how they lie."""
    at = [t.untyped_storage().data_ptr() if t.numel() else 0 for t in tensors]
    same = [[p == q and p != 0 for q in at] for p in at]
    return [same, [], [(t.shape, t.stride(), t.dtype, t.requires_grad) for t in tensors]]


def outcome(f: Callable, inputs: list[Tensor]) -> tuple[list[Any], list[Tensor], str]:
    mg.manual_seed(5)
    try:
        results = f(*inputs)
    except RuntimeError as error:
        return [], [], type(error).__name__
    lies = layout([*inputs, *results])
    leaves = [t for t in inputs if t.requires_grad]
    values = [t.detach().clone() for t in (*inputs, *results)]
    losses = [t.float().sum() for t in results if t.requires_grad and t.grad_fn is not None]
    if losses:
        try:
            grads = mg.autograd.grad(sum(losses), leaves, allow_unused=True)
        except RuntimeError as error:
            return lies, values, type(error).__name__
        values += [mg.zeros(()) if g is None else g for g in grads]
    for t in results:
        if writable(t.detach()):
            t.detach().fill_(-7)  # nothing of it may come back in the next call
    return lies, values, ""


def equal(a: Tensor, b: Tensor, exact: bool) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if exact and a.is_floating_point():
        return bool(((a == b) | (a.isnan() & b.isnan())).all())
    return mg.allclose(a, b, rtol=2e-2 if a.dtype == mg.bfloat16 else 2e-5, atol=1e-5, equal_nan=True)


def check(steps: list[Step], results: list[int], inputs: tuple, dtype: Any, sizes: tuple[int, ...], dynamic: bool | None = None) -> None:
    shapes, grads = inputs
    f = program(steps, results)
    compiled = CompiledFunction(f, dynamic=dynamic)
    exact = not any(name in REDUCTIONS or name in JOINS for name, *_ in steps) and not any(grads)
    for seed, extra in enumerate(sizes):
        got = outcome(compiled, make(shapes, grads, dtype, extra, seed))
        want = outcome(f, make(shapes, grads, dtype, extra, seed))
        text = f"{steps} results={results} shapes={[SHAPES[k] for k in shapes]} grads={grads} extra={extra} seed={seed}\n{compiled.reasons}"
        assert got[2] == want[2], text
        assert got[0] == want[0], f"{text}\nlayout {got[0]} {want[0]}"
        for k, (g, w) in enumerate(zip(got[1], want[1], strict=True)):
            assert equal(g, w, exact), f"{text}\nvalue {k}: {g} {w}\n" + "\n".join(str(e.graph) for e in compiled.entries)


STEPS = st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 9), st.integers(0, 9), st.integers(0, 2)), min_size=1, max_size=12)
OFTEN = [*WRITES, *WRITES, *"transpose alias view narrow add mul square sum normalise gram clone total".split()]
WRITING = st.lists(st.tuples(st.sampled_from(OFTEN), st.integers(0, 5), st.integers(0, 5), st.integers(0, 2)), min_size=2, max_size=14)
INPUTS = st.integers(1, 3).flatmap(lambda n: st.tuples(st.lists(st.integers(0, len(SHAPES) - 1), min_size=n, max_size=n),
                                                       st.lists(st.booleans(), min_size=n, max_size=n)))  # fmt: skip
RESULTS = st.lists(st.integers(0, 12), min_size=1, max_size=3)
QUIET = settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=EXAMPLES == 120,
                 suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@QUIET
@given(STEPS, RESULTS, INPUTS)
def test_programs(steps: list[Step], results: list[int], inputs: tuple[list[int], list[bool]]) -> None:
    check(steps, results, inputs, mg.float32, (0, 0, 0))


@QUIET
@given(STEPS, RESULTS, INPUTS)
def test_programs_without_gradients(steps: list[Step], results: list[int], inputs: tuple[list[int], list[bool]]) -> None:
    check(steps, results, (inputs[0], [False] * len(inputs[0])), mg.float32, (0, 0, 0))


@QUIET
@given(STEPS, RESULTS, INPUTS, st.sampled_from([mg.float64, mg.bfloat16, mg.float16]))
def test_programs_of_other_dtypes(steps: list[Step], results: list[int], inputs: tuple[list[int], list[bool]], dtype: Any) -> None:
    check(steps, results, inputs, dtype, (0, 0))


@settings(QUIET, max_examples=max(EXAMPLES // 2, 20))
@given(STEPS, RESULTS, INPUTS)
def test_programs_at_many_sizes(steps: list[Step], results: list[int], inputs: tuple[list[int], list[bool]]) -> None:
    check(steps, results, inputs, mg.float32, (0, 1, 2, 0, 3, 1, 4, 4), True)


@QUIET
@given(WRITING, RESULTS, INPUTS, st.booleans())
def test_programs_that_write(steps: list[Step], results: list[int], inputs: tuple[list[int], list[bool]], grads: bool) -> None:
    check(steps, results, (inputs[0], [grads and g for g in inputs[1]]), mg.float32, (0, 0, 0))


@settings(QUIET, max_examples=max(EXAMPLES // 6, 20))
@given(WRITING, RESULTS, INPUTS, st.sampled_from([mg.float32, mg.float32, mg.float64, mg.bfloat16, mg.float16]))
def test_writes_as_machine_code(steps: list[Step], results: list[int], inputs: tuple[list[int], list[bool]], dtype: Any) -> None:
    pytest.importorskip("llvmlite")
    with native.using("wait"):
        check(steps, results, (inputs[0], [False] * len(inputs[0])), dtype, (0, 0))


@settings(QUIET, max_examples=max(EXAMPLES // 6, 20))
@given(STEPS, RESULTS, INPUTS, st.sampled_from([mg.float32, mg.float32, mg.float64, mg.bfloat16, mg.float16]))
def test_programs_as_machine_code(steps: list[Step], results: list[int], inputs: tuple[list[int], list[bool]], dtype: Any) -> None:
    pytest.importorskip("llvmlite")
    with native.using("wait"):
        check(steps, results, inputs, dtype, (0, 0))


def test_a_kernel_after_a_kernel_in_half_precision() -> None:
    """Machine code: what one row function leaves is rounded before the next one reads it."""
    pytest.importorskip("llvmlite")

    def f(x: Tensor) -> tuple[Tensor, Tensor]:
        y = x.sin()
        return F.gelu(y), y

    with native.using("wait"):
        for dtype in (mg.float16, mg.bfloat16, mg.float32):
            compiled = CompiledFunction(f)
            for _ in range(2):
                x = mg.randn(5, 7, dtype=dtype)
                assert all(mg.equal(g, w) for g, w in zip(compiled(x), f(x), strict=True))


def test_arguments_that_overlap_now_and_did_not_then() -> None:
    def f(x: Tensor, y: Tensor) -> Tensor:
        a = x * 2
        y.add_(1)
        return a + x * 2

    compiled = CompiledFunction(f)
    for overlap in (False, True, False, True):
        (x, y), (u, v) = ((b[:3], b[1:]) if overlap else (b[:3].clone(), b[1:].clone()) for b in (mg.zeros(4), mg.zeros(4)))
        assert mg.equal(compiled(x, y), f(u, v)) and mg.equal(x, u) and mg.equal(y, v)
    assert len(compiled.entries) == 2


def test_an_argument_that_is_what_the_function_writes_to() -> None:
    w = mg.zeros(4)

    def f(x: Tensor) -> Tensor:
        a = x * 2
        w.add_(1)
        return a + x * 2

    compiled = CompiledFunction(f)
    for own in (False, True, True, False):
        before = w.clone()
        got = compiled(w.view(4) if own else mg.zeros(4))
        assert mg.equal(w, before + 1) and mg.equal(got, before * 2 + w * 2 if own else mg.zeros(4))


def test_an_alias_of_an_argument_is_no_constant() -> None:
    for f in (lambda x: x.detach(), lambda x: x.data + 1, lambda x: [x.detach(), x]):
        compiled = CompiledFunction(f)
        for n in (2, 3, 2, 3, 2):
            x = mg.randn(n, 2, requires_grad=True)
            for g, w in zip(compiled(x), f(x), strict=True):
                assert mg.equal(g, w) and g.requires_grad == w.requires_grad


def test_an_alias_of_a_parameter_follows_it() -> None:
    layer = mg.nn.Linear(2, 2)
    compiled = CompiledFunction(lambda x: x @ layer.weight.detach())
    x = mg.ones(1, 2)
    for value in (1.0, 2.0):
        layer.weight.data = mg.full((2, 2), value)
        assert compiled(x).tolist() == [[2 * value] * 2]


def test_an_argument_that_gets_a_history() -> None:
    def f(a: Tensor, b: Tensor) -> Tensor:
        b.copy_(a)
        return b * 1

    compiled = CompiledFunction(f)
    for _ in range(2):
        a, b = mg.randn(3, requires_grad=True), mg.zeros(3)
        assert compiled(a, b).requires_grad and b.requires_grad and mg.equal(b, a)
    assert "gets a history" in compiled.reasons[0]


def test_gradients_in_any_layout() -> None:
    compiled = CompiledFunction(lambda x: (x[::2], x.tanh().t(), x.unsqueeze(0).expand(2, 3, 3)))
    for _ in range(2):
        x = mg.randn(3, 3, requires_grad=True)
        weights = [mg.ones(()).expand(2, 3), mg.randn(3, 3).t(), mg.randn(3, 1, 3).expand(3, 2, 3).transpose(0, 1)]
        got, want = (mg.autograd.grad(f(x), x, weights)[0] for f in (compiled, compiled.fn))
        assert mg.allclose(got, want, rtol=1e-5, atol=1e-6)
