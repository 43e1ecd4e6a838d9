"""One direction of one recurrent layer over whole (packed) sequences: the fused op `_rnn_layer` and the step loop that it is made after.

Map. `layer()` is what rnn.py and nn's packed sequences call: it takes the op for float32 and float64 on the CPU and the loop
(`run_steps`) for everything else (other dtypes, inside vmap). The loop is also the op's differentiable gradient and its oracle in
tests/test_rnn_kernels.py. Kernels: csrc/cpu/rnn_forward.cpp, rnn_backward.cpp.

Shapes: T steps, N sequences, I input and H hidden width, P width of the output (H but for a projected lstm), G gates. Sequences are
(T, N, I), or packed: (B, I), with batch_sizes (T) rows in each step, sorted by length, longest first. Gates are stacked as
(i, f, g, o) for lstm and (r, z, n) for gru.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import minigrad as mg
from minigrad.op import fresh_variable, functions, is_batch, op

State = tuple[mg.Tensor, ...]


# --- one step: (gates from the input, gates from the state, state) -> new state ---------------------------------------
def _tanh_step(x: Any, h: Any, state: State) -> State:
    return ((x + h).tanh(),)


def _relu_step(x: Any, h: Any, state: State) -> State:
    return ((x + h).relu(),)


def _gru_step(x: Any, h: Any, state: State) -> State:
    (xr, xz, xn), (hr, hz, hn) = x.chunk(3, -1), h.chunk(3, -1)
    keep = (xz + hz).sigmoid()
    new = (xn + (xr + hr).sigmoid() * hn).tanh()
    return (new + keep * (state[0] - new),)


def _lstm_step(x: Any, h: Any, state: State) -> State:
    i, f, g, o = (x + h).chunk(4, -1)
    cell = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
    return o.sigmoid() * cell.tanh(), cell


STEPS: dict[str, tuple[Callable[..., State], int]] = {
    "rnn_tanh": (_tanh_step, 1),
    "rnn_relu": (_relu_step, 1),
    "gru": (_gru_step, 3),
    "lstm": (_lstm_step, 4),
}


def run_steps(
    kind: str, x: Any, state: State, params: Sequence[Any], reverse: bool, sizes: Sequence[int] | None = None
) -> list[Any]:
    """Step by step over `x`: the outputs, and for an lstm the cells, of every step, laid out like x.

    Args:
        kind: a key of STEPS.
        x: (T, N, I), or (B, I) with `sizes`.
        state: h (N, P), and for an lstm c (N, H).
        params: w_ih, w_hh, b_ih, b_hh, w_hr (projection); None where absent.
        reverse: begin with the last step.
        sizes: rows of each step.
    """
    w_ih, w_hh, b_ih, b_hh, w_hr = params
    linear, step = functions["linear"], STEPS[kind][0]
    from_input = linear(x, w_ih, b_ih)
    if sizes is None:
        inputs = list(from_input.unbind(0))
    else:
        inputs = [from_input.narrow(0, end - n, n) for end, n in zip(accumulate(sizes), sizes)]
    found, first = [], state
    if reverse and sizes is not None:
        state = tuple(h[: sizes[-1]] for h in first)
    for x_t in reversed(inputs) if reverse else inputs:
        n, running = x_t.shape[0], state[0].shape[0]
        if n < running:  # the shorter sequences are done
            state = tuple(h[:n] for h in state)
        elif n > running:  # backwards, the shorter sequences come in later
            state = tuple(mg.cat([h, h0[running:n]]) for h, h0 in zip(state, first, strict=True))
        state = step(x_t, linear(state[0], w_hh, b_hh), state)
        if w_hr is not None:
            state = (linear(state[0], w_hr), *state[1:])
        found.append(state)
    if reverse:
        found.reverse()
    join = mg.stack if sizes is None else mg.cat
    return [join(list(parts)) for parts in zip(*found, strict=True)]


def _last(part: Any, reverse: bool, sizes: Sequence[int] | None) -> Any:
    """The rows of every sequence's last step in the order of the recurrence."""
    if sizes is None:
        return part[0 if reverse else -1]
    if reverse or sizes[0] == sizes[-1]:
        return part[: sizes[0]] if reverse else part[-sizes[0] :]
    rows, start = [0] * sizes[0], 0
    for n in sizes:  # a later step overwrites what an earlier one said
        rows[:n] = range(start, start + n)
        start += n
    return part.index_select(0, mg.tensor(rows, device=part.device))


_FEW_STEPS = 4  # below, the op's packing of the weights costs more than it saves: a decoder's single step, for one


def _native(tensors: Sequence[Any], steps: int) -> bool:
    dtype = tensors[0].dtype
    return steps >= _FEW_STEPS and dtype in (mg.float32, mg.float64) and all(
        t.dtype == dtype and t.device.type == "cpu" and not is_batch(t) for t in tensors
    )


def layer(
    kind: str, x: Any, state: State, params: Sequence[Any], reverse: bool, batch_sizes: Any = None
) -> tuple[Any, State]:
    """One direction of one layer; arguments as in `run_steps`, with batch_sizes a tensor. Returns (outputs, last state)."""
    sizes = None if batch_sizes is None else batch_sizes.tolist()
    if _native([x, *state, *(p for p in params if p is not None)], x.shape[0] if sizes is None else len(sizes)):
        w_ih, w_hh, b_ih, b_hh, w_hr = params
        cx = state[1] if kind == "lstm" else None
        x = x.contiguous()  # here, not in the op: backward then finds the copy that forward made
        parts = functions["_rnn_layer"](x, state[0], cx, w_ih, w_hh, b_ih, b_hh, w_hr, batch_sizes, kind, reverse)
    else:
        parts = run_steps(kind, x, state, params, reverse, sizes)
    return parts[0], tuple(_last(part, reverse, sizes) for part in parts[: len(state)])


