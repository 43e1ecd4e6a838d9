"""Machine code of fused kernels (minigrad/compiler/codegen): the bits of eager code and of the interpreter; the cache on disk."""

from __future__ import annotations

import math
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad import _core
from minigrad.compiler._entry import UNPREDICTABLE
from minigrad.compiler.codegen import llvm, native, rows, store
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
    trace = _core.Trace(UNPREDICTABLE)
    trace.enter()
    try:
        result = f(*args)
        graph = trace.leave(list(result) if isinstance(result, tuple) else [result])
        del result
    finally:
        trace.abandon()
    graph = graph.optimized().fused()
    return graph, _core.fused_programs(graph)


def memory_for(kernel: Any, seed: int) -> list[mg.Tensor]:
    """Fresh memory for the operands, inputs filled."""
    mg.manual_seed(seed)
    found = []
    for o in kernel.operands:
        n = 1 + sum((size - 1) * stride for size, stride in zip(kernel.sizes, o["strides"]))
        t = mg.zeros(n, dtype=o["dtype"])
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


# --- the cache on disk


def program(number: float) -> Program:
    steps = (Step("load", operand=0), Step("constant", number=number), Step("apply", op="mul", args=(0, 1)),
             Step("store", args=(2,), operand=1))  # fmt: skip
    return Program((N,), (Operand("float32", (1,)), Operand("float32", (1,), True)), steps, 1)


def run(code: Any, number: float) -> None:
    x, out = mg.arange(N).float(), mg.zeros(N)
    code.call([x.data_ptr(), out.data_ptr()], [N], [1, 1], (0, 1, 0, N))
    assert mg.equal(out, x * number)


def forget() -> None:
    native._loaded.clear()


def test_code_comes_from_disk_and_damaged_files_are_replaced(tmp_path: Path) -> None:
    key = native.key_of(program(3.0).structure())
    forget()
    run(native.compiled(key, program(3.0)), 3.0)
    path = Path(store.directory()) / key
    whole = path.read_bytes()
    for broken in (None, whole[:100], whole[: len(whole) // 2], b"", whole[:-1] + b"x", b"junk" * 100):
        if broken is not None:
            path.write_bytes(broken)
        before = (native.report.compiled, native.report.from_disk)
        forget()
        run(native.compiled(key, program(3.0)), 3.0)
        made, read = native.report.compiled - before[0], native.report.from_disk - before[1]
        assert (made, read) == ((0, 1) if broken is None else (1, 0))
        assert path.read_bytes()[: len(whole)] == whole
    assert [p.name for p in path.parent.iterdir()] == [key]  # nothing half-written stays


def test_loader_refuses_damaged_objects() -> None:
    data = llvm.compile_text(llvm.module_text({"f": program(2.0)}))
    assert set(_core.load_code(data)) == {"f"}
    for bad in (b"", data[:20], data[:200], data[:-200], b"\0" * len(data)):
        with pytest.raises(RuntimeError, match="cannot be loaded"):
            _core.load_code(bad)
    mg.manual_seed(0)
    for _ in range(300):  # any damaged byte: refused or loaded, never a crash
        at, value = mg.randint(0, len(data), (2,)).tolist()
        damaged = bytearray(data)
        damaged[at] = value % 256
        try:
            _core.load_code(bytes(damaged))
        except RuntimeError:
            pass


def test_oldest_files_go(monkeypatch: pytest.MonkeyPatch) -> None:
    where = Path(store.directory())
    for k in range(10):
        store.write(f"k{k}", b"x" * 1000)
        os.utime(where / f"k{k}", (1000 + k, 1000 + k))
    assert store.read("k0") == b"x" * 1000  # used now
    monkeypatch.setenv("MINIGRAD_CACHE_SIZE", "5K")
    assert store.size_limit() == 5120
    store.trim()
    assert sorted(p.name for p in where.iterdir()) == ["k0", "k7", "k8", "k9"]


def test_no_cache_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in ("0", str(tmp_path / "file")):
        monkeypatch.setenv("MINIGRAD_CACHE_DIR", place)
        forget()
        run(native.compiled(native.key_of(program(5.0).structure()), program(5.0)), 5.0)


def _write_many(place: str, number: int) -> None:
    os.environ["MINIGRAD_CACHE_DIR"] = place
    for k in range(200):
        store.write(f"k{k % 5}", bytes([number]) * 5000)
        found = store.read(f"k{(k + 1) % 5}")
        assert found is None or len(set(found)) == 1


def test_concurrent_writers(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_write_many, args=(str(tmp_path), n)) for n in range(4)]
    for p in processes:
        p.start()
    for p in processes:
        p.join()
        assert p.exitcode == 0
    assert sorted(p.name for p in Path(store.directory()).iterdir()) == [f"k{k}" for k in range(5)]


def test_a_warm_process_does_not_import_llvmlite(tmp_path: Path) -> None:
    script = """
import sys
from test_compile_llvm import program, run
from minigrad.compiler.codegen import native
for n in (2.0, 7.0):
    run(native.compiled(native.key_of(program(n).structure()), program(n)), n)
print(native.report.compiled, native.report.from_disk, "llvmlite" in sys.modules)
"""
    found = []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
        found.append(done.stdout.split())
    assert found == [["2", "0", "True"], ["0", "2", "False"]]
