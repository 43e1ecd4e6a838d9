"""constant_pad_nd, what `nn.functional.pad` does in its mode "constant"; the other modes are in nn/_functional/padding.py."""

from __future__ import annotations

from collections.abc import Sequence

import minigrad as mg
from minigrad.op import composite
from minigrad.ops.shared.struct_doc import numpy


def _reference(input, pad, value=0):
    width = [(0, 0)] * (input.ndim - len(pad) // 2) + [(pad[i], pad[i + 1]) for i in range(len(pad) - 2, -1, -2)]
    grown = numpy().pad(input, [(max(a, 0), max(b, 0)) for a, b in width], constant_values=value)
    return grown[tuple(slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(grown.shape, width))]


@composite(
    method=False, ref=_reference,
    samples=lambda s: [s(s.t(3), (1, 2)), s(s.t(2, 3), (1, 0, 0, 2), 1.5), s(s.t(2, 4), (-1, 2)), s(s.t(2, 3), (0, 0)),
                       s(s.t(3, 2, layout="transposed"), (0, 1)), s(s.t(0, 2), (1, 1, 2, 0)), s(s.t(2, 5), (-1, -1))],
)  # fmt: skip
def constant_pad_nd(input: mg.Tensor, pad: Sequence[int], value: float = 0) -> mg.Tensor:
    """Lays constant values around the last dimensions, or crops them.

    Args:
        input: any tensor.
        pad: (left, right) of the last dimension, then of the one before it, and so on; negative crops.
        value: the number laid around.
    Returns:
        a copy, each padded dimension longer by left + right.
    Raises:
        RuntimeError for an odd number of entries, more entries than dimensions, or a negative resulting size.
    Example:
        >>> mg.constant_pad_nd(mg.tensor([1, 2]), (1, 0))
        tensor([0, 1, 2])
    """
    pad = tuple(int(p) for p in pad)
    if len(pad) % 2:
        raise RuntimeError(f"constant_pad_nd: pad must have an even number of entries: got {len(pad)}")
    if len(pad) // 2 > input.dim():
        raise RuntimeError(
            f"constant_pad_nd: pad has {len(pad) // 2} pairs, the input only {input.dim()} dimensions. Try fewer entries."
        )
    fresh = False
    for i in range(len(pad) // 2):
        dim, left, right = input.dim() - 1 - i, pad[2 * i], pad[2 * i + 1]
        size, shape = input.shape[dim], list(input.shape)
        if size + left + right < 0:
            raise RuntimeError(
                f"constant_pad_nd: dimension {dim} of size {size} with padding {left} and {right} would get the negative "
                f"size {size + left + right}. Try padding of at least {-size} in all."
            )
        if left < 0 or right < 0:
            start = max(-left, 0)
            input, fresh = input.narrow(dim, start, size - start - max(-right, 0)), False
        fill = [input.new_full((*shape[:dim], n, *shape[dim + 1 :]), value) if n > 0 else None for n in (left, right)]
        pieces = [p for p in (fill[0], input, fill[1]) if p is not None]
        if len(pieces) > 1:
            input, fresh = mg.cat(pieces, dim), True
    return input if fresh else input.clone()
