"""The property behind vmap: vmap(f)(batch) equals the stack of f over the slices, for every op of the registry, its own samples,
every choice of batched arguments and batch dimension.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

import minigrad as mg
from minigrad.func import jvp, vjp, vmap
from minigrad.op import registry
from minigrad.testing.calls import writes
from minigrad.testing.samples import Sample, Spec, build, samples

BATCH = 3
RANDOM = {"generator"}
# Ops that cannot run under vmap, and why.
NO_VALUE = "asks for a value, so it cannot run on a batch"
EXCLUDED = {
    "allclose": NO_VALUE, "equal": NO_VALUE, "nonzero": NO_VALUE, "argwhere": NO_VALUE, "_nonzero": NO_VALUE, "masked_select": NO_VALUE,
    "unique": NO_VALUE, "_repeat_index": NO_VALUE, "bincount": NO_VALUE, "new_tensor": NO_VALUE, "masked_scatter": NO_VALUE,
    "unique_consecutive": NO_VALUE, "nonzero_static": NO_VALUE, "histc": NO_VALUE, "histogram": NO_VALUE, "segment_reduce": NO_VALUE,
    "histogramdd": NO_VALUE, "masked_median": NO_VALUE, "_index_put_any": NO_VALUE, "ctc_loss": NO_VALUE,
    "resize_": "a batch has one shape", "resize_as_": "a batch has one shape",
}  # fmt: skip


def ops() -> list[str]:
    """Every op that can run under vmap."""
    return [n for n, info in sorted(registry.items()) if n not in EXCLUDED and not any(a.kind == "generator" for a in info.args)]


def usable(info: Any) -> list[Sample]:
    """Small samples with tensors."""
    integer = info.meta in ("bitwise", "shift") or "float64" not in info.info.get("dtypes", ("float64",))
    dtype = "int64" if integer else "float64"
    found = [s for s in samples(info, dtype) if s.specs() and all(spec.values.size <= 200 for spec in s.specs())]
    if info.name == "_rnn_layer":  # batch sizes of packed sequences are read, so they cannot be a batch
        found = [s for s in found if all(spec.dtype == dtype for spec in s.specs())]
    return found


# Whose arguments must stay valid: floats are scaled, integers stay.
SCALED = ("cholesky", "cholesky_inverse", "_cholesky_inverse", "linalg_cholesky", "linalg_cholesky_ex", "_linalg_cholesky")
LAYOUT = ("_as_strided", "as_strided", "as_strided_copy", "as_strided_scatter", "view_as_complex")  # depend on the memory layout
DATA_SHAPES = ("repeat_interleave", "embedding_bag")  # the result's shape depends on data for some samples


def variant(spec: Spec, i: int, name: str = "") -> Spec:
    """Slice i of the batch: the same values in another order."""
    if name in SCALED:
        return Spec(spec.values * (1 + i / 8) if spec.dtype == "float64" else spec.values, spec.dtype, spec.layout, spec.grad)
    values = np.roll(spec.values.reshape(-1), i).reshape(spec.values.shape) if spec.layout == "contiguous" else spec.values
    return Spec(values, spec.dtype, spec.layout, spec.grad)


def choices(n: int, in_place: bool) -> list[tuple[bool, ...]]:
    """Which tensors are batched: all, and each subset of up to three."""
    if n > 3:
        every = [tuple(True for _ in range(n)), *(tuple(i == k for i in range(n)) for k in range(n))]
    else:
        every = [c for c in itertools.product((True, False), repeat=n) if any(c)]
    return [c for c in every if c[0] or not in_place]


def check(name: str, number: int) -> None:
    """Raises AssertionError where vmap differs from the loop."""
    info = registry[name]
    sample = usable(info)[number]
    specs = sample.specs()
    in_place = writes(info)
    if name in DATA_SHAPES and len(specs) > 1:
        return
    for chosen in choices(len(specs), in_place):
        for last in (False, True) if name not in LAYOUT else (False,):
            compare(info, sample, specs, chosen, last, in_place)


def call(info: Any, sample: Sample, tensors: list, in_place: bool) -> Any:
    """The op on these tensors in place of the sample's; results only, as a tuple of tensors."""
    queue = iter(tensors)
    args, kwargs = sample.map(lambda spec: next(queue))
    if in_place:
        args[0] = args[0].clone()
    out = info.function(*args, **kwargs)
    return tuple(out) if isinstance(out, (tuple, list)) else (out,)


def compare(info: Any, sample: Sample, specs: list, chosen: tuple[bool, ...], last: bool, in_place: bool) -> None:
    slices = [[build(variant(s, i, info.name) if c else s, mg) for s, c in zip(specs, chosen)] for i in range(BATCH)]
    expected = [call(info, sample, ts, in_place) for ts in slices]
    if any(not isinstance(t, mg.Tensor) for t in expected[0]):
        return
    batched = [mg.stack([ts[k] for ts in slices], -1 if last else 0) if c else slices[0][k] for k, c in enumerate(chosen)]
    dims = tuple((-1 if last else 0) if c else None for c in chosen)
    got = vmap(lambda *ts: call(info, sample, list(ts), in_place), in_dims=dims)(*batched)
    for k, result in enumerate(got):
        want = mg.stack([e[k] for e in expected])
        text = f"{info.name}{sample} batched {chosen} last={last} output {k}"
        assert result.shape == want.shape and result.dtype == want.dtype, (
            f"{text}: {result.shape} {result.dtype}, expected {want.shape} {want.dtype}"
        )
        np.testing.assert_allclose(numbers(result), numbers(want), rtol=1e-9, atol=1e-9, err_msg=text)


