"""flex_attention: attention with a function on the scores and a function that says which of them count.

This is the dense form: scores of all pairs are computed, then changed and masked; a BlockMask saves no work, only says what to mask.
The functions see one score at a time (0-d tensors); vmap runs them on all at once.

Shapes: B batch, Hq query heads, H key heads, L queries, S keys, E width, V width of the values.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import minigrad as mg

from ._block_mask import BlockMask, blocks_of, noop_mask

Tensor = mg.Tensor
FlexKernelOptions = dict

__all__ = [
    "AuxOutput", "AuxRequest", "BlockMask", "FlexKernelOptions", "and_masks", "create_block_mask", "create_mask", "flex_attention",
    "noop_mask", "or_masks",
]  # fmt: skip

_DEFAULT_SPARSE_BLOCK_SIZE = 128  # PyTorch's names, which libraries import
_LARGE_SPARSE_BLOCK_SIZE = 1 << 30



class AuxOutput(NamedTuple):
    """What flex_attention returns besides on request: (B, Hq, L) log-sum-exp and largest score of each query."""

    lse: Tensor | None = None
    max_scores: Tensor | None = None


class AuxRequest(NamedTuple):
    """Which of them are wanted."""

    lse: bool = False
    max_scores: bool = False


def _over_all(function: Callable, scores: bool) -> Callable:
    """The function of (score,) b, h, q, k applied to all of them."""
    lead = (0,) if scores else ()
    for dims in ((None, None, None, 0), (None, None, 0, None), (None, 0, None, None), (0, None, None, None)):
        function = mg.vmap(function, in_dims=lead + dims)
    return function


def _combined(name: str, mask_mods: tuple[Callable, ...], join: Callable) -> Callable:
    if not all(callable(f) for f in mask_mods):
        raise RuntimeError(f"All inputs should be callable mask_mods: {mask_mods}")

    def mask(b: Tensor, h: Tensor, q_idx: Tensor, kv_idx: Tensor) -> Tensor:
        result = mask_mods[0](b, h, q_idx, kv_idx)
        for f in mask_mods[1:]:
            result = join(result, f(b, h, q_idx, kv_idx))
        return result

    mask.__name__ = name
    return mask


def or_masks(*mask_mods: Callable) -> Callable:
    """A mask_mod that allows what one of these allows."""
    return _combined("or_mask", mask_mods, lambda a, b: a | b)


def and_masks(*mask_mods: Callable) -> Callable:
    """A mask_mod that allows what all of these allow."""
    return _combined("and_mask", mask_mods, lambda a, b: a & b)


def _takes_score(function: Callable) -> bool:
    """Whether it is a score_mod (score, b, h, q, k) rather than a mask_mod (b, h, q, k)."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = sum(p.kind in kinds and p.default is inspect.Parameter.empty for p in inspect.signature(function).parameters.values())
    if needed not in (4, 5):
        raise AssertionError("Unknown modification type: expected a score_mod of 5 arguments or a mask_mod of 4")
    return needed == 5


def create_mask(mod_fn: Callable, B: int | None, H: int | None, Q_LEN: int, KV_LEN: int, device: Any = None) -> Tensor:
    """The dense form of a mask_mod (bool) or score_mod (what it adds to zero scores): (B, H, Q_LEN, KV_LEN), 1 for B, H of None."""
    b, h, q, k = (mg.arange(n, device=device) for n in (B or 1, H or 1, Q_LEN, KV_LEN))
    if _takes_score(mod_fn):
        scores = mg.zeros((B or 1, H or 1, Q_LEN, KV_LEN), device=device)
        return mg.isneginf(_over_all(mod_fn, True)(scores, b, h, q, k)).logical_not()
    return mg.broadcast_to(_over_all(mod_fn, False)(b, h, q, k), (B or 1, H or 1, Q_LEN, KV_LEN))


def create_block_mask(
    mask_mod: Callable, B: int | None, H: int | None, Q_LEN: int, KV_LEN: int, device: Any = None,
    BLOCK_SIZE: int | tuple[int, int] = 128, _compile: bool = False, separate_full_blocks: bool = True,
    compute_dq_write_order: bool = False, dq_kv_order: bool = True,
) -> BlockMask:  # fmt: skip
    """The BlockMask of a mask_mod.

    Args:
        mask_mod: (b, h, q_idx, kv_idx) -> bool, on 0-d integer tensors: does this key take part?
        B, H: batch and heads; None where the mask does not depend on them.
        Q_LEN, KV_LEN: numbers of queries and keys.
        device: where.
        BLOCK_SIZE: side of a block, or (queries, keys).
        separate_full_blocks: list blocks that are allowed entirely apart.
        compute_dq_write_order, dq_kv_order, _compile: of GPU kernels; no effect.
    """
    if _takes_score(mask_mod):
        raise AssertionError("create-block_mask requires a mask_mod function!")
    size = (BLOCK_SIZE, BLOCK_SIZE) if isinstance(BLOCK_SIZE, int) else tuple(BLOCK_SIZE)
    partial, full = blocks_of(create_mask(mask_mod, B, H, Q_LEN, KV_LEN, device), size, separate_full_blocks)
    return BlockMask.from_dense_blocks(partial, full, size, mask_mod, (Q_LEN, KV_LEN))


