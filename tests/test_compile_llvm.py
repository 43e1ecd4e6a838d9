"""Machine code of fused kernels (minigrad/compiler/codegen): the bits of eager code and of the interpreter.

The cache on disk is in test_compile_code_cache.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_compile_passes import traced

import minigrad as mg
from minigrad import _core
from minigrad.compiler.codegen import llvm, native, rows
from minigrad.compiler.codegen.fused import Operand, Program, Step, Unsupported

pytestmark = pytest.mark.skipif(not llvm.available(), reason="needs llvmlite")

FLOATS = ("float32", "float64", "float16", "bfloat16")
WHOLE = ("int64", "int32", "int16", "int8", "uint8", "bool")
SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, math.inf, -math.inf, math.nan, 1e-40, -1e-40, 1e-30, 1e30, -1e30, 88.0, -88.0,
           104.0, 7.0, 65504.0, 70000.0, 1e-7)  # fmt: skip
N = 1003


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGRAD_CACHE_DIR", str(tmp_path))


def numbers(dtype: str, seed: int, n: int = N) -> mg.Tensor:
    """Random numbers, and every pair of special ones between two seeds."""
    mg.manual_seed(seed)
    kind = getattr(mg, dtype)
    if dtype == "bool":
        return mg.rand(n) > 0.5
    if dtype in WHOLE:
        return mg.randint(0 if dtype == "uint8" else -100, 100, (n,)).to(kind)
    x = mg.randn(n) * 3
    special = mg.tensor(SPECIAL)
    every = special.repeat(len(SPECIAL)) if seed == 0 else special.repeat_interleave(len(SPECIAL))
    count = min(n // 2, every.numel())
    x[:count] = every[:count]
    return x.to(kind)


def same_bits(a: mg.Tensor, b: mg.Tensor) -> bool:
    """Equal bit for bit; any NaN equals any other."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if not a.dtype.is_floating_point:
        return mg.equal(a, b)
    whole = {2: mg.int16, 4: mg.int32, 8: mg.int64}[a.element_size()]
    a, b = a.reshape(-1), b.reshape(-1)
    return bool(((a.view(whole) == b.view(whole)) | (mg.isnan(a) & mg.isnan(b))).all())


# --- single ops


def unit(name: str, dtype: str, scalars: dict[int, float]) -> Program | None:
    """One op on tensors of `dtype`; `scalars`: operands that are numbers. None where the op does not compute in it."""
    kernel = rows.kernel(name)
    compute = "float32" if dtype in ("float16", "bfloat16") else dtype
    if compute not in kernel.dtypes or (kernel.can_fail and dtype in WHOLE):
        return None
    steps, operands = [], []
    for i in range(kernel.arity):
        kind = "bool" if kernel.mask and i == 0 else dtype
        if i in scalars:
            steps.append(Step("constant", dtype=compute, number=scalars[i]))
        else:
            steps.append(Step("load", operand=len(operands), dtype=kind))
            operands.append(Operand(kind, (1,)))
    out = "bool" if kernel.boolean else dtype
    steps.append(Step("apply", op=name, dtype=out, compute=compute, args=tuple(range(kernel.arity))))
    steps.append(Step("store", args=(kernel.arity,), operand=len(operands)))
    return Program((N,), (*operands, Operand(out, (1,), True)), tuple(steps), len(operands))


POINTWISE = [info for info in mg.op.registry.values() if info.pointwise and _core.pointwise_kernel(info.name) is not None]