def check_nested(name: str, number: int) -> None:
    """vmap(vmap(f)), each tensor batched by one or both levels, equals the loops."""
    info = registry[name]
    sample = usable(info)[number]
    specs = sample.specs()
    in_place = writes(info)
    if name in DATA_SHAPES:
        return
    for pattern in range(3):  # 0: both levels; 1, 2: alternating
        inner = tuple(pattern == 0 or (k + pattern) % 2 == 0 or (k == 0 and in_place) for k in range(len(specs)))
        outer = tuple(pattern == 0 or not i or (k == 0 and in_place) for k, i in enumerate(inner))
        if not any(inner) or not any(outer):
            continue
        grid = [
            [[build(variant(s, i * o + 2 * j * n, name), mg) for s, n, o in zip(specs, inner, outer)] for j in range(2)] for i in range(2)
        ]
        expected = [[call(info, sample, ts, in_place) for ts in row] for row in grid]
        if any(not isinstance(t, mg.Tensor) for t in expected[0][0]):
            return
        batched = []
        for k, (n, o) in enumerate(zip(inner, outer)):
            rows = [mg.stack([grid[i][j][k] for j in range(2)]) if n else grid[i][0][k] for i in range(2)]
            batched.append(mg.stack(rows) if o else rows[0])
        f = vmap(lambda *ts: call(info, sample, list(ts), in_place), in_dims=tuple(0 if n else None for n in inner))
        got = vmap(f, in_dims=tuple(0 if o else None for o in outer))(*batched)
        for k, result in enumerate(got):
            want = mg.stack([mg.stack([e[k] for e in row]) for row in expected])
            text = f"{name}{sample} inner {inner} outer {outer} output {k}"
            assert result.shape == want.shape and result.dtype == want.dtype, text
            np.testing.assert_allclose(numbers(result), numbers(want), rtol=1e-9, atol=1e-9, err_msg=text)


def numbers(t: Any) -> Any:
    """NumPy values of any dtype."""
    t = t.detach()
    if t.dtype in (mg.float16, mg.bfloat16):
        t = t.to(mg.float32)
    return t.numpy()


def gradients(info: Any, sample: Sample, tensors: list, wanted: list[int]) -> tuple:
    """Gradients of the sum of squares of the floating results by the wanted tensors."""

    def scalar(*xs: Any) -> Any:
        full = list(tensors)
        for k, x in zip(wanted, xs):
            full[k] = x
        floats = [t for t in call(info, sample, full, False) if isinstance(t, mg.Tensor) and t.is_floating_point()]
        return sum(((t * t).sum() for t in floats), mg.zeros((), dtype=mg.float64))

    _, back = vjp(scalar, *(tensors[k] for k in wanted))
    return back(mg.ones((), dtype=mg.float64))


def check_gradient(name: str, number: int) -> None:
    """vmap(grad(f)) equals the stack of grad(f) over the slices."""
    info = registry[name]
    sample = usable(info)[number]
    specs = sample.specs()
    wanted = [k for k, s in enumerate(specs) if s.grad and s.dtype == "float64"]
    if not wanted or writes(info) or not info.differentiable or name in DATA_SHAPES:
        return
    for chosen in choices(len(specs), False):
        slices = [[build(variant(s, i, info.name) if c else s, mg) for s, c in zip(specs, chosen)] for i in range(BATCH)]
        try:
            expected = [gradients(info, sample, ts, wanted) for ts in slices]
        except NotImplementedError:  # an op that says it has no gradient
            return
        batched = [mg.stack([ts[k] for ts in slices]) if c else slices[0][k] for k, c in enumerate(chosen)]
        dims = tuple(0 if c else None for c in chosen)
        got = vmap(lambda *ts: gradients(info, sample, list(ts), wanted), in_dims=dims)(*batched)
        for k, result in enumerate(got):
            want = mg.stack([e[k] for e in expected])
            text = f"{name}{sample} batched {chosen} gradient {k}"
            assert result.shape == want.shape, f"{text}: {result.shape}, expected {want.shape}"
            assert not result.requires_grad, text
            np.testing.assert_allclose(numbers(result), numbers(want), rtol=1e-8, atol=1e-8, err_msg=text)


def check_jvp(name: str, number: int) -> None:
    """jvp is the adjoint of vjp: <u, J t> = <J^T u, t>."""
    info = registry[name]
    sample = usable(info)[number]
    specs = sample.specs()
    wanted = [k for k, s in enumerate(specs) if s.grad and s.dtype == "float64"]
    if not wanted or writes(info) or not info.differentiable:
        return
    tensors = [build(s, mg) for s in specs]

    def f(*xs: Any) -> tuple:
        full = list(tensors)
        for k, x in zip(wanted, xs):
            full[k] = x
        return tuple(t for t in call(info, sample, full, False) if isinstance(t, mg.Tensor) and t.is_floating_point())

    primals = tuple(tensors[k] for k in wanted)
    rng = np.random.default_rng(0)
    try:
        outs, back = vjp(f, *primals)
        if not outs:
            return
        u, t = (tuple(mg.from_numpy(rng.standard_normal(tuple(x.shape))).to(x.dtype) for x in xs) for xs in (outs, primals))
        gradient, (_, tangent) = back(u), jvp(f, primals, t)
    except NotImplementedError:  # an op that says it has no gradient
        return
    sides = [sum(float((a * b).sum()) for a, b in zip(*pair)) for pair in ((u, tangent), (gradient, t))]
    np.testing.assert_allclose(*sides, rtol=1e-7, atol=1e-7, err_msg=f"{name}{sample}")


if __name__ == "__main__":
    for op in ops():
        for k in range(len(usable(registry[op]))):
            check(op, k)
            check_gradient(op, k)
            check_nested(op, k)
            check_jvp(op, k)
    print("vmap equals the loop on every sample of", len(ops()), "ops")
