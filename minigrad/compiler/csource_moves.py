"""Ops of exported C that move, make or add up elements: copies, joins, fills, reductions. See csource_ops.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .csource_ops import emits, refuse
from .csource_pointwise import broadcast_strides, literal, loops


def _assign(c: Any, id: int, value: str, offset: int = 0) -> Callable[[list[str]], list[str]]:
    """A loop's body: the last index is the target's; `value` may name x0, x1 …, the other operands' elements."""
    return lambda index: [f"{c.pointer(id)}[{index[-1]}{f' + {offset}' if offset else ''}] = {value};"]


def _convert(c: Any, source: int, target: int, offset: int = 0, sizes: list[int] | None = None) -> None:
    """Elements of one value into another (or a part of it that begins `offset` elements on), by the rules of Tensor.to."""
    sizes = c.sizes(target) if sizes is None else sizes
    kind, end = c.type(target), " != 0" if c.dtype(target) == "bool" else ""
    c.lines(loops(sizes, [broadcast_strides(c.sizes(source), c.strides(source), sizes), c.strides(target)], lambda i: [
        f"{c.pointer(target)}[{i[1]}{f' + {offset}' if offset else ''}] = ({kind})({c.at(source, i[0])}{end});"]))  # fmt: skip


@emits("clone", "_copy_contiguous", "_to_dtype")
def _copy(c: Any, call: Any) -> None:
    _convert(c, call.args[0].id, call.outs[0])


@emits("copy_")
def _copy_into(c: Any, call: Any) -> None:
    if isinstance(call.args[1], c.Ref):
        _convert(c, call.args[1].id, call.target)
    else:
        _fill_with(c, call.target, call.args[1])


def _fill_with(c: Any, target: int, value: Any) -> None:
    text = (
        c.at(value.id, "0")
        if isinstance(value, c.Ref)
        else literal(bool(value) if c.dtype(target) == "bool" else value, _literal_type(c, target))
    )
    c.lines(loops(c.sizes(target), [c.strides(target)], lambda i: [f"{c.at(target, i[0])} = ({c.type(target)}){text};"]))


def _literal_type(c: Any, id: int) -> str:
    return c.type(id) if c.dtype(id) in ("float32", "float64") else "int64_t"


@emits("fill_", "zero_", "_full")
def _fill(c: Any, call: Any) -> None:
    _fill_with(c, call.target if call.inplace else call.outs[0], call.named.get("value", 0))


@emits("_empty", "_empty_strided")
def _empty(c: Any, call: Any) -> None:
    """Nothing to do: whatever lies there."""


@emits("_arange")
def _arange(c: Any, call: Any) -> None:
    out = call.outs[0]
    kind = _literal_type(c, out)
    start, step = literal(call.named["start"], kind), literal(call.named["step"], kind)
    c.lines(loops(c.sizes(out), [[1]], lambda i: [f"{c.at(out, i[0])} = ({c.type(out)})({start} + {i[0]} * {step});"]))


@emits("cat", "stack")
def _cat(c: Any, call: Any) -> None:
    out, parts = call.outs[0], [r.id for r in call.args[0]]
    sizes, strides = c.sizes(out), c.strides(out)
    dim, at = call.named["dim"] % len(sizes), 0
    for part in parts:
        if call.op == "cat" and len(c.sizes(part)) == 1 and c.numel(part) == 0 and len(sizes) > 1:
            continue  # an empty vector fits anything
        length = c.sizes(part)[dim] if call.op == "cat" else 1
        shape = [*sizes[:dim], length, *sizes[dim + 1 :]]
        source = c.strides(part) if call.op == "cat" else [*c.strides(part)[:dim], 0, *c.strides(part)[dim:]]
        offset = at * strides[dim]
        c.lines(
            loops(shape, [source, strides], lambda i, p=part, o=offset: [f"{c.at(out, f'{i[1]} + {o}')} = ({c.type(out)}){c.at(p, i[0])};"])
        )
        at += length