@pytest.mark.parametrize("info", POINTWISE, ids=lambda info: info.name)
def test_every_pointwise_op_has_the_bits_of_its_kernel(info: Any) -> None:
    tensors = [a for a in info.args if a.kind in ("tensor", "operand", "scalar")]
    scalars = {i: 0.75 if a.kind == "scalar" and not a.has_default else a.default for i, a in enumerate(tensors) if a.kind == "scalar"}
    if info.name == "replace_nonfinite":
        scalars = {1: 0.5, 2: 9.0, 3: -9.0}
    programs = {d: unit(info.name, d, {i: (v if v is not None else 1) for i, v in scalars.items()}) for d in FLOATS + WHOLE}
    whole = all(float(v or 1).is_integer() for v in scalars.values())
    programs = {d: p for d, p in programs.items() if p is not None and (d in FLOATS or whole)}
    codes = _core.load_code(llvm.compile_text(llvm.module_text(programs)))
    function = mg.op.functions[info.name]
    compared = 0
    for dtype, program in programs.items():
        inputs = [numbers(o.dtype, seed) for seed, o in enumerate(program.operands[: program.n_inputs])]
        given = iter(inputs)
        call = {a.name: (scalars[i] if scalars[i] is not None else 1) if i in scalars else next(given) for i, a in enumerate(tensors)}
        positional = [call.pop(a.name) for a in tensors if not a.keyword_only]
        try:
            want = function(*positional, **call)
        except (RuntimeError, TypeError):  # not for this dtype
            continue
        out = mg.zeros(N, dtype=getattr(mg, program.operands[-1].dtype))
        if want.dtype != out.dtype:  # integers made floats, bools made integers
            continue
        addresses = [t.data_ptr() for t in (*inputs, out)]
        codes[dtype].call(addresses, [N], [1] * len(addresses), (0, 1, 0, N))
        assert same_bits(out, want), (dtype, [(float(a), float(b)) for a, b in zip(out, want) if a != b][:4])
        compared += 1
    assert compared, "nothing was compared"


def test_few_ops_are_left_to_the_interpreter() -> None:
    # Only integer divisions, which report a division by zero.
    refused = set()
    for info in POINTWISE:
        kernel = rows.kernel(info.name)
        if kernel.can_fail:
            refused.add(info.name)
    assert refused == {"floor_divide", "trunc_divide", "remainder", "fmod"}
    steps = (Step("load", operand=0, dtype="int32"), Step("apply", op="fmod", dtype="int32", compute="int32", args=(0, 0)),
             Step("store", args=(1,), operand=1))  # fmt: skip
    with pytest.raises(Unsupported, match="division by zero"):
        llvm.module_text({"f": Program((4,), (Operand("int32", (1,)), Operand("int32", (1,), True)), steps, 1)})


# --- fused kernels of graphs: eager, interpreter and code


def fused(f: Callable, *args: mg.Tensor) -> tuple[Any, list[Any]]:
    graph = traced(f, *args)[0].optimized().fused()
    return graph, _core.fused_programs(graph)


def memory_for(kernel: Any, seed: int, shift: int = 0) -> list[mg.Tensor]:
    """Fresh memory for the operands, `shift` elements into their storages; inputs filled."""
    mg.manual_seed(seed)
    found = []
    for o in kernel.operands:
        n = 1 + sum((size - 1) * stride for size, stride in zip(kernel.sizes, o["strides"]))
        t = mg.zeros(shift + n, dtype=o["dtype"])[shift:]
        if not o["written"]:
            t.copy_(mg.randn(n) * 2 if o["dtype"].is_floating_point else mg.randint(0, 3, (n,)))
        found.append(t)
    return found


def check_code(kernel: Any) -> None:
    """The code gives the interpreter's bits."""
    interpreted = memory_for(kernel, 3)
    kernel.run([t.data_ptr() for t in interpreted])
    native.attach_kernels([kernel], "wait")
    assert kernel.has_code, native.report
    coded = memory_for(kernel, 3)
    kernel.run([t.data_ptr() for t in coded])
    for a, b in zip(coded, interpreted):
        assert same_bits(a, b), kernel


SIZES = [(64, 384), (5, 1000), (7, 13), (3, 5000), (130, 16), (1, 1), (2, 257), (300, 1)]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_rows_and_columns(sizes: tuple[int, int], dtype: str) -> None:
    x = mg.randn(*sizes).to(getattr(mg, dtype))
    b = mg.randn(sizes[1]).to(x.dtype)

    def normalised(x: mg.Tensor, b: mg.Tensor) -> mg.Tensor:
        d = x - x.mean(-1, keepdim=True)
        return d * ((d * d).mean(-1, keepdim=True) + 1e-5).rsqrt() * b

    def softmax(x: mg.Tensor, b: mg.Tensor) -> mg.Tensor:
        e = (x * 0.5 - (x * 0.5).amax(-1, keepdim=True)).exp()
        return e / e.sum(-1, keepdim=True)

    functions: list[Callable] = [normalised, softmax, lambda x, b: ((x * b).relu() + x).sum(0), lambda x, b: (x * 2 - b).amin(-1),
                                 lambda x, b: mg.nn.functional.gelu(x + b) * 0.7 + x]  # fmt: skip
    for f in functions:
        for kernel in fused(f, x, b)[1]:
            check_code(kernel)


