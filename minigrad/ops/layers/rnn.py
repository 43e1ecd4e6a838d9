"""Recurrent cells and whole-sequence forms: rnn_tanh, rnn_relu, gru, lstm, with PyTorch's argument order.

One direction of one layer is an op of its own (rnn_layer.py); here are the cells, and the layers on top of each other.
Shapes: T steps, N batch, I input and H hidden width; weights w_ih (gates H, I), w_hh (gates H, H), gates stacked as
(i, f, g, o) for lstm and (r, z, n) for gru.
Source: Hochreiter and Schmidhuber, Neural Computation 1997 (lstm); Cho et al., arXiv:1406.1078 (gru).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import minigrad as mg
from minigrad.op import composite, functions
from minigrad.ops.layers.rnn_layer import STEPS, State, layer
from minigrad.ops.shared.struct_doc import numpy


# --- cells ------------------------------------------------------------------------------------------------------------
def _check_cell(name: str, input: Any, hidden: Any, w_ih: Any, w_hh: Any, gates: int) -> None:
    if input.dim() not in (1, 2) or hidden.dim() != input.dim():
        raise RuntimeError(
            f"{name}: expected input (N, I) or (I) and a state of the same rank: got {tuple(input.shape)} and"
            f" {tuple(hidden.shape)}."
        )
    if input.shape[-1] != w_ih.shape[1]:
        raise RuntimeError(f"{name}: input has inconsistent input_size: got {input.shape[-1]}, expected {w_ih.shape[1]}.")
    if hidden.shape[-1] * gates != w_hh.shape[0] or hidden.shape[:-1] != input.shape[:-1]:
        raise RuntimeError(
            f"{name}: the state {tuple(hidden.shape)} does not fit input {tuple(input.shape)} and w_hh {tuple(w_hh.shape)}."
        )


def _np_cell(kind: str) -> Callable[..., Any]:
    def run(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
        np = numpy()
        h = hx[0] if isinstance(hx, (tuple, list)) else hx
        x, y = input @ w_ih.T + (0 if b_ih is None else b_ih), h @ w_hh.T + (0 if b_hh is None else b_hh)

        def sigmoid(v: Any) -> Any:
            return 1 / (1 + np.exp(-v))

        if kind == "rnn_tanh":
            return np.tanh(x + y)
        if kind == "rnn_relu":
            return np.maximum(x + y, 0)
        if kind == "gru":
            (xr, xz, xn), (hr, hz, hn) = np.split(x, 3, -1), np.split(y, 3, -1)
            z, n = sigmoid(xz + hz), np.tanh(xn + sigmoid(xr + hr) * hn)
            return (1 - z) * n + z * h
        i, f, g, o = np.split(x + y, 4, -1)
        cell = sigmoid(f) * hx[1] + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(cell), cell

    return run


_WEIGHTS = """w_ih: (gates H, I) weights of the input.
        w_hh: (gates H, H) weights of the state.
        b_ih: (gates H) or None.
        b_hh: (gates H) or None."""


def _declare_cell(kind: str) -> None:
    step, gates = STEPS[kind]
    name = f"{kind}_cell"
    pair = kind == "lstm"

    def cell(
        input: mg.Tensor, hx: Any, w_ih: mg.Tensor, w_hh: mg.Tensor, b_ih: mg.Tensor | None = None,
        b_hh: mg.Tensor | None = None,
    ) -> Any:  # fmt: skip
        state = tuple(hx) if pair else (hx,)
        _check_cell(name, input, state[0], w_ih, w_hh, gates)
        linear = functions["linear"]
        new = step(linear(input, w_ih, b_ih), linear(state[0], w_hh, b_hh), state)
        return new if pair else new[0]

    ones = f"mg.zeros({gates}, 1), mg.zeros({gates}, 1)"
    state = "(mg.zeros(1, 1), mg.zeros(1, 1))" if pair else "mg.zeros(1, 1)"
    cell.__name__ = cell.__qualname__ = name
    cell.__doc__ = f"""One step of a recurrent network: {kind}.

    Args:
        input: (N, I) or (I), floating.
        hx: {"(h, c), each" if pair else "the state,"} (N, H) or (H).
        {_WEIGHTS}
    Returns:
        the new state{", (h, c)" if pair else ""}.
    Raises:
        RuntimeError for sizes that do not fit.
    Example:
        >>> mg.{name}(mg.ones(1, 1), {state}, {ones}){"[0]" if pair else ""}
        tensor([[0.]])
    """

    def sample(s: Any, biases: bool) -> Any:
        hx = [s.f(2, 2), s.f(2, 2)] if pair else s.f(2, 2)
        rest = [s.f(2 * gates), s.f(2 * gates)] if biases else []
        return s(s.f(2, 3), hx, s.f(2 * gates, 3), s.f(2 * gates, 2), *rest)

    composite(
        method=False,
        ref=_np_cell(kind),
        dtypes=("float64", "float32"),
        samples=lambda s: [sample(s, True), sample(s, False)],
    )(cell)


# --- whole sequences --------------------------------------------------------------------------------------------------
def _weights(name: str, params: Sequence[Any], has_biases: bool, projected: bool, count: int) -> list[tuple[Any, ...]]:
    each = 2 + 2 * has_biases + projected
    if len(params) != each * count:
        raise RuntimeError(f"{name}: got an incorrect number of RNN parameters: {len(params)}, expected {each * count}.")
    found = []
    for i in range(count):
        own = list(params[i * each : (i + 1) * each])
        w_hr = own.pop() if projected else None
        found.append((*own[:2], *(own[2:] if has_biases else (None, None)), w_hr))
    return found


def _sequence(
    kind: str, input: Any, hx: State, params: Sequence[Any], has_biases: bool, num_layers: int, dropout: float, train: bool,
    bidirectional: bool, batch_first: bool,
) -> tuple[Any, list[State]]:  # fmt: skip
    gates = STEPS[kind][1]
    if input.dim() != 3:
        raise RuntimeError(f"{kind}: expected a 3-D input: got {tuple(input.shape)}.")
    x = input.transpose(0, 1) if batch_first else input
    directions = 2 if bidirectional else 1
    projected = kind == "lstm" and hx[0].shape[-1] != hx[1].shape[-1]
    weights = _weights(kind, params, has_biases, projected, num_layers * directions)
    for h in hx:
        if h.dim() != 3 or h.shape[0] != len(weights) or h.shape[1] != x.shape[1]:
            raise RuntimeError(f"{kind}: expected a state ({len(weights)}, {x.shape[1]}, H): got {tuple(h.shape)}.")
    rows = gates * hx[-1].shape[-1]
    for w_ih, w_hh, *_ in weights:
        if w_ih.dim() != 2 or w_hh.dim() != 2 or w_ih.shape[0] != rows or w_hh.shape[0] != rows:
            raise RuntimeError(f"{kind}: expected weights of {rows} rows for a state of size {hx[-1].shape[-1]}: got "
                               f"{tuple(w_ih.shape)} and {tuple(w_hh.shape)}.")  # fmt: skip
    if x.shape[0] == 0:
        raise RuntimeError(f"{kind}: expected a sequence of at least one step: got {tuple(input.shape)}.")
    out, last = _levels(kind, x, hx, weights, num_layers, dropout if train else 0.0)
    return (out.transpose(0, 1) if batch_first else out), last


def _levels(
    kind: str, x: Any, hx: State, weights: Sequence[Any], num_layers: int, dropout: float, batch_sizes: Any = None
) -> tuple[Any, list[State]]:
    """Layers on top of each other; `weights` has one entry for each layer and direction."""
    last: list[State] = []
    directions = len(weights) // num_layers
    for level in range(num_layers):
        ways = []
        for d in range(directions):
            k = level * directions + d
            out, state = layer(kind, x, tuple(h[k] for h in hx), weights[k], d == 1, batch_sizes)
            ways.append(out)
            last.append(state)
        x = ways[0] if directions == 1 else mg.cat(ways, -1)
        if dropout > 0 and level + 1 < num_layers:
            x = functions["dropout"](x, dropout, True)
    return x, last


def _packed(
    kind: str, data: Any, batch_sizes: Any, hx: State, params: Sequence[Any], has_biases: bool, num_layers: int, dropout: float,
    train: bool, bidirectional: bool,
) -> tuple[Any, list[State]]:  # fmt: skip
    """PyTorch's other form, for packed sequences: data (B, I) and batch_sizes (T), how many sequences have a step t."""
    projected = kind == "lstm" and hx[0].shape[-1] != hx[1].shape[-1]
    weights = _weights(kind, params, has_biases, projected, num_layers * (2 if bidirectional else 1))
    return _levels(kind, data, hx, weights, num_layers, dropout if train else 0.0, batch_sizes)