@emits("masked_fill", "masked_fill_")
def _masked_fill(c: Any, call: Any) -> None:
    source, mask, value = call.args[0].id, call.args[1].id, call.args[2]
    out = source if call.inplace else call.outs[0]
    text = f"({c.type(out)}){c.at(value.id, '0')}" if isinstance(value, c.Ref) else literal(value, _literal_type(c, out))
    sizes = c.sizes(out)
    strides = [broadcast_strides(c.sizes(k), c.strides(k), sizes) for k in (source, mask)]
    c.lines(
        loops(sizes, [*strides, c.strides(out)], lambda i: [f"{c.at(out, i[2])} = {c.at(mask, i[1])} ? {text} : {c.at(source, i[0])};"])
    )


@emits("_masked_scale")
def _masked_scale(c: Any, call: Any) -> None:
    g, mask, out = call.args[0].id, call.args[1].id, call.outs[0]
    scale = literal(call.named["scale"], c.type(out))
    c.lines(loops(c.sizes(out), [c.strides(g), c.strides(mask), c.strides(out)],
                  lambda i: [f"{c.at(out, i[2])} = {c.at(mask, i[1])} ? {c.at(g, i[0])} * {scale} : 0;"]))  # fmt: skip


@emits("tril", "triu")
def _triangle(c: Any, call: Any) -> None:
    x, out = call.args[0].id, call.target if call.inplace else call.outs[0]
    sizes, k = c.sizes(out), call.named["diagonal"]
    rows, cols = sizes[-2:]
    keep = f"c {'<=' if call.op == 'tril' else '>='} r + {k}"
    lines = loops(sizes[:-2], [c.strides(x)[:-2], c.strides(out)[:-2]], lambda i: [
        f"for (int64_t r = 0; r < {rows}; r++)", f"  for (int64_t c = 0; c < {cols}; c++)",
        f"    {c.at(out, f'{i[1]} + r * {c.strides(out)[-2]} + c * {c.strides(out)[-1]}')} = "
        f"{keep} ? {c.at(x, f'{i[0]} + r * {c.strides(x)[-2]} + c * {c.strides(x)[-1]}')} : 0;"], independent=False)  # fmt: skip
    c.lines(lines)


@emits("index_select")
def _index_select(c: Any, call: Any) -> None:
    x, index, out = call.args[0].id, call.named["index"].id, call.outs[0]
    dim, sizes = call.named["dim"] % max(len(c.sizes(x)), 1), c.sizes(out)
    outer, inner = [n for d, n in enumerate(sizes) if d != dim], [s for d, s in enumerate(c.strides(x)) if d != dim]
    step = [s for d, s in enumerate(c.strides(out)) if d != dim]
    i = c.dense(index)
    c.lines([f"for (int64_t j = 0; j < {sizes[dim]}; j++) {{", f"  const int64_t from = {i}[j];",
             f"  if (from < 0 || from >= {c.sizes(x)[dim]}) return {c._now + 1};"])  # fmt: skip
    c.lines(
        loops(
            outer,
            [inner, step],
            lambda k: [f"{c.at(out, f'{k[1]} + j * {c.strides(out)[dim]}')} = {c.at(x, f'{k[0]} + from * {c.strides(x)[dim]}')};"],
        )
    )
    c.lines(["}"])


# --- reductions -------------------------------------------------------------------------------------------------------------------------
# op: (type of the accumulator when floating, its start, what one element x does, the result; n: how many there are)
_REDUCTIONS = {
    "sum": ("double", "0", "sum += x;", "sum"), "mean": ("double", "0", "sum += x;", "sum / n"),
    "prod": ("double", "1", "sum *= x;", "sum"),
    "amax": ("double", "-INFINITY", "sum = x > sum || x != x ? x : sum;", "sum"),
    "amin": ("double", "INFINITY", "sum = x < sum || x != x ? x : sum;", "sum"),
    "any": ("double", "0", "sum = sum != 0 || x != 0;", "sum"), "all": ("double", "1", "sum = sum != 0 && x != 0;", "sum"),
    "_vector_norm": ("double", "0", "sum += x * x;", "sqrt(sum)"),
}  # fmt: skip
_EXTREMES = {"amax": "INT64_MIN", "amin": "INT64_MAX"}