@pytest.mark.parametrize("sizes", [(3000,), (3, 5000), (6, 64), (1, 1)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bool", "float64"])
def test_stores_around_the_caches(sizes: tuple[int, ...], dtype: str) -> None:
    """The code of large programs, on small ones: the same bits, wherever results lie."""
    x, y = mg.randn(*sizes), mg.randn(*sizes)
    to = getattr(mg, dtype)
    functions: list[Callable] = [lambda x, y: ((x * y + 1).to(to), x - y), lambda x, y: (mg.sigmoid(x) * y).to(to),
                                 lambda x, y: (mg.exp(y) - x.sum(-1, keepdim=True)).to(to)]  # fmt: skip
    for f in functions:
        for kernel in fused(f, x, y)[1]:
            large = native.program_of(kernel)._replace(large=True)
            code = native.compiled(native.key_of(large.structure()), large)
            assert "nontemporal" in llvm.module_text({"f": large}) or kernel.operands[-1]["strides"][-1] != 1
            strides = [s for o in kernel.operands for s in o["strides"]]
            rows, columns = math.prod(kernel.sizes[:-1]), kernel.sizes[-1]
            for shift in (0, 1, 5, 16):
                plain, around = memory_for(kernel, 3, shift), memory_for(kernel, 3, shift)
                kernel.run([t.data_ptr() for t in plain])
                code.call([t.data_ptr() for t in around], list(kernel.sizes), strides, (0, rows, 0, columns))
                for a, b in zip(around, plain):
                    assert same_bits(a, b), kernel


def test_large_results_over_an_input() -> None:
    kernel = fused(lambda x: (x * 2 + 1).relu(), mg.empty(N))[1][0]
    large = native.program_of(kernel)._replace(large=True)
    x = mg.randn(N)
    expected = (x * 2 + 1).relu()
    native.compiled(native.key_of(large.structure()), large).call([x.data_ptr()] * 2, [N], [1, 1], (0, 1, 0, N))
    assert same_bits(x, expected)


def test_large_programs_are_marked() -> None:
    for n, large in ((1 << 10, False), (24 << 20, True)):
        kernel = fused(lambda x: (x * 2 + 1).relu(), mg.empty(n))[1][0]
        assert kernel.large == large and ("large" in kernel.structure) == large


def test_sums_against_float64() -> None:
    for n in (1, 15, 16, 17, 511, 512, 513, 2047, 100_003):
        x = mg.rand(3, n) + 0.5
        _, kernels = fused(lambda x: (x * 2).sum(-1), x)
        for kernel in kernels:
            native.attach_kernels([kernel], "wait")
            out = mg.zeros(3)
            kernel.run([x.data_ptr(), out.data_ptr()])
            assert ((out.double() / (x.double() * 2).sum(-1)) - 1).abs().max() < 2e-7


OPS_1 = ("neg", "abs", "relu", "exp", "tanh", "sigmoid", "sqrt", "square", "sin", "floor")
OPS_2 = ("add", "sub", "mul", "maximum", "true_divide", "pow", "lt", "eq")


@st.composite
def chains(draw: Any) -> tuple[list[tuple], tuple[int, ...], list[str], list[str]]:
    shape = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 5, 17, 33, 70]), min_size=1, max_size=3)))
    kinds = ["float32", "float32", "bfloat16", "float16", "float64", "int32", "uint8", "bool"]
    dtypes = draw(st.lists(st.sampled_from(kinds), min_size=2, max_size=3))
    layouts = [draw(st.sampled_from(["plain", "transposed", "every second", "row", "column"])) for _ in dtypes]
    steps: list[tuple] = []
    for made in range(len(dtypes), len(dtypes) + draw(st.integers(2, 7))):
        kind = draw(st.sampled_from(["1", "2", "2", "where", "number"]))
        a, b, c = (draw(st.integers(0, made - 1)) for _ in range(3))
        if kind == "1":
            steps.append((draw(st.sampled_from(OPS_1)), a))
        elif kind == "2":
            steps.append((draw(st.sampled_from(OPS_2)), a, b))
        elif kind == "where":
            steps.append(("where", a, b, c))
        else:
            steps.append((draw(st.sampled_from(("add", "mul"))), a, draw(st.sampled_from([0.5, -3.0]))))
    return steps, shape, dtypes, layouts