# --- the op -----------------------------------------------------------------------------------------------------------
def _grads(
    g_output: Any, g_cells: Any, input: Any, hx: Any, cx: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, w_hr: Any, batch_sizes: Any,
    kind: str, reverse: bool, needs: tuple[bool, ...],
) -> tuple[Any, ...]:  # fmt: skip
    """By differentiating the step loop again; the result has a graph where one is wanted."""
    given = (input, hx, cx, w_ih, w_hh, b_ih, b_hh, w_hr)
    with mg.enable_grad():
        # Copies, so that one argument's gradient does not run on into another that was computed from it.
        own = [p if p is None else p.clone() if p.requires_grad else fresh_variable(p) for p in given]
        state = (own[1],) if own[2] is None else (own[1], own[2])
        sizes = None if batch_sizes is None else batch_sizes.tolist()
        parts = run_steps(kind, own[0], state, own[3:], reverse, sizes)
    wanted = [x for x, need in zip(own, needs) if need]
    found = iter(
        mg.autograd.grad(parts, wanted, [g_output, g_cells][: len(parts)], create_graph=mg.is_grad_enabled(), allow_unused=True)
    )
    return (*(next(found) if need else None for need, _ in zip(needs, own)), None)


def _rows(x: Any) -> Any:
    return x.flatten(0, -2)


def _fast_grads(
    g_output: Any, g_cells: Any, output: Any, cells: Any, gates: Any, hidden: Any, input: Any, hx: Any, cx: Any, w_ih: Any, w_hh: Any,
    b_ih: Any, w_hr: Any, batch_sizes: Any, kind: str, reverse: bool, needs: tuple[bool, ...],
) -> tuple[Any, ...]:  # fmt: skip
    """The recurrence backwards in one call; the rest are products over all steps at once."""
    dgates, dhx, dcx, other = functions["_rnn_layer_backward"](
        g_output, g_cells, output, cells, gates, hidden, hx, cx, w_hh, w_hr, batch_sizes, kind, reverse
    )
    d_input = _rows(dgates)  # what reaches the sums from the input, and from the state
    d_state = _rows(other) if kind == "gru" else d_input
    dw_hh = db = db_hh = None
    if needs[4]:
        dw_hh = d_state.mT @ functions["_rnn_previous"](output, hx, batch_sizes, reverse)
    if b_ih is not None:
        db = d_input.sum(0)
        db_hh = d_state.sum(0) if kind == "gru" else db
    return (
        dgates @ w_ih if needs[0] else None, dhx, dcx if cx is not None else None,
        d_input.mT @ _rows(input) if needs[3] else None, dw_hh, db, db_hh,
        _rows(other).mT @ _rows(hidden) if w_hr is not None else None, None,
    )  # fmt: skip


def _samples(s: Any) -> list[Any]:
    sizes = s.of([2, 2], dtype="int64")  # equal: one of the layouts under test repeats the first
    return [
        s(s.f(3, 2, 3), s.f(2, 2), s.f(2, 2), s.f(8, 3), s.f(8, 2), s.f(8), s.f(8), None, None, "lstm", False),
        s(s.f(2, 2, 3), s.f(2, 2), s.f(2, 3), s.f(12, 3), s.f(12, 2), None, None, s.f(2, 3), None, "lstm", True),
        s(s.f(2, 1, 3), s.f(1, 2), None, s.f(6, 3), s.f(6, 2), s.f(6), s.f(6), None, None, "gru", True),
        s(s.f(4, 3), s.f(2, 2), None, s.f(6, 3), s.f(6, 2), s.f(6), s.f(6), None, sizes, "gru", False),
        s(s.f(4, 3), s.f(2, 2), None, s.f(2, 3), s.f(2, 2), None, None, None, sizes, "rnn_tanh", True),
    ]


op(
    "_rnn_layer(input, hx, cx?, w_ih, w_hh, b_ih?, b_hh?, w_hr?, batch_sizes?, kind: str, reverse: bool) -> output, cells, gates, hidden",
    meta="rnn_layer",
    namespace=None,
    nondiff=("gates", "hidden"),
    grads=_grads,
    fast_grads=_fast_grads,
    dtypes=("float64", "float32"),
    samples=_samples,
    no_ref_reason="compared with the step loop and with PyTorch in tests/test_rnn_kernels.py",
    doc="Every step of one direction of a recurrent layer: outputs, cells (lstm), and the gates that the gradient reads.",
)

_NO_GRAD = "only used when no graph of the gradient is wanted; the forward op's `grads` is its differentiable form"

op(
    "_rnn_layer_backward(g_output, g_cells, output, cells, gates, hidden, hx, cx?, w_hh, w_hr?, batch_sizes?, kind: str, reverse: bool)"
    " -> dgates, dhx, dcx, dother",
    meta="rnn_layer_backward",
    namespace=None,
    no_grad_reason=_NO_GRAD,
    no_samples_reason="tested as the fast gradient of _rnn_layer",
    no_ref_reason="tested against the gradient of the step loop",
    doc="Gradients of the gate sums (gru: of the input's part, and of the state's part in dother; lstm: of the projection there) and state.",
)

op(
    "_rnn_previous(output, hx, batch_sizes?, reverse: bool) -> previous",
    meta="rnn_previous",
    namespace=None,
    no_grad_reason=_NO_GRAD,
    no_samples_reason="tested as part of the fast gradient of _rnn_layer",
    no_ref_reason="tested against the gradient of the step loop",
    doc="The state (B, P) that every row of every step started from.",
)
