"""Recurrent layers on the device: kinds, packed sequences, directions, biases, projection; the ops and nn.LSTM with its gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from both import agree, flatten, gradients

import minigrad as mg
from minigrad.op import functions

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


def layer(put: Any, kind: str, sizes: list[int] | None, reverse: bool, bias: bool, projected: bool, dtype: Any) -> list[mg.Tensor]:
    rng = np.random.default_rng(5)
    steps, n, inputs, hidden = 4, 3, 5, 6
    width, rows = 2 if projected else hidden, GATES[kind] * hidden

    def weight(*shape: int) -> mg.Tensor:
        return put(rng.standard_normal(shape) / 2, dtype)

    x = weight(steps, n, inputs) if sizes is None else weight(sum(sizes), inputs)
    hx, cx = weight(n, width), weight(n, hidden) if kind == "lstm" else None
    w_ih, w_hh = weight(rows, inputs), weight(rows, width)
    biases = [weight(rows), weight(rows)] if bias else [None, None]
    w_hr = weight(width, hidden) if projected else None
    packed = None if sizes is None else mg.tensor(sizes)
    out = functions["_rnn_layer"](x, hx, cx, w_ih, w_hh, *biases, w_hr, packed, kind, reverse)
    g = weight(*out[0].shape)
    g_cells = weight(*out[1].shape)
    back = functions["_rnn_layer_backward"](g, g_cells, *out, hx, cx, w_hh, w_hr, packed, kind, reverse)
    return flatten([out, back, functions["_rnn_previous"](out[0], hx, packed, reverse)])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("sizes", [None, [3, 3, 2, 1]], ids=["padded", "packed"])
@pytest.mark.parametrize("kind", GATES)
def test_ops(kind: str, sizes: list[int] | None, reverse: bool) -> None:
    for bias in (False, True):
        agree(lambda put, b=bias: layer(put, kind, sizes, reverse, b, False, mg.float64))


def test_projection_and_single_precision() -> None:
    agree(lambda put: layer(put, "lstm", [3, 3, 2, 1], False, True, True, mg.float64))
    agree(lambda put: layer(put, "lstm", None, True, False, True, mg.float32))
    agree(lambda put: layer(put, "gru", None, False, True, False, mg.float32))


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_modules(kind: str) -> None:
    x = np.random.default_rng(0).standard_normal((4, 2, 3))

    def compute(put: Any) -> list[mg.Tensor]:
        mg.manual_seed(0)
        net = getattr(mg.nn, kind)(3, 5, num_layers=2, bidirectional=True)
        leaf = put(x, mg.float32, True)
        net = net.to(leaf.device)
        out = net(leaf)
        return flatten([out, gradients(out[0], [leaf, *net.parameters()])])

    agree(compute, 1e-5)
