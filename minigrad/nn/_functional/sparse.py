"""Lookups: one_hot (embedding is a registry op with a Python door)."""

from __future__ import annotations

import minigrad as mg

from ._registry import registered

Tensor = mg.Tensor
_embedding = registered("embedding")


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of `weight` picked by `input`.

    Args:
        input: integer tensor of any shape, values in [0, len(weight)).
        weight: (rows, width).
        padding_idx: row that gets no gradient.
        max_norm: rows used are first scaled (in place) to at most this norm.
        norm_type: which norm `max_norm` means.
        scale_grad_by_freq: divide a row's gradient by how often it was picked.
        sparse: give `weight` a sparse COO gradient of the rows that were used.

    Returns:
        Tensor of shape input.shape + (width,).
    """
    if padding_idx is not None:
        if not -weight.shape[0] <= padding_idx < weight.shape[0]:
            raise AssertionError("Padding_idx must be within num_embeddings")
        padding_idx %= weight.shape[0]
    if max_norm is not None:
        _renorm_rows_(weight, input, max_norm, norm_type)
    if sparse and weight.requires_grad and mg.is_grad_enabled():
        if scale_grad_by_freq:
            raise RuntimeError("embedding_backward: scale_grad_by_freq not supported with sparse gradients")
        from minigrad.sparse._embedding import EmbeddingSparse

        return EmbeddingSparse.apply(weight, input, padding_idx)
    options = {} if padding_idx is None else {"padding_idx": padding_idx}
    if scale_grad_by_freq:
        options["scale_grad_by_freq"] = True
    return _embedding(input, weight, **options)


def _renorm_rows_(weight: Tensor, index: Tensor, max_norm: float, norm_type: float) -> None:
    with mg.no_grad():
        rows = index.reshape(-1).unique()
        picked = weight[rows]
        norms = picked.norm(norm_type, -1, True)
        scale = mg.where(norms > max_norm, max_norm / (norms + 1e-7), mg.ones_like(norms))
        weight[rows] = picked * scale


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """An int64 tensor with a new last dimension that is 1 at the class and 0 elsewhere.

    Raises:
        RuntimeError: a class is negative or not below `num_classes`.
    """
    if tensor.dtype != mg.int64:
        raise RuntimeError(f"one_hot is only applicable to index tensor of type LongTensor, got {tensor.dtype}")
    if tensor.numel() == 0:
        if num_classes <= 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        return mg.zeros((*tensor.shape, num_classes), dtype=mg.int64, device=tensor.device)
    if int(tensor.min()) < 0:
        raise RuntimeError("Class values must be non-negative.")
    highest = int(tensor.max())
    if num_classes == -1:
        num_classes = highest + 1
    elif num_classes <= 0:
        raise RuntimeError("num_classes should be positive")
    elif highest >= num_classes:
        raise RuntimeError("Class values must be smaller than num_classes.")
    result = mg.zeros((*tensor.shape, num_classes), dtype=mg.int64, device=tensor.device)
    return result.scatter_(-1, tensor.unsqueeze(-1), 1)
