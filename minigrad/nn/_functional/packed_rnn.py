"""Recurrent networks over packed sequences (minigrad/nn/utils/rnn.py), without padding.

Each direction of each layer is one call (minigrad/ops/layers/rnn_layer.py). Forwards the state loses rows from step to step (shorter
sequences are done, their last state is final); backwards it gains rows.

Shapes: B steps of all sequences together, N sequences sorted by length, longest first, I input and H hidden width.
"""

from __future__ import annotations

from collections.abc import Sequence

import minigrad as mg
from minigrad.ops.layers.rnn import layer_weights
from minigrad.ops.layers.rnn_layer import layer

from .dropout import dropout as _dropout

Tensor = mg.Tensor
State = tuple[Tensor, ...]


def packed_rnn(
    kind: str,
    data: Tensor,
    batch_sizes: Tensor,
    hx: State,
    params: Sequence[Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    training: bool,
    bidirectional: bool,
) -> tuple[Tensor, State]:
    """All layers and directions over packed data.

    Args:
        kind: "lstm", "gru", "rnn_tanh" or "rnn_relu".
        data: (B, I).
        batch_sizes: (T) how many sequences have a step t.
        hx: states, each (num_layers * directions, N, H).
        params: of each layer and direction, as the functions of that name take them.
        has_biases: params hold biases.
        num_layers: how many layers.
        dropout: probability of dropping an output between layers while `training`.
        training: apply dropout.
        bidirectional: run a second direction.

    Returns:
        ((B, directions * H) outputs, states like hx).
    """
    directions = 1 + bidirectional
    projected = kind == "lstm" and hx[0].shape[-1] != hx[1].shape[-1]
    weights = layer_weights(kind, params, has_biases, projected, num_layers * directions)
    last: list[State] = []
    for level in range(num_layers):
        ways = []
        for way in range(directions):
            k = level * directions + way
            out, state = layer(kind, data, tuple(h[k] for h in hx), weights[k], way == 1, batch_sizes)
            ways.append(out)
            last.append(state)
        data = ways[0] if directions == 1 else mg.cat(ways, -1)
        if dropout > 0 and training and level + 1 < num_layers:
            data = _dropout(data, dropout, True)
    return data, tuple(mg.stack(list(parts)) for parts in zip(*last, strict=True))