@emits(*_REDUCTIONS)
def _reduce(c: Any, call: Any) -> None:
    x, out = call.args[0].id, call.outs[0]
    if call.op == "_vector_norm" and call.named["ord"] != 2:
        refuse(call, f"of order {call.named['ord']}")
    sizes, strides = c.sizes(x), c.strides(x)
    dims = _dims(call.named.get("dim"), len(sizes))
    kept = [d for d in range(len(sizes)) if d not in dims]
    target = c.strides(out)
    if len(target) == len(sizes):
        target = [target[d] for d in kept]
    kind, start, step, result = _REDUCTIONS[call.op]
    if c.dtype(x) not in ("float32", "float64"):
        kind, start = "int64_t", _EXTREMES.get(call.op, start)
    n = 1
    for d in dims:
        n *= sizes[d]
    n_text = f"{n}.0" if kind == "double" else str(n)

    def body(index: list[str]) -> list[str]:
        inner = loops([sizes[d] for d in dims], [[strides[d] for d in dims]],
                      lambda i: [f"const {kind} x = {c.at(x, f'{index[0]} + ' + i[0].replace('i', 'j'))};", step], False)  # fmt: skip
        inner = [
            line.replace("int64_t i", "int64_t j").replace("; i", "; j") if line.lstrip().startswith("for") else line for line in inner
        ]
        final = result.replace("n", n_text) if result == "sum / n" else result
        return [f"{kind} sum = {start};", *inner, f"{c.at(out, index[1])} = ({c.type(out)})({final});"]

    c.lines(loops([sizes[d] for d in kept], [[strides[d] for d in kept], target], body, independent=False))


def _dims(dim: Any, n: int) -> list[int]:
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return list(range(n))
    return sorted({d % n for d in (dim if isinstance(dim, (tuple, list)) else [dim])}) if n else []


@emits("_total_norm")
def _total_norm(c: Any, call: Any) -> None:
    out, largest = call.outs[0], call.named["largest"]
    step = "{ const double a = fabs(x); sum = a > sum || a != a ? a : sum; }" if largest else "sum += x * x;"
    lines = [
        line
        for part in (ref.id for ref in call.args[0])
        for line in loops(c.sizes(part), [c.strides(part)], lambda i, p=part: [f"const double x = {c.at(p, i[0])};", step], False)
    ]
    c.lines(["{ double sum = 0;", *lines, f"{c.at(out, '0')} = ({c.type(out)}){'sum' if largest else 'sqrt(sum)'};", "}"])


@emits("argmax", "argmin")
def _argmax(c: Any, call: Any) -> None:
    x, out, dim = call.args[0].id, call.outs[0], call.named["dim"]
    sizes = c.sizes(x) if dim is not None else [c.numel(x)]
    data = c.dense(x)
    dim = (dim or 0) % max(len(sizes), 1)
    outer = inner = 1
    for d, n in enumerate(sizes):
        outer, inner = outer * (n if d < dim else 1), inner * (n if d > dim else 1)
    n, sign, place = sizes[dim] if sizes else 1, ">" if call.op == "argmax" else "<", c.result(out)
    c.lines([f"for (int64_t o = 0; o < {outer}; o++)", f"  for (int64_t i = 0; i < {inner}; i++) {{", "    int64_t best = 0;",
             f"    for (int64_t j = 1; j < {n}; j++) {{",
             f"      const {c.type(x)} a = {data}[(o * {n} + j) * {inner} + i], b = {data}[(o * {n} + best) * {inner} + i];",
             f"      if (b == b && (a {sign} b || a != a)) best = j;", "    }",
             f"    {place}[o * {inner} + i] = best;", "  }"])  # fmt: skip
    c.give(out, place)


@emits("cumsum")
def _cumsum(c: Any, call: Any) -> None:
    x, out = call.args[0].id, call.outs[0]
    sizes, dim = c.sizes(out) or [1], call.named["dim"]
    dim %= len(sizes)
    outer = [n for d, n in enumerate(sizes) if d != dim]
    steps = [[s for d, s in enumerate(c.strides(k)) if d != dim] for k in (x, out)]
    along = [(c.strides(k) or [0])[dim] for k in (x, out)]
    kind = "double" if c.dtype(out) in ("float32", "float64") else "int64_t"
    c.lines(loops(outer, steps, lambda i: [
        f"{kind} sum = 0;", f"for (int64_t j = 0; j < {sizes[dim]}; j++) {{", f"  sum += {c.at(x, f'{i[0]} + j * {along[0]}')};",
        f"  {c.at(out, f'{i[1]} + j * {along[1]}')} = ({c.type(out)})sum;", "}"], independent=False))  # fmt: skip