def _declare_sequence(kind: str) -> None:
    pair = kind == "lstm"

    def run(
        input: mg.Tensor, hx: Any, params: Sequence[mg.Tensor], has_biases: bool, num_layers: int, dropout: float,
        train: bool, bidirectional: bool, batch_first: bool,
    ) -> tuple[mg.Tensor, ...]:  # fmt: skip
        if isinstance(has_biases, (list, tuple)):  # (data, batch_sizes, hx, params, has_biases, …, bidirectional)
            state = tuple(params) if pair else (params,)
            out, last = _packed(kind, input, hx, state, has_biases, num_layers, dropout, train, bidirectional, batch_first)
        else:
            state = tuple(hx) if pair else (hx,)
            out, last = _sequence(
                kind, input, state, params, has_biases, num_layers, dropout, train, bidirectional, batch_first
            )
        return (out, *(mg.stack(list(parts), 0) for parts in zip(*last, strict=True)))

    gates = STEPS[kind][1]
    zero = "mg.zeros(1, 1, 1)"
    run.__name__ = run.__qualname__ = kind
    run.__doc__ = f"""A recurrent network over whole sequences: {kind}.

    Args:
        input: (T, N, I), or (N, T, I) with batch_first; floating.
        hx: {"(h, c), each" if pair else "the first state,"} (num_layers * directions, N, H).
        params: for each layer and direction w_ih, w_hh and, with biases, b_ih, b_hh{" (and w_hr of a projected lstm)" if pair else ""}.
        has_biases: params hold biases.
        num_layers: layers on top of each other.
        dropout: probability of dropping an output between layers while training.
        train: apply dropout.
        bidirectional: run a second direction and put both results side by side.
        batch_first: sequences come as (N, T, I).
    PyTorch's form for packed sequences is taken as well: (data (B, I), batch_sizes (T), hx, params, has_biases, num_layers,
    dropout, train, bidirectional).

    Returns:
        (outputs (T, N, directions * H), last state{", last cell state" if pair else ""}).
    Raises:
        RuntimeError for sizes or a number of params that do not fit.
    Example:
        >>> weights = [mg.zeros({gates}, 1), mg.zeros({gates}, 1)]
        >>> mg.{kind}(mg.ones(1, 1, 1), {f"({zero}, {zero})" if pair else zero}, weights, False, 1, 0., False, False, False)[0]
        tensor([[[0.]]])
    """

    def sample(s: Any, layers: int, directions: int, biases: bool) -> Any:
        hx = [s.f(layers * directions, 1, 2) for _ in range(1 + pair)]
        params = []
        for k in range(layers * directions):
            width = 2 if k < directions else 2 * directions
            params += [s.f(2 * gates, width), s.f(2 * gates, 2)] + [s.f(2 * gates)] * 2 * biases
        return s(s.f(2, 1, 2), hx if pair else hx[0], params, biases, layers, 0.0, False, directions == 2, False)

    composite(
        method=False,
        no_ref_reason="a loop over the cell, which has the reference; compared with PyTorch",
        dtypes=("float64", "float32"),
        samples=lambda s: [sample(s, 1, 1, True), sample(s, 2, 2, False)],
    )(run)


for _kind in STEPS:
    _declare_cell(_kind)
    _declare_sequence(_kind)
