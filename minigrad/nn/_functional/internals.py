"""Helpers of torch.nn.functional that begin with an underscore and that public model code imports all the same.

Copies of MultiheadAttention in the wild use the projections and mask helpers; everything else here is small change.
"""

from __future__ import annotations

import math
import warnings

import minigrad as mg

from ._registry import registered

Tensor = mg.Tensor
_linear = registered("linear")


def _none_or_dtype(input: Tensor | None) -> mg.dtype | None:
    """The dtype of `input`, or None."""
    if input is None:
        return None
    if isinstance(input, mg.Tensor):
        return input.dtype
    raise RuntimeError("input to _none_or_dtype() must be None or torch.Tensor")


def _canonical_mask(
    mask: Tensor | None,
    mask_name: str,
    other_type: mg.dtype | None,
    other_name: str,
    target_type: mg.dtype,
    check_other: bool = True,
) -> Tensor | None:
    """A bool mask (True is hidden) as floats to add to scores (-inf and 0); a float mask as it is."""
    if mask is None:
        return None
    is_float = mask.is_floating_point()
    if mask.dtype != mg.bool and not is_float:
        raise AssertionError(f"only bool and floating types of {mask_name} are supported")
    if check_other and other_type is not None and mask.dtype != other_type:
        warnings.warn(
            f"Support for mismatched {mask_name} and {other_name} is deprecated. Use same type for both instead.",
            stacklevel=3,
        )
    if is_float:
        return mask
    return mg.zeros(mask.shape, dtype=target_type, device=mask.device).masked_fill(mask, -math.inf)


def _in_projection_packed(q: Tensor, k: Tensor, v: Tensor, w: Tensor, b: Tensor | None = None) -> list[Tensor]:
    """Query, key and value after their projections; `w` (3 E, E) and `b` (3 E) hold the three below each other."""
    width = q.shape[-1]
    if k is v and q is k:  # self-attention: one product instead of three
        return list(_linear(q, w, b).chunk(3, -1))
    weights = [w.narrow(0, i * width, width) for i in range(3)]
    biases = [None] * 3 if b is None else [b.narrow(0, i * width, width) for i in range(3)]
    return [_linear(x, weight, bias) for x, weight, bias in zip((q, k, v), weights, biases, strict=True)]


def _in_projection(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    w_q: Tensor,
    w_k: Tensor,
    w_v: Tensor,
    b_q: Tensor | None = None,
    b_k: Tensor | None = None,
    b_v: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value after their own projections."""
    for name, weight, wanted in (("query", w_q, (q, q)), ("key", w_k, (q, k)), ("value", w_v, (q, v))):
        shape = (wanted[0].shape[-1], wanted[1].shape[-1])
        if tuple(weight.shape) != shape:
            raise AssertionError(f"expecting {name} weights shape of {shape}, but got {weight.shape}")
    for name, bias in (("query", b_q), ("key", b_k), ("value", b_v)):
        if bias is not None and tuple(bias.shape) != (q.shape[-1],):
            raise AssertionError(f"expecting {name} bias shape of {(q.shape[-1],)}, but got {bias.shape}")
    return _linear(q, w_q, b_q), _linear(k, w_k, b_k), _linear(v, w_v, b_v)


def _mha_shape_check(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None,
    attn_mask: Tensor | None,
    num_heads: int,
) -> bool:
    """Check the numbers of dimensions; whether the input has a batch dimension."""
    dims = query.dim()
    if dims not in (2, 3):
        raise AssertionError(f"query should be unbatched 2D or batched 3D tensor but received {dims}-D query tensor")
    kind = "batched (3-D)" if dims == 3 else "unbatched (2-D)"
    if key.dim() != dims or value.dim() != dims:
        raise AssertionError(
            f"For {kind} `query`, expected `key` and `value` to be {dims}-D but found {key.dim()}-D and "
            f"{value.dim()}-D tensors respectively"
        )
    if key_padding_mask is not None and key_padding_mask.dim() != dims - 1:
        raise AssertionError(
            f"For {kind} `query`, expected `key_padding_mask` to be `None` or {dims - 1}-D but found "
            f"{key_padding_mask.dim()}-D tensor instead"
        )
    if attn_mask is not None:
        if attn_mask.dim() not in (2, 3):
            raise AssertionError(
                f"For {kind} `query`, expected `attn_mask` to be `None`, 2-D or 3-D but found {attn_mask.dim()}-D "
                "tensor instead"
            )
        wanted = (num_heads, query.shape[0], key.shape[0])
        if dims == 2 and attn_mask.dim() == 3 and tuple(attn_mask.shape) != wanted:
            raise AssertionError(f"Expected `attn_mask` shape to be {wanted} but got {attn_mask.shape}")
    return dims == 3


def _check_key_padding_mask(key_padding_mask: Tensor, src_len: int, bsz: int) -> None:
    """Check that the mask is (bsz, src_len)."""
    for i, (got, wanted) in enumerate(zip(key_padding_mask.shape, (bsz, src_len), strict=True)):
        if got != wanted:
            raise AssertionError(f"Expected key_padded_mask.shape[{i}] to be {wanted}, but got {got}")


def _verify_batch_size(size: list[int]) -> None:
    """Refuse (N, C, …) with a single value per channel: a batch statistic of it means nothing."""
    count = size[0]
    for extent in size[2:]:
        count *= extent
    if count == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {size}")


def _verify_spatial_size(size: list[int]) -> None:
    """Refuse (N, C, …) with a single value per channel and sample."""
    if math.prod(size[2:]) == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {size}")


def _is_integer(x: object) -> bool:
    """Whether x is an int or a tensor of integers."""
    return isinstance(x, int) or (isinstance(x, mg.Tensor) and not x.is_floating_point())


def _list_with_default(out_size: list[int | None], defaults: list[int]) -> list[int]:
    """`out_size` with the last of `defaults` where it says None."""
    if len(defaults) <= len(out_size):
        raise ValueError(f"Input dimension should be at least {len(out_size) + 1}")
    return [d if v is None else v for v, d in zip(out_size, defaults[-len(out_size) :], strict=True)]


def _get_softmax_dim(name: str, ndim: int, stacklevel: int) -> int:
    """The dimension softmax takes when none is given (deprecated): 0 for 0, 1 and 3 dimensions, otherwise 1."""
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an argument.",
        stacklevel=stacklevel,
    )
    return 0 if ndim in (0, 1, 3) else 1


def _no_grad_embedding_renorm_(
    weight: Tensor, input: Tensor, max_norm: float, norm_type: float
) -> tuple[Tensor, Tensor]:
    """Scale the rows of `weight` that `input` names and whose norm exceeds `max_norm`, in place."""
    from .sparse import _renorm_rows_

    _renorm_rows_(weight, input, max_norm, norm_type)
    return weight, input
