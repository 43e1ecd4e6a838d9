"""Sequences of different lengths: packed (no padding stored), padded, and the ways between them.

Packing lays the steps out one after the other: first step of every sequence, second step of those that have one, and so on. It is one
`index_select` of the flattened batch, unpacking one `index_copy`, so both are differentiable and vmap as ordinary ops do.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterable
from typing import Any

import minigrad as mg

Tensor = mg.Tensor

__all__ = [
    "PackedSequence", "invert_permutation", "pack_padded_sequence", "pack_sequence", "pad_packed_sequence", "pad_sequence",
    "unpack_sequence", "unpad_sequence",
]  # fmt: skip

PackedSequence_ = namedtuple("PackedSequence_", ["data", "batch_sizes", "sorted_indices", "unsorted_indices"])
PackedSequence_.__annotations__ = {
    "data": Tensor, "batch_sizes": Tensor, "sorted_indices": Tensor | None, "unsorted_indices": Tensor | None,
}  # fmt: skip


def _apply(value: Tensor | None, function: Any) -> Any:
    return None if value is None else function(value)


class PackedSequence(PackedSequence_):
    """The steps of a batch of sequences without padding; what recurrent modules take and return. Made by `pack_padded_sequence`.

    Args:
        data: (sum of lengths, *) all steps, time-major.
        batch_sizes: (longest,) int64 on the CPU: how many sequences have a step t.
        sorted_indices: order in which the batch was sorted, None when it was sorted already.
        unsorted_indices: its inverse; computed when left out.
    """

    def __new__(
        cls,
        data: Any,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        if batch_sizes is None:
            if not (isinstance(data, (list, tuple)) and len(data) == 2):
                raise ValueError("PackedSequence: without batch_sizes, data must be a pair (data, batch_sizes)")
            data, batch_sizes = data
        elif batch_sizes.device.type != "cpu":
            raise ValueError(
                "batch_sizes should always be on CPU. Instances of PackedSequence should never be created manually. They should be "
                "instantiated by functions like pack_sequence and pack_padded_sequences in nn.utils.rnn. "
            )
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """Convert dtype or device of the data (`Tensor.to`'s arguments); indices follow the device. Self when nothing changes."""
        data = self.data.to(*args, **kwargs)
        if data is self.data:
            return self
        move = lambda t: t.to(data.device)  # noqa: E731
        return type(self)(data, self.batch_sizes, _apply(self.sorted_indices, move), _apply(self.unsorted_indices, move))

    def cuda(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """Move to a CUDA device."""
        probe = mg.tensor((), dtype=self.data.dtype, device=self.data.device).to(*args, **kwargs)
        return self.to(*args, **kwargs) if probe.is_cuda else self.to(*args, **{"device": "cuda", **kwargs})

    def cpu(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """Move to the CPU."""
        return self.to(*args, **{**kwargs, "device": "cpu"})

    def pin_memory(self) -> PackedSequence:
        """All parts in page-locked memory."""
        pin = lambda t: t.pin_memory()  # noqa: E731
        return type(self)(pin(self.data), self.batch_sizes, _apply(self.sorted_indices, pin), _apply(self.unsorted_indices, pin))

    def double(self) -> PackedSequence:
        """Data as float64."""
        return self.to(dtype=mg.float64)

    def float(self) -> PackedSequence:
        """Data as float32."""
        return self.to(dtype=mg.float32)

    def half(self) -> PackedSequence:
        """Data as float16."""
        return self.to(dtype=mg.float16)

    def long(self) -> PackedSequence:
        """Data as int64."""
        return self.to(dtype=mg.int64)

    def int(self) -> PackedSequence:
        """Data as int32."""
        return self.to(dtype=mg.int32)

    def short(self) -> PackedSequence:
        """Data as int16."""
        return self.to(dtype=mg.int16)

    def char(self) -> PackedSequence:
        """Data as int8."""
        return self.to(dtype=mg.int8)

    def byte(self) -> PackedSequence:
        """Data as uint8."""
        return self.to(dtype=mg.uint8)

    @property
    def is_cuda(self) -> bool:
        """Whether the data are on a CUDA device."""
        return self.data.is_cuda

    def is_pinned(self) -> bool:
        """Whether the data are in page-locked memory."""
        return self.data.is_pinned()


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes `permutation` (n,); None for None."""
    if permutation is None:
        return None
    inverse = mg.empty_like(permutation)
    inverse.scatter_(0, permutation, mg.arange(0, permutation.numel(), device=permutation.device, dtype=permutation.dtype))
    return inverse


def _places(lengths: Tensor, steps: int, batch_first: bool) -> tuple[Tensor, Tensor]:
    """(flat index of each packed step in the padded batch, batch_sizes); lengths (B,) in decreasing order."""
    batch = lengths.shape[0]
    there = mg.arange(steps, device=lengths.device).unsqueeze(1) < lengths.unsqueeze(0)  # (steps, batch)
    flat = there.reshape(-1).nonzero().squeeze(1)
    if batch_first:
        flat = flat.remainder(batch) * steps + flat.div(batch, rounding_mode="floor")
    return flat, there.sum(1)


def _check_lengths(lengths: Tensor, batch: int, steps: int) -> None:
    if lengths.dim() != 1 or lengths.device.type != "cpu":
        raise RuntimeError(
            f"'lengths' argument should be a 1D CPU int64 tensor, but got {lengths.dim()}D {lengths.device} {lengths.dtype} tensor"
        )
    if lengths.numel() != batch:
        raise RuntimeError(f"Expected `len(lengths)` to be equal to batch_size, but got {lengths.numel()} (batch_size={batch})")
    values = lengths.tolist()
    if min(values) <= 0:
        raise RuntimeError("Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0")
    if any(a < b for a, b in zip(values, values[1:])):
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass `enforce_sorted=False` to "
            "pack_padded_sequence and/or pack_sequence to sidestep this requirement if you do not need ONNX exportability."
        )
    if values[0] > steps:
        raise RuntimeError(f"pack_padded_sequence: lengths exceed the padded input: got length {values[0]}, expected at most {steps}")


def pack_padded_sequence(
    input: Tensor, lengths: Tensor | list[int], batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Pack a padded batch.

    Args:
        input: (T, B, *), or (B, T, *) with batch_first.
        lengths: (B,) length of each sequence, >= 1.
        batch_first: layout of `input`.
        enforce_sorted: the lengths must be in decreasing order; False sorts them (and remembers the order).
    Returns:
        PackedSequence with data of shape (sum(lengths), *).
    Raises:
        RuntimeError: lengths that are not 1-D int64 on the CPU, not one per sequence, < 1, too long, or not sorted.
    """
    if not isinstance(lengths, Tensor):
        lengths = mg.as_tensor(lengths, dtype=mg.int64, device="cpu")
    sorted_indices = None
    if not enforce_sorted:
        lengths, sorted_indices = mg.sort(lengths, descending=True)
        sorted_indices = sorted_indices.to(input.device)
        input = input.index_select(0 if batch_first else 1, sorted_indices)
    lengths = lengths.to(mg.int64)
    if input.numel() == 0:
        raise RuntimeError("Cannot pack empty tensors.")
    batch, steps = (input.shape[0], input.shape[1]) if batch_first else (input.shape[1], input.shape[0])
    _check_lengths(lengths, batch, steps)
    longest = int(lengths[0])
    places, batch_sizes = _places(lengths, longest if not batch_first else steps, batch_first)
    data = input.reshape(-1, *input.shape[2:]).index_select(0, places.to(input.device))
    return PackedSequence(data, batch_sizes[:longest], sorted_indices, None)


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """The padded batch of a PackedSequence, in its original order.

    Args:
        sequence: what to unpack.
        batch_first: (B, T, *) instead of (T, B, *).
        padding_value: value after the end of a sequence.
        total_length: pad to this length instead of the longest sequence's.
    Returns:
        (padded, lengths): lengths (B,) int64.
    Raises:
        ValueError: total_length is below the longest length.
    """
    data, batch_sizes = sequence.data, sequence.batch_sizes
    longest = batch_sizes.shape[0]
    if total_length is not None and total_length < longest:
        raise ValueError(
            "Expected total_length to be at least the length of the longest sequence in input, but got "
            f"total_length={total_length} and max sequence length being {longest}"
        )
    steps = longest if total_length is None else total_length
    batch = int(batch_sizes[0])
    lengths = (batch_sizes.unsqueeze(1) > mg.arange(batch, device=batch_sizes.device).unsqueeze(0)).sum(0)
    places, _ = _places(lengths, steps, batch_first)
    padded = data.new_full((batch * steps, *data.shape[1:]), padding_value).index_copy(0, places.to(data.device), data)
    padded = padded.reshape((batch, steps) + data.shape[1:] if batch_first else (steps, batch) + data.shape[1:])
    if sequence.unsorted_indices is not None:
        order = sequence.unsorted_indices
        return padded.index_select(0 if batch_first else 1, order), lengths.index_select(0, order.cpu())
    return padded, lengths


def pad_sequence(
    sequences: Tensor | Iterable[Tensor], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Stack sequences of different lengths, filling up with `padding_value`.

    Args:
        sequences: tensors of shape (L, *) with equal trailing dimensions, of any lengths.
        batch_first: (B, T, *) instead of (T, B, *).
        padding_value: what to fill with.
        padding_side: "right" or "left".
    Returns:
        (T, B, *), T the longest length, in the dtype of the first sequence.
    Raises:
        RuntimeError: no sequences, not an iterable, unequal trailing dimensions.
    """
    if not isinstance(sequences, Iterable):
        raise RuntimeError(f"pad_sequence: Expected iterable for input sequences, but got arg of type: {type(sequences)}")
    items = list(sequences.unbind(0)) if isinstance(sequences, Tensor) else list(sequences)
    if not items:
        raise RuntimeError("received an empty list of sequences")
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"Expected padding_side to be one of left or right, but got {padding_side}.")
    first = items[0]
    for item in items:
        if not isinstance(item, Tensor):
            raise TypeError(f"pad_sequence: expected Tensors, got {type(item).__name__}")
        if item.shape[1:] != first.shape[1:] or item.dim() == 0:
            raise RuntimeError(
                f"pad_sequence: sequences differ in their trailing dimensions: got {tuple(item.shape)} and {tuple(first.shape)}"
            )
    lengths = [item.shape[0] for item in items]
    steps, batch = max(lengths), len(items)
    places: list[int] = []
    for b, length in enumerate(lengths):
        start = steps - length if padding_side == "left" else 0
        at = b * steps + start if batch_first else start * batch + b
        stride = 1 if batch_first else batch
        places.extend(range(at, at + stride * length, stride))
    data = mg.cat([item.to(first.dtype) for item in items])
    flat = first.new_full((batch * steps, *first.shape[1:]), padding_value)
    flat = flat.index_copy(0, mg.tensor(places, dtype=mg.int64, device=first.device), data)
    return flat.reshape((batch, steps) + first.shape[1:] if batch_first else (steps, batch) + first.shape[1:])


def unpad_sequence(padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False) -> list[Tensor]:
    """The list of sequences in a padded batch (T, B, *) (or (B, T, *)): the first lengths[b] steps of each."""
    if not batch_first:
        padded_sequences = padded_sequences.transpose(0, 1)
    return [sequence[: int(length)] for sequence, length in zip(padded_sequences, lengths)]


def pack_sequence(sequences: list[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack a list of sequences (L, *); in decreasing order of length unless `enforce_sorted` is False."""
    lengths = mg.as_tensor([sequence.shape[0] for sequence in sequences], device="cpu")
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The list of sequences in a PackedSequence."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
