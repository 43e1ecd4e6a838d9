"""Ops of exported C that are not pointwise: each emitter writes a call of a function of kernels.c, or a loop.

An emitter takes the Source `c` (csource.py) and the Call; what it cannot write it refuses with NotImplementedError, naming the op.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minigrad.ops.shared import expr  # noqa: F401  the language of the formulas that csource_pointwise writes

from .csource_pointwise import broadcast_strides, literal, loops

EMITTERS: dict[str, Callable[[Any, Any], None]] = {}


def emits(*names: str) -> Callable[[Callable], Callable]:
    """Registers an emitter."""
    return lambda f: [EMITTERS.__setitem__(name, f) for name in names] and f


def refuse(call: Any, what: str) -> None:
    """Raise: this form of the op is not there."""
    raise NotImplementedError(f"export: format='c' has no {call.op} {what}")


def _product(numbers: list[int]) -> int:
    n = 1
    for k in numbers:
        n *= k
    return n


def _or_null(c: Any, ref: Any) -> str:
    return "NULL" if ref is None else c.dense(ref.id)


def _pair(value: Any, default: int = 0) -> tuple[int, int]:
    """An argument for two spatial dimensions."""
    values = list(value) if isinstance(value, (tuple, list)) else [default if value is None else value]
    return (values[0], values[-1]) if values else (default, default)


# --- products -----------------------------------------------------------------------------------------------------------------------
@emits("matmul", "mm", "bmm", "mv", "dot")
def _matmul(c: Any, call: Any) -> None:
    a, b, out = call.args[0].id, call.args[1].id, call.outs[0]
    (sa, ta), (sb, tb) = (c.sizes(a), c.strides(a)), (c.sizes(b), c.strides(b))
    if len(sa) == 1:
        sa, ta = [1, *sa], [0, *ta]
    if len(sb) == 1:
        sb, tb = [*sb, 1], [*tb, 0]
    m, k, n = sa[-2], sa[-1], sb[-1]
    if _product(sb[:-2]) == 1:  # the rows of all batches are one matrix when their strides allow it
        while len(sa) > 2 and (sa[-3] == 1 or ta[-3] == ta[-2] * sa[-2]):
            sa, ta = [*sa[:-3], sa[-3] * sa[-2], k], [*ta[:-3], ta[-2], ta[-1]]
        m = sa[-2]
    batch = [max(x, y) if x and y else 0 for x, y in _aligned(sa[:-2], sb[:-2])]
    place = c.result(out)
    strides = [broadcast_strides(sa[:-2], ta[:-2], batch), broadcast_strides(sb[:-2], tb[:-2], batch), _steps(batch, m * n)]

    def body(index: list[str]) -> list[str]:
        factors = [f"{c.pointer(a)} + {index[0]}", *ta[-2:], f"{c.pointer(b)} + {index[1]}", *tb[-2:]]
        return [c.text_of("matmul", c.type(out), m, n, k, *factors, "NULL", f"{place} + {index[2]}", n) + ";"]

    c.lines(loops(batch, strides, body, independent=False))
    c.give(out, place)


def _aligned(a: list[int], b: list[int]) -> list[tuple[int, int]]:
    n = max(len(a), len(b))
    return list(zip([1] * (n - len(a)) + a, [1] * (n - len(b)) + b))


def _steps(sizes: list[int], inner: int) -> list[int]:
    """Dense strides of dimensions in front of `inner` elements."""
    out = [inner] * len(sizes)
    for d in range(len(sizes) - 2, -1, -1):
        out[d] = out[d + 1] * sizes[d + 1]
    return out


@emits("linear")
def _linear(c: Any, call: Any) -> None:
    x, weight, bias = (call.named[n] for n in ("input", "weight", "bias"))
    n, k = [1, *c.sizes(weight.id)][-2:]
    m, out = c.numel(x.id) // max(k, 1), call.outs[0]
    place, ws = c.result(out), [0, *c.strides(weight.id)][-2:]
    factors = [c.dense(x.id), k, 1, c.pointer(weight.id), ws[1], ws[0]]
    c.lines([c.text_of("matmul", c.type(out), m, n, k, *factors, _or_null(c, bias), place, n) + ";"])
    c.give(out, place)


@emits("addmm")
def _addmm(c: Any, call: Any) -> None:
    x, a, b, out = call.args[0].id, call.args[1].id, call.args[2].id, call.outs[0]
    (m, k), n, place, kind = c.sizes(a), c.sizes(b)[1], c.result(out), c.type(out)
    factors = [c.pointer(a), *c.strides(a), c.pointer(b), *c.strides(b)]
    c.lines([c.text_of("matmul", kind, m, n, k, *factors, "NULL", place, n) + ";"])
    alpha, beta = literal(call.named["alpha"], kind), literal(call.named["beta"], kind)
    c.lines(loops([m, n], [broadcast_strides(c.sizes(x), c.strides(x), [m, n]), [n, 1]],
                  lambda i: [f"{place}[{i[1]}] = {alpha} * {place}[{i[1]}] + {beta} * {c.at(x, i[0])};"]))  # fmt: skip
    c.give(out, place)


# --- attention, normalisation, softmax ------------------------------------------------------------------------------------------------
@emits("_attention")
def _attention(c: Any, call: Any) -> None:
    q, k, v, mask, out = *(call.named[n] for n in ("query", "key", "value", "attn_mask")), call.outs[0]
    if len(c.sizes(q.id)) != 4 or call.named["dropout_p"] or call.named.get("unseen"):
        refuse(call, "with dropout" if call.named["dropout_p"] else f"of {len(c.sizes(q.id))} dimensions")
    (b, h, t, e), (_, hk, s, _), w, kind = c.sizes(q.id), c.sizes(k.id), c.sizes(v.id)[3], c.type(out)
    pointers, strides = zip(*(_rows(c, x.id) for x in (q, k, v)))
    direct = c.strides(out)[3] == 1 or w == 1
    place = c.pointer(out) if direct else c.result(out)
    os = c.strides(out) if direct else [h * t * w, t * w, w, 1]
    row, group = c.scratch(c.dtype(out), t * s), h // hk
    added = kept = "NULL"
    ms = [0, 0, 0, 0]
    if mask is not None:
        ms = broadcast_strides(c.sizes(mask.id), c.strides(mask.id), [b, h, t, s])
        place_of = f"{c.pointer(mask.id)} + b * {ms[0]} + h * {ms[1]}"
        added, kept = ("NULL", place_of) if c.dtype(mask.id) == "bool" else (place_of, "NULL")
    at = [
        f"{p} + b * {x[0]} + h{'' if n == 0 or group == 1 else f' / {group}'} * {x[1]}" for n, (p, x) in enumerate(zip(pointers, strides))
    ]
    operands = [at[0], strides[0][2], at[1], strides[1][2], at[2], strides[2][2], added, kept, ms[2], ms[3], int(call.named["is_causal"])]
    results = [f"{place} + b * {os[0]} + h * {os[1]}", os[2], f"{c.pointer(call.outs[1])} + (b * {h} + h) * {t}", row]
    c.need("matmul", kind)
    one = c.text_of("attention", kind, t, s, e, w, *operands, literal(call.named["scale"], kind), *results)
    c.lines([f"for (int64_t b = 0; b < {b}; b++)", f"  for (int64_t h = 0; h < {h}; h++)", f"    {one};"])
    if not direct:
        c.give(out, place)


def _rows(c: Any, id: int) -> tuple[str, list[int]]:
    """A tensor of four dimensions whose rows are dense: address and strides."""
    if c.strides(id)[3] == 1 or c.sizes(id)[3] == 1:
        return c.pointer(id), c.strides(id)
    return c.dense(id), _steps(c.sizes(id), 1)


@emits("_attention_backward")
def _attention_backward(c: Any, call: Any) -> None:
    if call.named["attn_mask"] is not None or call.named["dropout_p"] or len(c.sizes(call.args[1].id)) != 4:
        refuse(call, "with a mask or dropout")
    g, q, k, v, o = (call.named[n] for n in ("g", "query", "key", "value", "out"))
    (b, h, t, e), (_, hk, s, _), w, kind = c.sizes(q.id), c.sizes(k.id), c.sizes(v.id)[3], c.type(q.id)
    rows = [_rows(c, x.id) for x in (g, q, k, v, o)]
    places = [c.result(x) for x in call.outs]
    at = []
    for n, (p, x) in enumerate(rows):
        at += [f"{p} + b * {x[0]} + h{f' / {h // hk}' if n in (2, 3) and h != hk else ''} * {x[1]}", str(x[2])]
    kv = "h" if h == hk else f"h / {h // hk}"
    c.lines([f"memset({places[n]}, 0, sizeof({kind}) * {c.numel(call.outs[n])});" for n in (1, 2)])
    lse = f"{c.dense(call.named['logsumexp'].id)} + (b * {h} + h) * {t}"
    results = [f"{places[0]} + (b * {h} + h) * {t * e}", e, f"{places[1]} + (b * {hk} + {kv}) * {s * e}", e,
               f"{places[2]} + (b * {hk} + {kv}) * {s * w}", w]  # fmt: skip
    how = [int(call.named["is_causal"]), literal(call.named["scale"], kind)]
    one = c.text_of("attention_backward", kind, t, s, e, w, *at, lse, *how, *results)
    c.lines([f"for (int64_t b = 0; b < {b}; b++)", f"  for (int64_t h = 0; h < {h}; h++)", f"    {one};"])
    for id, place in zip(call.outs, places):
        c.give(id, place)


@emits("_layer_norm")
def _layer_norm(c: Any, call: Any) -> None:
    out, kind = call.outs[0], c.type(call.outs[0])
    n = _product(list(call.named["normalized_shape"]))
    places = [c.result(k) for k in call.outs]
    c.lines([f"{c.need('layer_norm', kind)}({c.numel(out) // max(n, 1)}, {n}, {c.dense(call.args[0].id)}, {_or_null(c, call.args[1])}, "
             f"{_or_null(c, call.args[2])}, {literal(call.named['eps'], kind)}, {', '.join(places)});"])  # fmt: skip
    for id, place in zip(call.outs, places):
        c.give(id, place)


@emits("_layer_norm_backward")
def _layer_norm_backward(c: Any, call: Any) -> None:
    x, kind = call.named["input"].id, c.type(call.outs[0])
    n = _product(c.sizes(x)[len(c.sizes(x)) - call.named["ndim"] :])
    places = [c.result(k) for k in call.outs]
    inputs = ", ".join(_or_null(c, call.named[k]) for k in ("g", "input", "mean", "rstd", "weight"))
    c.lines([f"{c.need('layer_norm_backward', kind)}({c.numel(x) // max(n, 1)}, {n}, {inputs}, {', '.join(places)});"])
    for id, place in zip(call.outs, places):
        c.give(id, place)


@emits("_batch_norm")
def _batch_norm(c: Any, call: Any) -> None:
    sizes, kind = c.sizes(call.args[0].id), c.type(call.outs[0])
    places = [c.result(k) for k in call.outs]
    inputs = [_or_null(c, a) for a in call.args[:3]]
    c.lines([c.text_of("batch_norm", kind, *sizes[:2], _product(sizes[2:]), *inputs, literal(call.named["eps"], kind), *places) + ";"])
    for id, place in zip(call.outs, places):
        c.give(id, place)


@emits("softmax", "log_softmax")
def _softmax(c: Any, call: Any) -> None:
    x, out, dim = call.args[0].id, call.outs[0], call.named["dim"]
    if c.dtype(x) != c.dtype(out):
        refuse(call, "that changes the dtype")
    sizes = c.sizes(x) or [1]
    dim %= len(sizes)
    place = c.result(out)
    shape = [_product(sizes[:dim]), sizes[dim], _product(sizes[dim + 1 :])]
    c.lines([c.text_of("softmax", c.type(out), *shape, c.dense(x), place, int(call.op == "log_softmax")) + ";"])
    c.give(out, place)


# --- embedding, losses ----------------------------------------------------------------------------------------------------------------
def _indices(c: Any, call: Any, id: int) -> str:
    if c.dtype(id) != "int64":
        refuse(call, f"of {c.dtype(id)} indices")
    return c.dense(id)


@emits("embedding")
def _embedding(c: Any, call: Any) -> None:
    index, table, out = call.args[0].id, call.args[1].id, call.outs[0]
    if call.named["max_norm"] is not None:
        refuse(call, "with max_norm")
    rows, width = c.sizes(table)
    place = c.result(out)
    c.check(f"{c.need('embedding', c.type(out))}({c.numel(index)}, {rows}, {width}, {_indices(c, call, index)}, {c.dense(table)}, {place})")
    c.give(out, place)


@emits("_embedding_backward")
def _embedding_backward(c: Any, call: Any) -> None:
    if call.named["scale_grad_by_freq"]:
        refuse(call, "with scale_grad_by_freq")
    g, index, out = call.args[0].id, call.args[1].id, call.outs[0]
    rows, width = c.sizes(out)
    padding = call.named["padding_idx"]
    place = c.result(out)
    c.check(f"{c.need('embedding_backward', c.type(out))}({c.numel(index)}, {rows}, {width}, {c.dense(g)}, {_indices(c, call, index)}, "
            f"{-1 if padding is None else padding}, {place})")  # fmt: skip
    c.give(out, place)


def _loss_shape(c: Any, call: Any) -> str:
    x, target = call.named["input"].id, call.named["target"].id
    sizes = c.sizes(x)
    if call.named["label_smoothing"] or c.dtype(target) != "int64":
        refuse(call, "with label smoothing or probabilities")
    return f"1, {sizes[0]}, 1" if len(sizes) == 1 else f"{sizes[0]}, {sizes[1]}, {_product(sizes[2:])}"


@emits("_cross_entropy")
def _cross_entropy(c: Any, call: Any) -> None:
    shape, places = _loss_shape(c, call), [c.result(k) for k in call.outs]
    x, target, weight = (call.named[n] for n in ("input", "target", "weight"))
    how = [call.named["ignore_index"], call.named["reduction"]]
    c.check(c.text_of("cross_entropy", c.type(x.id), shape, c.dense(x.id), c.dense(target.id), _or_null(c, weight), *how, *places))
    for id, place in zip(call.outs, places):
        c.give(id, place)


@emits("_cross_entropy_backward")
def _cross_entropy_backward(c: Any, call: Any) -> None:
    shape, place = _loss_shape(c, call), c.result(call.outs[0])
    inputs = ", ".join(_or_null(c, call.named[n]) for n in ("g", "input", "target", "weight", "lse", "total_weight"))
    how = [call.named["ignore_index"], call.named["reduction"]]
    c.lines([c.text_of("cross_entropy_backward", c.type(call.outs[0]), shape, inputs, *how, place) + ";"])
    c.give(call.outs[0], place)


# --- convolution and pooling ------------------------------------------------------------------------------------------------------------
def _image(sizes: list[int]) -> tuple[int, int]:
    return (1, sizes[-1]) if len(sizes) == 3 else (sizes[-2], sizes[-1])


def _window(call: Any, name: str, default: int, line: bool) -> tuple[int, int]:
    value = call.named[name]
    if line:  # one dimension is a picture of one row
        return (0 if name == "padding" else 1, _pair(value, default)[1])
    return _pair(value, default)


@emits("_conv")
def _conv(c: Any, call: Any) -> None:
    x, weight, bias, out = call.args[0].id, call.args[1].id, call.args[2], call.outs[0]
    sizes, ws, groups = c.sizes(x), c.sizes(weight), call.named["groups"]
    if len(sizes) not in (3, 4):
        refuse(call, f"of {len(sizes)} dimensions")
    line = len(sizes) == 3
    (h, w), (oh, ow), (kh, kw) = _image(sizes), _image(c.sizes(out)), _image(ws)
    (sy, sx), (py, px), (dy, dx) = (_window(call, n, d, line) for n, d in (("stride", 1), ("padding", 0), ("dilation", 1)))
    channels, outs = ws[1], ws[0] // groups
    inputs, weights, place = c.dense(x), c.dense(weight), c.result(out)
    b = "NULL" if bias is None else f"{c.dense(bias.id)} + g * {outs}"
    c.need("matmul", c.type(out))
    group = [f"{inputs} + (n * {groups} + g) * {channels * h * w}", f"{weights} + g * {outs * channels * kh * kw}", b,
             f"{place} + (n * {groups} + g) * {outs * oh * ow}", c.scratch(c.dtype(out), channels * kh * kw * oh * ow)]  # fmt: skip
    one = c.text_of("conv", c.type(out), channels, h, w, outs, kh, kw, oh, ow, sy, sx, py, px, dy, dx, *group)
    c.lines([f"for (int64_t n = 0; n < {sizes[0]}; n++)", f"  for (int64_t g = 0; g < {groups}; g++)", f"    {one};"])
    c.give(out, place)


@emits("_max_pool", "_avg_pool")
def _pool(c: Any, call: Any) -> None:
    x, out = call.args[0].id, call.outs[0]
    sizes = c.sizes(x)
    kernel = list(call.named["kernel_size"])
    line = len(kernel) == 1 and c.sizes(out)[:-1] == sizes[:-1]
    if len(kernel) > 2 or call.named.get("divisor_override") is not None:
        refuse(call, f"of {len(kernel)} dimensions" if len(kernel) > 2 else "with divisor_override")
    (h, w), (oh, ow) = ((1, sizes[-1]), (1, c.sizes(out)[-1])) if line else (sizes[-2:], c.sizes(out)[-2:])
    kh, kw = _window(call, "kernel_size", 1, line)
    sy, sx = _window(call, "stride", 1, line) if call.named["stride"] else (kh, kw)
    py, px = _window(call, "padding", 0, line)
    planes = c.numel(x) // max(h * w, 1)
    places = [c.result(k) for k in call.outs]
    shape = f"{planes}, {h}, {w}, {oh}, {ow}, {kh}, {kw}, {sy}, {sx}, {py}, {px}"
    if call.op == "_max_pool":
        dy, dx = _window(call, "dilation", 1, line)
        c.lines([f"{c.need('max_pool', c.type(out))}({shape}, {dy}, {dx}, {c.dense(x)}, {', '.join(places)});"])
    else:
        c.lines([f"{c.need('avg_pool', c.type(out))}({shape}, {int(call.named['count_include_pad'])}, {c.dense(x)}, {places[0]});"])
    for id, place in zip(call.outs, places):
        c.give(id, place)


@emits("_adaptive_avg_pool")
def _adaptive_avg_pool(c: Any, call: Any) -> None:
    x, out = call.args[0].id, call.outs[0]
    if len(call.named["output_size"]) > 2:
        refuse(call, f"of {len(call.named['output_size'])} dimensions")
    line = len(call.named["output_size"]) == 1 and c.sizes(out)[:-1] == c.sizes(x)[:-1]
    (h, w), (oh, ow) = ((1, c.sizes(x)[-1]), (1, c.sizes(out)[-1])) if line else (c.sizes(x)[-2:], c.sizes(out)[-2:])
    place = c.result(out)
    c.lines([f"{c.need('adaptive_avg_pool', c.type(out))}({c.numel(x) // max(h * w, 1)}, {h}, {w}, {oh}, {ow}, {c.dense(x)}, {place});"])
    c.give(out, place)


# --- optimizers -------------------------------------------------------------------------------------------------------------------------
def optimizer(c: Any, data: dict[str, Any], call: dict[str, Any]) -> None:
    """A step of SGD, Adam or AdamW; parameters without a gradient stay."""
    stepper = c.program._steppers[call["step"]]
    entry, kind = c.program.snapshot()[0]["steppers"][call["step"]], stepper.name
    if kind not in ("SGD", "Adam", "AdamW"):
        raise NotImplementedError(f"export: format='c' has no {kind}.step()")
    gradients = {c.state_name(leaf): value for leaf, value in data["gradients"] if value >= 0}
    for group, names in zip(stepper.owner.param_groups, entry["params"]):
        for name in names:
            if name in gradients:
                _step(c, kind, group, name, gradients[name], dict(entry["state"]).get(name, {}))


def _step(c: Any, kind: str, group: dict[str, Any], name: str, gradient: int, state: dict[str, Any]) -> None:
    param, grad = c.program.state_dict[name], c.dense(gradient)
    p, ctype, n = c.state[name], c.type(gradient), param.numel()
    if not param.is_contiguous() or group.get("amsgrad"):
        raise NotImplementedError(f"export: format='c' has no {kind}.step() with amsgrad, or of strided parameters")
    flags = int(bool(group.get("maximize")))
    if kind == "SGD":
        buffer, first = "NULL", 0
        if group["momentum"]:
            buffer, first = c.own_state(state.get("momentum_buffer"), f"{p}_momentum", param), int("momentum_buffer" not in state)
        begun = c.counter(f"{p}_steps", 0) if first else "1"
        numbers = [repr(group[k]) for k in ("lr", "momentum", "dampening", "weight_decay")]
        c.lines([c.text_of("sgd", ctype, n, p, grad, buffer, f"{begun} == 0", *numbers, int(group["nesterov"]), flags) + ";"])
        c.lines([f"{begun}++;"] if first else [])
        return
    step = state.get("step", 0)
    step = c.program.state_dict[step["tensor"]].item() if isinstance(step, dict) and "tensor" in step else step
    count = c.counter(f"{p}_steps", int(step))
    m, v = (c.own_state(state.get(k), f"{p}_{k}", param) for k in ("exp_avg", "exp_avg_sq"))
    decoupled = kind == "AdamW" or bool(group.get("decoupled_weight_decay"))
    c.lines([f"{count}++;", f"{c.need('adam', ctype)}({n}, {p}, {grad}, {m}, {v}, (double){count}, {group['lr']!r}, {group['betas'][0]!r}, "
             f"{group['betas'][1]!r}, {group['eps']!r}, {group['weight_decay']!r}, {int(decoupled)}, {flags});"])  # fmt: skip
