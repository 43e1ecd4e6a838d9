"""Recurrent networks over packed sequences (minigrad/nn/utils/rnn.py), without padding.

The packed steps are cut into segments in which the number of running sequences does not change; each segment is one call of
the whole-sequence op. Forwards the state loses rows from segment to segment (shorter sequences are done, their last state is
final); backwards it gains rows. There are as many segments as there are different lengths.

Shapes: B steps of all sequences together, N sequences sorted by length, longest first, I input and H hidden width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

import minigrad as mg

from .dropout import dropout as _dropout

Tensor = mg.Tensor
State = tuple[Tensor, ...]
Layer = Callable[[Tensor, State, Sequence[Tensor]], tuple[Tensor, State]]


def _segments(batch_sizes: Sequence[int]) -> list[tuple[int, int, int]]:
    """(start in the packed data, steps, running sequences) of each segment."""
    found, start = [], 0
    for size, group in groupby(batch_sizes):
        steps = len(list(group))
        found.append((start, steps, size))
        start += steps * size
    return found


def _one_direction(
    run: Layer, data: Tensor, segments: list[tuple[int, int, int]], state: State, params: Sequence[Tensor], reverse: bool
) -> tuple[Tensor, State]:
    outputs: list[Tensor] = []
    finished: list[State] = []  # states of the sequences that ended, longest last
    running = tuple(h[: segments[-1][2]] for h in state) if reverse else state
    for start, steps, size in reversed(segments) if reverse else segments:
        count = running[0].shape[0]
        if size < count:
            finished.append(tuple(h[size:] for h in running))
            running = tuple(h[:size] for h in running)
        elif size > count:
            running = tuple(mg.cat([h, first[count:size]]) for h, first in zip(running, state, strict=True))
        x = data.narrow(0, start, steps * size).reshape(steps, size, -1)
        out, running = run(x.flip(0) if reverse else x, running, params)
        outputs.append((out.flip(0) if reverse else out).reshape(steps * size, -1))
    if reverse:
        outputs.reverse()
    finished.append(running)
    last = finished[0] if len(finished) == 1 else tuple(mg.cat(list(parts)) for parts in zip(*reversed(finished), strict=True))
    return outputs[0] if len(outputs) == 1 else mg.cat(outputs), last


def packed_rnn(
    run: Layer,
    data: Tensor,
    batch_sizes: Tensor,
    hx: State,
    layers: Sequence[Sequence[Tensor]],
    num_layers: int,
    dropout: float,
    training: bool,
) -> tuple[Tensor, State]:
    """All layers and directions over packed data.

    Args:
        run: one layer in one direction: ((T, n, I), states (n, H), params) to ((T, n, H), states).
        data: (B, I).
        batch_sizes: (T) how many sequences have a step t.
        hx: states, each (num_layers * directions, N, H).
        layers: parameters of each layer and direction.
        num_layers: how many layers; the directions follow from len(layers).
        dropout: probability of dropping an output between layers while `training`.

    Returns:
        ((B, directions * H) outputs, states like hx).
    """
    segments = _segments(batch_sizes.tolist())
    directions = len(layers) // num_layers
    last: list[State] = []
    for layer in range(num_layers):
        ways = []
        for way in range(directions):
            k = layer * directions + way
            out, state = _one_direction(run, data, segments, tuple(h[k] for h in hx), layers[k], way == 1)
            ways.append(out)
            last.append(state)
        data = ways[0] if directions == 1 else mg.cat(ways, -1)
        if dropout > 0 and training and layer + 1 < num_layers:
            data = _dropout(data, dropout, True)
    return data, tuple(mg.stack(list(parts)) for parts in zip(*last, strict=True))
