"""The Triton backend of the compiler (minigrad/compiler/codegen/triton_*.py) without a GPU: generated kernels in Triton's interpreter
against plain ops on the CPU, and compiled for sm_80 and sm_90.
"""

from __future__ import annotations

import importlib.util
import math

import pytest

if importlib.util.find_spec("triton") is None:
    pytest.skip("triton is not installed: pip install 'triton>=3.6,<3.10'", allow_module_level=True)

from fused_programs import Builder, name_of, of_one_op, values

import minigrad as mg
from minigrad.compiler.codegen import triton_runner
from minigrad.compiler.codegen.fused import Unsupported

POINTWISE = [info for info in mg.op.registry.values() if info.pointwise and info.expr is not None]
LEFT_OUT = {"tanhshrink", "erfinv", "lgamma", "digamma", "sinc", "gcd", "lcm"}  # computed in float64 or in a loop, or for integers
ILL = {"gelu_tanh_backward": 32, "silu_backward": 8, "kl_error": 16, "logaddexp2": 16, "bce_logits_error": 16, "ndtr": 64,
       "bce_logits_error_backward": 16, "gelu_erf_backward": 16, "gelu_tanh": 64}  # ulps: subtractions  # fmt: skip


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("MINIGRAD_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def short(monkeypatch):
    """Every size small, so that a few hundred elements are a long row."""
    for name, value in dict(WHOLE_ROW=64, _LONG=32, _FEW_ROWS=16, _PROGRAMS=8).items():
        monkeypatch.setattr(triton_runner, name, value)


def run(b: Builder, **choice) -> list[mg.Tensor]:
    runner = triton_runner.Runner(b.program())
    addresses = [t.data_ptr() for t in (*b.tensors, *(t for _, t in b.outputs))]
    picked = {**runner.tiles.candidates[0], **choice} if choice else None
    runner(addresses, picked, device=mg.device("cpu"))
    return [t for _, t in b.outputs]


def close(got: mg.Tensor, want: mg.Tensor, ulps: float = 2.0, floor: float = 1e-37) -> None:
    want = want.reshape(got.shape)
    assert got.dtype == want.dtype
    if not got.is_floating_point():
        assert mg.equal(got, want), (got, want)
        return
    a, b = got.double(), want.double()
    same = (a == b) | (a.isnan() & b.isnan())
    error = (a - b).abs() / (b.abs() * mg.finfo(got.dtype).eps + floor)
    bad = ~same & ~(error <= ulps)
    assert not bad.any(), (int(bad.sum()), a[bad][:4], b[bad][:4])


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16", "int32", "uint8", "bool"])
def test_every_pointwise_op(dtype):
    done = 0
    for info in POINTWISE:
        numbers = {a.name: 0.75 for a in info.args if a.kind == "scalar"} if dtype.startswith(("f", "bf")) else {}
        if not numbers and any(a.kind == "scalar" for a in info.args):
            numbers = {a.name: 1 for a in info.args if a.kind == "scalar"}
        made = of_one_op(info, dtype, 211, numbers)
        if made is None or (name_of(made[1].dtype) not in (dtype, "bool")):
            continue
        b, want = made
        try:
            (got,) = run(b)
        except Unsupported:
            assert info.name in LEFT_OUT or not dtype.startswith(("f", "bf")), info.name
            continue
        done += 1
        double = dtype == "float64"  # the interpreter rounds twice in fma
        floor = 1e-7 if dtype == "float16" else 1e-37
        if double or info.name in ILL:
            floor = mg.finfo(getattr(mg, dtype)).eps * (64 if double else 1)
        try:
            close(got, want, max(ILL.get(info.name, 2), 64 if double else 2), floor)
        except AssertionError as error:
            raise AssertionError(f"{info.name} of {dtype}: {error}\n{triton_runner.Runner(b.program()).sources[0].text}") from error
    assert done > {"float32": 110, "float64": 110, "bfloat16": 110, "float16": 110, "int32": 40, "uint8": 30, "bool": 15}[dtype]


@pytest.mark.parametrize("exponent", [2, 3, 0.5, -0.5, -1, 1.7, 1])
def test_powers(exponent):
    info = mg.op.registry["pow"]
    b, want = of_one_op(info, "float32", 100, {"exponent": exponent})
    close(run(b)[0], want)


def test_chain_has_the_bits_of_the_ops_one_by_one():
    """16-bit floats are rounded after each step; products are not contracted with the additions of another step."""
    for dtype in ("bfloat16", "float32"):
        x, y = values((1003,), dtype), values((1003,), dtype, 1)
        b = Builder(1003)
        vx, vy = b.load(x), b.load(y)
        product = b.apply("mul", vx, vy)
        b.store(b.apply("add_unit", product, vx))
        b.store(b.apply("relu", b.apply("sub_unit", product, vy)))
        first, second = run(b)
        assert mg.equal(first, x * y + x) and mg.equal(second, (x * y - y).relu())


LAYOUTS = {
    "rows": lambda x: x,
    "turned": lambda x: x.transpose(-1, -2).contiguous().transpose(-1, -2),
    "every_second": lambda x: mg.stack([x, x], -1)[..., 0],
}
SHAPES = [(1, 1), (5, 7), (33, 70), (3, 4, 9), (2, 3, 4, 5), (600, 3), (2, 1500)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_and_broadcasts(shape, layout):
    x = LAYOUTS[layout](values(shape, "float32"))
    row, column, one = values((*shape[:-1], 1), "float32", 1), values(shape[-1:], "bfloat16", 2), values((), "float32", 3)
    b = Builder(*shape)
    v = b.apply("mul", b.load(x), b.load(row, "row"))
    v = b.apply("add_unit", v, b.cast(b.load(column), "float32"))
    v = b.apply("maximum", v, b.load(one, "row"))
    b.store(v)
    b.store(b.apply("gt", v, b.number(1.0), dtype="bool", compute="float32"))
    b.store(b.cast(v, "bfloat16"))
    want = mg.maximum(x * row + column, one)
    got = run(b)
    assert mg.equal(got[0], want) and mg.equal(got[1], want > 1) and mg.equal(got[2], want.bfloat16())


def softmax(b: Builder, x: mg.Tensor) -> None:
    v = b.load(x)
    shifted = b.apply("sub_unit", v, b.reduce("amax", v))
    e = b.apply("exp", shifted)
    b.store(b.apply("true_divide", e, b.reduce("sum", e)))


@pytest.mark.parametrize("shape", [(1, 5), (3, 257), (70, 9), (2, 3, 33), (40, 1)], ids=str)
def test_softmax(shape):
    x = values(shape, "float32", 5)
    b = Builder(*shape)
    softmax(b, x)
    close(run(b)[0], x.softmax(-1), 16, 1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "int32", "uint8"])
@pytest.mark.parametrize("op", ["sum", "prod", "amax", "amin"])
@pytest.mark.parametrize("shape", [(7, 5), (1, 300)], ids=str)
def test_reductions(op, dtype, shape):
    x = values(shape, dtype, 3) / 4 if dtype.startswith(("f", "bf")) else values(shape, dtype, 3)
    b = Builder(*shape)
    v = b.load(x)
    v = b.cast(v, "int64") if dtype in ("int32", "uint8") else v
    b.store(b.cast(b.reduce(op, v), name_of(x.dtype)) if dtype in ("bfloat16", "int32", "uint8") and op[0] == "a" else b.reduce(op, v))
    (got,) = run(b)
    want = getattr(x.double() if x.is_floating_point() else x.long(), op)(-1, keepdim=True)
    close(got, want.to(got.dtype), 16, 1e-5)


def test_softmax_of_long_rows(short):
    x = values((18, 130), "float32", 5).clone()
    want = x.softmax(-1)
    b = Builder(18, 130)
    softmax(b, x)
    b.outputs[0] = (b.outputs[0][0], x)  # over its argument
    close(run(b)[0], want, 16, 1e-10)


def test_nan_wins():
    x = values((4, 20), "float32").clone()
    x[1, 3], x[2] = math.nan, math.nan
    b = Builder(4, 20)
    v = b.load(x)
    b.store(b.reduce("amax", v))
    b.store(b.reduce("amin", v))
    high, low = run(b)
    close(high, x.amax(-1))
    close(low, x.amin(-1))


@pytest.mark.parametrize("shape", [(1, 200), (333,), (5, 3, 91), (2, 65)], ids=str)
def test_long_rows_are_cut(shape, short):
    x, shift = values(shape, "bfloat16", 4), values((*shape[:-1], 1), "float32", 2)
    b = Builder(*shape)
    v = b.apply("sub_unit", b.cast(b.load(x), "float32"), b.load(shift, "row"))
    total = b.reduce("sum", b.apply("mul", v, v))
    b.store(b.apply("true_divide", total, b.number(float(shape[-1]))))
    b.store(b.reduce("amax", v))
    b.store(b.cast(v, "bfloat16"))
    runner = triton_runner.Runner(b.program())
    assert runner.tiles.form == "split" and len(runner.sources) == 2
    mean, largest, y = run(b)
    d = x.float() - shift
    close(mean, (d.double() ** 2).mean(-1, keepdim=True).float(), 16)
    close(largest, d.amax(-1, keepdim=True))
    assert mg.equal(y, d.bfloat16())


@pytest.mark.parametrize("shape", [(20, 99), (4, 5, 128)], ids=str)
def test_long_rows(shape, short):
    x, w = values(shape, "float32", 4), values(shape[-1:], "float32", 1)
    b = Builder(*shape)
    v = b.load(x)
    n = b.number(float(shape[-1]))
    d = b.apply("sub_unit", v, b.apply("true_divide", b.reduce("sum", v), n))
    r = b.apply("rsqrt", b.apply("true_divide", b.reduce("sum", b.apply("mul", d, d)), n))
    b.store(b.apply("mul", b.apply("mul", d, r), b.load(w)))
    b.store(r)
    assert triton_runner.Runner(b.program()).tiles.form == "loop"
    y, rstd = run(b)
    want = (x.double() - x.double().mean(-1, keepdim=True)) / x.double().std(-1, correction=0, keepdim=True)
    close(y, (want * w).float(), 64, 1e-5)
    close(rstd, (1 / x.double().std(-1, correction=0, keepdim=True)).float(), 16)


@pytest.mark.parametrize("shape", [(1, 1), (300, 7), (4, 600), (9, 5, 40), (700, 33)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_sums_of_columns(shape, dtype):
    """The gradients of a bias, of a scale: several results in one pass."""
    g, x = values(shape, dtype), values(shape, dtype, 1)
    b = Builder(*shape)
    vg, vx = b.load(g), b.load(x)
    product = b.apply("mul", vg, vx)
    b.store(product)
    b.store(b.columns(vg), level="column")
    b.store(b.columns(product), dtype, level="column")
    p, of_g, of_p = run(b)
    assert mg.equal(p, g * x)
    outer = tuple(range(len(shape) - 1))
    close(of_g, g.double().sum(outer).float(), 64, 1e-4)
    close(of_p, (g * x).double().sum(outer).to(p.dtype), 64 if dtype == "float32" else 2, 1e-4)


@pytest.mark.parametrize("shape", [(37, 70), (4, 5, 257)], ids=str)
def test_norm_backward(shape):
    """Sums of rows and of columns in one kernel."""
    g, x, w = values(shape, "float32"), values(shape, "float32", 1), values(shape[-1:], "float32", 2)
    r = (x.double() ** 2).mean(-1, keepdim=True).rsqrt().float()
    b = Builder(*shape)
    vg, vx, vw, vr = b.load(g), b.load(x), b.load(w), b.load(r, "row")
    xhat = b.apply("mul", vx, vr)
    gw = b.apply("mul", vg, vw)
    mean = b.apply("true_divide", b.reduce("sum", b.apply("mul", gw, xhat)), b.number(float(shape[-1])))
    b.store(b.apply("mul", b.apply("sub_unit", gw, b.apply("mul", xhat, mean)), vr))
    b.store(b.columns(b.apply("mul", vg, xhat)), level="column")
    dx, dw = run(b)
    x = x.clone().requires_grad_()
    w = w.clone().requires_grad_()
    want = mg.autograd.grad(mg.nn.functional.rms_norm(x, shape[-1:], w, 0.0), (x, w), g)
    close(dx, want[0], 64, 1e-4)
    close(dw, want[1], 64, 1e-4)


def test_result_over_an_argument():
    x = values((40, 50), "float32").clone()
    want = x.softmax(-1)
    b = Builder(40, 50)
    softmax(b, x)
    b.outputs[0] = (b.outputs[0][0], x)
    close(run(b)[0], want, 16, 1e-10)


@pytest.mark.parametrize("choice", [dict(R=1, C=64), dict(R=8, C=64), dict(R=64, C=64)], ids=str)
def test_every_tile_gives_the_same(choice):
    x = values((50, 60), "float32")
    b = Builder(50, 60)
    v = b.load(x)
    b.store(b.apply("silu", b.apply("sub_unit", v, b.reduce("amax", v))))
    close(run(b, **choice)[0], mg.nn.functional.silu(x - x.amax(-1, keepdim=True)), 8)


def test_addresses_of_64_bits(monkeypatch, short):
    monkeypatch.setattr(triton_runner, "_extent", lambda program: 2**31)
    for shape in ((500,), (20, 30), (30, 130), (3, 200)):  # flat, tile, loop, split
        x = values(shape, "float32")
        b = Builder(*shape)
        v = b.load(x)
        if len(shape) == 2:
            total = b.reduce("amax", v)
            b.store(total)
            v = v if shape == (3, 200) else b.apply("sub_unit", v, total)
        b.store(v)
        assert ".to(tl.int64)" in triton_runner.Runner(b.program()).sources[0].text
        top = x.amax(-1, keepdim=True)
        got = run(b)
        assert mg.equal(got[-1], x if len(shape) == 1 or shape == (3, 200) else x - top)
        assert len(shape) == 1 or mg.equal(got[0], top)


def test_without_triton(monkeypatch):
    b = Builder(3)
    b.store(b.load(values((3,), "float32")))
    assert triton_runner.make(b.program()) is not None
    monkeypatch.setattr("minigrad.kernels._has_triton", lambda: False)
    assert triton_runner.make(b.program()) is None


def test_source_is_a_file_to_read(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIGRAD_CACHE_DIR", str(tmp_path))
    b = Builder(6, 12)
    v = b.load(values((6, 12), "bfloat16"))
    b.store(b.apply("tanh", b.apply("sub_unit", v, b.reduce("amax", v))))
    run(b)
    (file,) = (tmp_path / "triton").iterdir()
    text = file.read_text()
    assert "def fused_amax_sub_unit_tanh(x0_ptr, y0_ptr" in text and "# tanh" in text and "m.tanh(" in text