def laid_out(shape: tuple[int, ...], dtype: str, layout: str, seed: int) -> mg.Tensor:
    if layout == "row":
        shape = shape[-1:]
    elif layout == "column":
        shape = (*shape[:-1], 1)
    if layout == "transposed":
        return numbers(dtype, seed, math.prod(shape)).reshape(shape[::-1]).permute(*range(len(shape) - 1, -1, -1))
    if layout == "every second":
        return numbers(dtype, seed, 2 * math.prod(shape)).reshape(*shape[:-1], 2 * shape[-1])[..., ::2]
    return numbers(dtype, seed, math.prod(shape)).reshape(shape)


@settings(max_examples=60, deadline=None)
@given(chains())
def test_random_chains(chain: tuple) -> None:
    steps, shape, dtypes, layouts = chain
    inputs = [laid_out(shape, d, how, seed) for seed, (d, how) in enumerate(zip(dtypes, layouts))]

    def f(*given: mg.Tensor) -> tuple[mg.Tensor, ...]:
        values = list(given)
        for name, *args in steps:
            a = [values[k] if isinstance(k, int) else k for k in args]
            try:
                values.append(mg.where(a[0] != 0, *a[1:]) if name == "where" else mg.op.functions[name](*a))
            except (RuntimeError, TypeError):  # no such op for the dtype
                values.append(values[args[0]] + 1)
        return tuple(values[len(inputs) :])

    for kernel in fused(f, *inputs)[1]:
        try:
            check_code(kernel)
        except AssertionError:
            if not any("division by zero" in reason for reason in native.report.refused):
                raise


def test_the_compiler_thread_takes_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_PATIENCE", 0.0)
    x = mg.randn(300, 200)
    kernels = [fused(lambda x, n=n: (x * n).abs() + x, x)[1][0] for n in (2.25, 2.75, 3.25)]
    native.attach_kernels(kernels, "some")
    assert native.wait(60) and all(k.has_code for k in kernels)
    small = fused(lambda x: (x * 5.25).abs() + x, x[:2])[1][0]  # would not pay back
    short = fused(lambda x: (x * 5.25).abs() + x[0], x.reshape(-1, 8))[1][0]
    native.attach_kernels([small, short], "some")
    assert not small.has_code and not short.has_code
    with native.using("0"):
        native.attach_kernels([kernels[0]])


def test_backends_by_name() -> None:
    x = mg.randn(200, 300)
    for backend, coded in (("llvm", True), ("interpreter", False)):
        f = mg.compile(lambda x: (x * 6.5).abs() + x, backend=backend)
        assert mg.equal(f(x), f.fn(x))
        assert [k.has_code for k in _core.fused_programs(f.entries[0].plan.graph)] == [coded]


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_debug_levels(level: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("MINIGRAD_DEBUG", str(level))
    x = mg.randn(64, 64)
    step = mg.compile(lambda x: (x * 2 + 1).relu())
    with native.using("wait"):
        assert mg.equal(step(x), (x * 2 + 1).relu())
    shown = capfd.readouterr().err
    assert "ms, 1 ops" in shown and "1 x fused[mul, add, relu]" in shown
    assert ("= fused[mul, add, relu](%0)" in shown) == (level >= 2)
    assert ("store @1" in shown) == (level >= 3)
    paths = [line.removeprefix("code: ") for line in shown.splitlines() if line.startswith("code: ")]
    assert len(paths) == (level >= 4)
    for path in paths:
        text = Path(path).read_text()
        assert "fused[mul, add, relu]" in text and Path(__file__).name in text and "define void @fused" in text
