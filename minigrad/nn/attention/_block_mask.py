"""BlockMask: which blocks of an attention matrix are empty, partly or fully allowed. Public names are in flex_attention.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import minigrad as mg

Tensor = mg.Tensor
_TENSORS = (
    "kv_num_blocks", "kv_indices", "full_kv_num_blocks", "full_kv_indices", "q_num_blocks", "q_indices", "full_q_num_blocks",
    "full_q_indices",
)  # fmt: skip


def noop_mask(batch: Tensor, head: Tensor, token_q: Tensor, token_kv: Tensor) -> Tensor:
    """A mask_mod that allows everything."""
    return batch.new_ones((), dtype=mg.bool)


def blocks_of(mask: Tensor, size: tuple[int, int], separate: bool) -> tuple[Tensor, Tensor | None]:
    """(partly allowed, fully allowed) blocks of a dense mask (B, H, L, S), as 0/1 of shape (B, H, rows, columns)."""
    b, h, length, keys = mask.shape
    rows, columns = -(-length // size[0]), -(-keys // size[1])
    padded = mg.nn.functional.pad(mask.to(mg.uint8), (0, columns * size[1] - keys, 0, rows * size[0] - length))
    counts = padded.reshape(b, h, rows, size[0], columns, size[1]).sum((3, 5))
    if not separate:
        return (counts > 0).to(mg.int8), None
    full = counts == size[0] * size[1]
    return ((counts > 0) & ~full).to(mg.int8), full.to(mg.int8)


def _ordered(dense: Tensor) -> tuple[Tensor, Tensor]:
    """(how many blocks each row has, their columns first and then the others)."""
    return dense.to(mg.int32).sum(-1).to(mg.int32), dense.argsort(-1, descending=True, stable=True).to(mg.int32).contiguous()


def _dense(counts: Tensor, indices: Tensor) -> Tensor:
    """The 0/1 blocks of (counts, indices)."""
    there = mg.arange(indices.shape[-1], device=indices.device) < counts.unsqueeze(-1)
    return mg.zeros_like(indices).scatter(-1, indices.to(mg.int64), there.to(indices.dtype))


class BlockMask:
    """A block-sparse attention mask.

    Args:
        seq_lengths: (queries, keys).
        kv_num_blocks, kv_indices: (B, H, rows) and (B, H, rows, columns) int32: partly allowed blocks of each row of queries.
        full_kv_num_blocks, full_kv_indices: the fully allowed ones, or None.
        q_num_blocks, q_indices, full_q_num_blocks, full_q_indices: the same by columns.
        BLOCK_SIZE: (queries, keys) of a block.
        mask_mod: decides within the partly allowed blocks.
    """

    def __init__(
        self, seq_lengths: tuple[int, int], kv_num_blocks: Tensor, kv_indices: Tensor, full_kv_num_blocks: Tensor | None,
        full_kv_indices: Tensor | None, q_num_blocks: Tensor | None, q_indices: Tensor | None, full_q_num_blocks: Tensor | None,
        full_q_indices: Tensor | None, BLOCK_SIZE: tuple[int, int] = (128, 128), mask_mod: Callable = noop_mask,
        **kernel_orders: Any,
    ) -> None:  # fmt: skip
        if kv_indices.dim() < 2:
            raise RuntimeError("BlockMask must have at least 2 dimensions")
        if (full_kv_num_blocks is None) != (full_kv_indices is None):
            raise AssertionError("full_kv_num_blocks and full_kv_indices must be both provided or omitted")
        self.seq_lengths, self.BLOCK_SIZE, self.mask_mod = tuple(seq_lengths), tuple(BLOCK_SIZE), mask_mod
        self.kv_num_blocks, self.kv_indices = kv_num_blocks, kv_indices
        self.full_kv_num_blocks, self.full_kv_indices = full_kv_num_blocks, full_kv_indices
        self.q_num_blocks, self.q_indices = q_num_blocks, q_indices
        self.full_q_num_blocks, self.full_q_indices = full_q_num_blocks, full_q_indices

    @classmethod
    def from_kv_blocks(
        cls, kv_num_blocks: Tensor, kv_indices: Tensor, full_kv_num_blocks: Tensor | None = None, full_kv_indices: Tensor | None = None,
        BLOCK_SIZE: int | tuple[int, int] = 128, mask_mod: Callable | None = None, seq_lengths: tuple[int, int] | None = None,
        compute_q_blocks: bool = True,
    ) -> BlockMask:  # fmt: skip
        """A BlockMask from the blocks by rows; those by columns are derived."""
        size = (BLOCK_SIZE, BLOCK_SIZE) if isinstance(BLOCK_SIZE, int) else tuple(BLOCK_SIZE)
        q: list[Tensor | None] = [None] * 4
        if compute_q_blocks:
            q[:2] = _ordered(_dense(kv_num_blocks, kv_indices).transpose(-2, -1))
            if full_kv_num_blocks is not None:
                q[2:] = _ordered(_dense(full_kv_num_blocks, full_kv_indices).transpose(-2, -1))
        if seq_lengths is None:
            seq_lengths = (kv_indices.shape[-2] * size[0], kv_indices.shape[-1] * size[1])
        return cls(
            seq_lengths, kv_num_blocks, kv_indices, full_kv_num_blocks, full_kv_indices, *q, BLOCK_SIZE=size, mask_mod=mask_mod or noop_mask
        )

    @classmethod
    def from_dense_blocks(
        cls, partial: Tensor, full: Tensor | None, size: tuple[int, int], mask_mod: Callable, seq_lengths: tuple[int, int]
    ) -> BlockMask:
        """A BlockMask from 0/1 blocks (B, H, rows, columns)."""
        more = _ordered(full) if full is not None else (None, None)
        return cls.from_kv_blocks(*_ordered(partial), *more, BLOCK_SIZE=size, mask_mod=mask_mod, seq_lengths=seq_lengths)

    def as_tuple(self, flatten: bool = True) -> tuple:
        """Everything, in the order of the constructor."""
        size = self.BLOCK_SIZE if flatten else (self.BLOCK_SIZE,)
        lengths = self.seq_lengths if flatten else (self.seq_lengths,)
        return (*lengths, *(getattr(self, name) for name in _TENSORS), *size, self.mask_mod)

    @property
    def shape(self) -> tuple[int, ...]:
        """(B, H, queries, keys)."""
        return (*self.kv_indices.shape[:-2], *self.seq_lengths)

    def numel(self) -> int:
        """Number of pairs."""
        total = 1
        for n in self.shape:
            total *= n
        return total

    def to_dense(self) -> Tensor:
        """1 for each block that is allowed, fully or in part: (B, H, rows, columns) int32."""
        partial = _dense(self.kv_num_blocks, self.kv_indices)
        return partial if self.full_kv_num_blocks is None else partial | _dense(self.full_kv_num_blocks, self.full_kv_indices)

    def dense_mask(self, length: int, keys: int, evaluate: Callable) -> Tensor:
        """The mask of single pairs (B, H, length, keys) bool; evaluate(mask_mod, B, H, length, keys) gives mask_mod's values."""

        def spread(blocks: Tensor) -> Tensor:
            pairs = blocks.to(mg.bool).repeat_interleave(self.BLOCK_SIZE[0], -2).repeat_interleave(self.BLOCK_SIZE[1], -1)
            return pairs[..., :length, :keys]

        b, h = self.shape[0], self.shape[1]
        allowed = spread(_dense(self.kv_num_blocks, self.kv_indices)) & evaluate(self.mask_mod, b, h, length, keys)
        return allowed if self.full_kv_num_blocks is None else allowed | spread(_dense(self.full_kv_num_blocks, self.full_kv_indices))

    def sparsity(self) -> float:
        """Share of the pairs, in percent, outside of the allowed blocks (blocks that reach over the end count whole)."""
        blocks = int(self.to_dense().sum())
        return 100 * (1 - blocks * self.BLOCK_SIZE[0] * self.BLOCK_SIZE[1] / self.numel())

    def _adjust(self, new_q_len: int, new_kv_len: int) -> BlockMask:
        rows, columns = -(-new_q_len // self.BLOCK_SIZE[0]), -(-new_kv_len // self.BLOCK_SIZE[1])
        partial = _dense(self.kv_num_blocks, self.kv_indices)[..., :rows, :columns]
        full = None if self.full_kv_num_blocks is None else _dense(self.full_kv_num_blocks, self.full_kv_indices)[..., :rows, :columns]
        return BlockMask.from_dense_blocks(partial, full, self.BLOCK_SIZE, self.mask_mod, (new_q_len, new_kv_len))

    def __getitem__(self, index: Any) -> BlockMask:
        """The mask of some batches, heads and rows of blocks (mask_mod is not kept)."""
        index = index if isinstance(index, tuple) else (index,)
        index = tuple(slice(i, i + 1 or None) if isinstance(i, int) else i for i in index)
        parts = [None if t is None else t[index] for t in (getattr(self, name) for name in _TENSORS[:4])]
        by_columns = self.q_indices is not None
        return BlockMask.from_kv_blocks(*parts, BLOCK_SIZE=self.BLOCK_SIZE, seq_lengths=self.seq_lengths, compute_q_blocks=by_columns)

    def to(self, device: Any) -> BlockMask:
        """The same on another device."""
        parts = [None if t is None else t.to(device) for t in (getattr(self, name) for name in _TENSORS)]
        return BlockMask(self.seq_lengths, *parts, BLOCK_SIZE=self.BLOCK_SIZE, mask_mod=self.mask_mod)

    def __repr__(self) -> str:
        lines = []
        for name in _TENSORS:
            value = getattr(self, name)
            lines.append(f"    {name}={value if value is None else value.shape}")
        name = getattr(self.mask_mod, "__name__", repr(self.mask_mod))
        lines += [f"    BLOCK_SIZE={self.BLOCK_SIZE}", f"    shape={self.shape}", f"    sparsity={self.sparsity():.2f}%"]
        lines.append(f"    mask_mod={name if name.startswith('<') else name}")
        return "BlockMask(\n" + ",\n".join(lines) + "\n)"

    def __str__(self) -> str:
        return f"BlockMask(shape={self.shape}, sparsity={self.sparsity():.2f}%, \n{self.to_string()}\n)"

    def to_string(self, grid_size: int | tuple[int, int] = (20, 20), limit: int = 4) -> str:
        """A picture of the first `limit` masks: full, light and no shade for full, partly allowed and empty blocks."""
        dense = self.to_dense().flatten(0, -3) if self.kv_indices.dim() > 3 else self.to_dense().unsqueeze(0)
        rows, columns = (grid_size, grid_size) if isinstance(grid_size, int) else grid_size
        pictures = []
        for k in range(min(limit, dense.shape[0])):
            blocks = dense[k].tolist()
            step = max(-(-len(blocks) // rows), 1), max(-(-len(blocks[0]) // columns), 1)
            text = []
            for i in range(0, len(blocks), step[0]):
                cells = [[x for row in blocks[i : i + step[0]] for x in row[j : j + step[1]]] for j in range(0, len(blocks[0]), step[1])]
                text.append("".join("██" if all(c) else "  " if not any(c) else "░░" for c in cells))
            at = (k // self.shape[1], k % self.shape[1]) if len(self.shape) == 4 else (k,)
            pictures.append(f"{at}\n" + "\n".join(text))
        if dense.shape[0] > limit:
            pictures.append("...\nTo print out more, set BlockMask.to_string(grid_size=..., limit=N)")
        return "\n".join(pictures)
