"""Compiles generated kernels for sm_80 and sm_90 and prints what the compiler made of them, as JSON. Run by test_compile_cuda.py in a
process without TRITON_INTERPRET.
"""

from __future__ import annotations

import dataclasses
import json
import types

from fused_programs import Builder

import minigrad as mg
from minigrad.compiler.codegen import triton_runner
from minigrad.kernels import _aot
from minigrad.kernels._launch import recording
from minigrad.kernels._specialize import specialise


def empty(*shape, dtype="float32"):
    return mg.empty(shape, dtype=getattr(mg, dtype), device="meta")


def activations(dtype):
    """Every function that is fused, once."""
    b = Builder(1 << 20)
    v = b.load(empty(1 << 20, dtype=dtype))
    names = "gelu_erf gelu_tanh silu mish tanh sigmoid erf erfc expm1 log1p atan asinh rsqrt round_even acosh atanh"
    for name in names.split():  # without sin, whose local memory is no spill
        v = b.apply(name, v)
    b.store(b.apply("pow", v, b.load(empty(1 << 20, dtype=dtype))))
    return b


def gelu_backward(dtype):
    b = Builder(8192 * 3072)
    g, x = b.load(empty(8192 * 3072, dtype=dtype)), b.load(empty(8192 * 3072, dtype=dtype))
    b.store(b.apply("gelu_erf_backward", g, x))
    return b


def bias_gelu_dropout(dtype):
    b = Builder(8192, 3072)
    v = b.apply("add_unit", b.load(empty(8192, 3072, dtype=dtype)), b.load(empty(3072, dtype=dtype)))
    keep = b.load(empty(8192, 3072, dtype="bool"))
    b.store(b.apply("where", keep, b.apply("gelu_erf", v), b.number(0.0), dtype=dtype, compute="float32"))
    return b


def norm(cols):
    def build(dtype):
        b = Builder(4096, cols)
        v = b.cast(b.load(empty(4096, cols, dtype=dtype)), "float32")
        n = b.number(float(cols))
        d = b.apply("sub_unit", v, b.apply("true_divide", b.reduce("sum", v), n))
        r = b.apply("rsqrt", b.apply("true_divide", b.reduce("sum", b.apply("mul", d, d)), n))
        b.store(b.cast(b.apply("mul", b.apply("mul", d, r), b.load(empty(cols))), dtype))
        b.store(r)
        return b

    return build


def softmax(cols):
    def build(dtype):
        b = Builder(4096, cols)
        v = b.load(empty(4096, cols, dtype=dtype))
        e = b.apply("exp", b.apply("sub_unit", v, b.reduce("amax", v)), dtype="float32")
        b.store(b.apply("true_divide", e, b.reduce("sum", e)), dtype)
        return b

    return build


def bias_gradient(dtype):
    b = Builder(8192, 3072)
    g = b.apply("relu_backward", b.load(empty(8192, 3072, dtype=dtype)), b.load(empty(8192, 3072, dtype=dtype)))
    b.store(g)
    b.store(b.columns(g), dtype, level="column")
    return b


def norm_backward(dtype):
    b = Builder(8, 1024, 384)
    g, x, w = (b.load(empty(*s, dtype=dtype)) for s in ((8, 1024, 384), (8, 1024, 384), (384,)))
    r = b.load(empty(8, 1024, 1), "row")
    xhat = b.apply("mul", x, r, dtype="float32")
    gw = b.apply("mul", g, w, dtype="float32")
    mean = b.apply("true_divide", b.reduce("sum", b.apply("mul", gw, xhat)), b.number(384.0))
    b.store(b.apply("mul", b.apply("sub_unit", gw, b.apply("mul", xhat, mean)), r), dtype)
    b.store(b.columns(b.apply("mul", g, xhat, dtype="float32")), dtype, level="column")
    return b


def mean_of_everything(dtype):
    b = Builder(1 << 24)
    v = b.apply("sub_unit", b.load(empty(1 << 24, dtype=dtype)), b.load(empty(1 << 24, dtype=dtype)))
    b.store(b.apply("true_divide", b.reduce("sum", b.apply("mul", v, v)), b.number(float(1 << 24))), dtype)
    return b


def turned(dtype):
    b = Builder(2048, 4096)
    x = empty(4096, 2048, dtype=dtype).transpose(0, 1)
    b.store(b.apply("mul", b.load(x), b.load(empty(2048, 4096, dtype=dtype))))
    return b


def adamw(dtype):
    """A step of one parameter: four results."""
    n = 1 << 22
    b = Builder(n)
    p, g, m, v = (b.load(empty(n)) for _ in range(4))
    m = b.apply("lerp", m, g, b.number(0.1))
    v = b.apply("addcmul", b.apply("mul", v, b.number(0.999)), g, g, b.number(0.001))
    step = b.apply("true_divide", m, b.apply("add_unit", b.apply("sqrt", v), b.number(1e-8)))
    p = b.apply("sub", b.apply("mul", p, b.number(0.9999)), step, b.number(1e-3))
    for r in (p, m, v):
        b.store(r)
    b.store(b.cast(p, "bfloat16"))
    return b


PROGRAMS = {
    "activations": (activations, ("float32",)), "gelu_backward": (gelu_backward, ("bfloat16",)),
    "bias_gelu_dropout": (bias_gelu_dropout, ("bfloat16",)), "norm_384": (norm(384), ("bfloat16",)),
    "norm_8192": (norm(8192), ("float32",)), "norm_50257": (norm(50257), ("bfloat16",)), "softmax_1000": (softmax(1000), ("bfloat16",)),
    "softmax_50304": (softmax(50304), ("float32",)), "bias_gradient": (bias_gradient, ("bfloat16",)),
    "norm_backward": (norm_backward, ("bfloat16",)), "mean_of_everything": (mean_of_everything, ("float32",)),
    "turned": (turned, ("float32",)), "adamw": (adamw, ("float32",)),
}  # fmt: skip


def main() -> None:
    found = []
    for name, (build, dtypes) in PROGRAMS.items():
        for dtype in dtypes:
            b = build(dtype)
            runner = triton_runner.Runner(b.program())
            for arch in _aot.ARCHS:
                with recording(arch) as launches:
                    runner([0] * len(runner.program.operands), device=mg.device("meta"))
                op = types.SimpleNamespace(name=name, spills="", tensor_cores=False)
                for one in launches:
                    variant = specialise(one.kernel, one.args, one.constants, one.options)
                    found.append(dataclasses.asdict(_aot.examine(op, variant, arch)))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