def _check(query: Tensor, key: Tensor, value: Tensor, enable_gqa: bool, block_mask: BlockMask | None) -> None:
    for name, t in (("query", query), ("key", key), ("value", value)):
        if not isinstance(t, Tensor) or t.dim() != 4:
            raise ValueError(f"flex_attention: expected {name} of 4 dimensions (B, H, length, width)")
    if query.dtype != key.dtype or query.dtype != value.dtype:
        raise ValueError(
            f"Expected query, key, and value to have the same dtype, but got query.dtype: {query.dtype}, key.dtype: {key.dtype}, and "
            f"value.dtype: {value.dtype} instead."
        )
    if query.shape[-1] != key.shape[-1]:
        raise ValueError(
            f"Expect query and key/value to have the same embedding dimension but got E={query.shape[-1]} and E={key.shape[-1]}."
        )
    heads, shared = query.shape[1], key.shape[1]
    if not enable_gqa and heads != shared:
        raise ValueError(
            f"Expect query and key/value to have the same number of heads but got Hq={heads} and Hkv={shared}. Try setting "
            "enable_gqa=True for GQA."
        )
    if enable_gqa and heads % shared:
        raise ValueError(f"Expect number of query heads to be a multiple of kv heads for GQA but got Hq={heads} and Hkv={shared}.")
    if block_mask is not None and (query.shape[2] > block_mask.seq_lengths[0] or key.shape[2] > block_mask.seq_lengths[1]):
        raise ValueError(
            f"block_mask was created for block_mask.shape={block_mask.shape} but got q_len={query.shape[2]} and kv_len={key.shape[2]}. "
            "As the block mask was created for a smaller length than you're using it for, you likely need to create a new block mask."
        )


def flex_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    score_mod: Callable | None = None,
    block_mask: BlockMask | None = None,
    scale: float | None = None,
    enable_gqa: bool = False,
    return_lse: bool = False,
    kernel_options: dict | None = None,
    *,
    return_aux: AuxRequest | None = None,
) -> Any:
    """softmax(score_mod(query keyᵀ scale) where the mask allows) value, computed densely.

    Args:
        query: (B, Hq, L, E).
        key: (B or 1, H, S, E).
        value: (B or 1, H, S, V).
        score_mod: (score, b, h, q_idx, kv_idx) -> score, on 0-d tensors; tensors it closes over get gradients.
        block_mask: which pairs count, see `create_block_mask`.
        scale: 1/sqrt(E) by default.
        enable_gqa: let Hq/H query heads share one key and value head.
        return_lse: also return the log-sum-exp of the scores (B, Hq, L).
        kernel_options: of GPU kernels; no effect.
        return_aux: which other results to return, in an AuxOutput.
    Returns:
        (B, Hq, L, V); with return_lse (that, lse), with return_aux (that, AuxOutput). A query that may see no key gets zeros.
    """
    _check(query, key, value, enable_gqa, block_mask)
    repeat = query.shape[1] // key.shape[1]
    if repeat > 1:
        key, value = key.repeat_interleave(repeat, 1), value.repeat_interleave(repeat, 1)
    wide = mg.float64 if query.dtype == mg.float64 else mg.float32
    scores = (query @ key.transpose(-2, -1)).to(wide) * (1.0 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if score_mod is not None:
        b, h, q, k = (mg.arange(n, device=query.device) for n in scores.shape)
        scores = mg.broadcast_to(_over_all(score_mod, True)(scores, b, h, q, k), scores.shape)
    if block_mask is not None:
        allowed = block_mask.dense_mask(query.shape[2], key.shape[2], lambda f, B, H, L, S: create_mask(f, B, H, L, S, query.device))
        scores = scores.masked_fill(~allowed, -math.inf)
    empty = (scores == -math.inf).all(-1, keepdim=True)  # queries that may see no key: zeros, not 0 / 0
    weights = scores.masked_fill(empty, 0.0).softmax(-1).masked_fill(empty, 0.0)
    out = weights.to(query.dtype) @ value
    if return_aux is not None:
        lse = scores.logsumexp(-1) if return_aux.lse else None
        return out, AuxOutput(lse, scores.amax(-1) if return_aux.max_scores else None)
    return (out, scores.logsumexp(-1)) if return_lse else out
