"""Functions of torch's main namespace that are also in nn.functional, with the arguments they have there. Looked up through `__all__`.

PyTorch's generated functions take a reduction as an int (0 none, 1 mean, 2 sum) and spell some arguments differently from nn.functional.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minigrad import _core

# ruff: noqa: F822  (some names are made below, or on first use)
__all__ = [
    "adaptive_max_pool1d", "affine_grid_generator", "alpha_dropout", "alpha_dropout_", "as_strided_", "batch_norm", "bilinear",
    "binary_cross_entropy_with_logits", "channel_shuffle", "convolution", "cosine_embedding_loss",
    "cosine_similarity", "ctc_loss", "detach",
    "detach_", "dropout", "dropout_", "embedding", "embedding_bag", "feature_alpha_dropout", "feature_alpha_dropout_", "feature_dropout",
    "feature_dropout_", "from_file", "frombuffer", "get_device", "grid_sampler",
    "group_norm", "hinge_embedding_loss", "index_put_", "instance_norm",
    "is_inference", "is_nonzero", "is_same_size", "is_signed", "kl_div", "margin_ranking_loss", "norm_except_dim", "pairwise_distance",
    "pixel_shuffle", "pixel_unshuffle", "poisson_nll_loss", "range", "rrelu", "rrelu_", "triplet_margin_loss", "unsafe_split_with_sizes",
]  # fmt: skip

Tensor = _core.Tensor
_REDUCTIONS = ("none", "mean", "sum")


def _functional() -> Any:
    from minigrad.nn import functional

    return functional


def _same(name: str) -> Callable[..., Any]:
    function = getattr(_functional(), name)
    return function


def _reduction(code: int | str) -> str:
    return code if isinstance(code, str) else _REDUCTIONS[code]


def __getattr__(name: str) -> Any:
    if name in (
        "bilinear",
        "cosine_similarity",
        "pairwise_distance",
        "pixel_shuffle",
        "pixel_unshuffle",
        "channel_shuffle",
    ):
        globals()[name] = _same(name)
        return globals()[name]
    raise AttributeError(f"module 'minigrad._functions' has no attribute '{name}'")


# --- methods as functions ----------------------------------------------------------------------------------------------
def detach(input: Tensor) -> Tensor:
    """`input.detach()`."""
    return input.detach()


def detach_(input: Tensor) -> Tensor:
    """`input.detach_()`."""
    return input.detach_()


def get_device(input: Tensor) -> int:
    """`input.get_device()`."""
    return input.get_device()


def is_inference(input: Tensor) -> bool:
    """`input.is_inference()`."""
    return input.is_inference()


def is_signed(input: Tensor) -> bool:
    """`input.is_signed()`."""
    return input.is_signed()


def is_nonzero(input: Tensor) -> bool:
    """Whether the only element is not zero.

    Raises:
        RuntimeError: not exactly one element.
    """
    if input.numel() != 1:
        what = "no values" if input.numel() == 0 else "more than one value"
        raise RuntimeError(f"Boolean value of Tensor with {what} is ambiguous")
    return bool(input.item() != 0)


def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether the shapes are equal."""
    return input.shape == other.shape


def index_put_(input: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """`input.index_put_(…)`."""
    return input.index_put_(indices, values, accumulate)


def as_strided_(input: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """`input.as_strided_(…)`."""
    return input.as_strided_(size, stride, storage_offset)


def unsafe_split_with_sizes(input: Tensor, split_sizes: Any, dim: int = 0) -> tuple:
    """`input.split(split_sizes, dim)`."""
    return input.split(list(split_sizes), dim)


def from_file(filename: str, shared: bool | None = False, size: int | None = 0, *, dtype: Any = None, **options: Any) -> Tensor:
    """A one-dimensional tensor of `size` elements whose memory is the mapped file.

    Args:
        shared: writes go to the file, which is made or grown when too short; False: they stay in this process.
    Raises:
        RuntimeError: the file can't be opened, or is too short and not shared.
    """
    import mmap
    import os

    kind = dtype or _core.get_default_dtype()
    wanted = int(size or 0) * kind.itemsize
    try:
        file = os.open(filename, os.O_RDWR | os.O_CREAT if shared else os.O_RDONLY, 0o666)
    except OSError as error:
        raise RuntimeError(f"from_file: unable to open file <{filename}>: {error.strerror}") from error
    try:
        if os.fstat(file).st_size < wanted:
            if not shared:
                raise RuntimeError(f"from_file: file <{filename}> is too short: got {os.fstat(file).st_size} bytes, expected {wanted}")
            os.truncate(file, wanted)
        if wanted == 0:
            return _core.tensor([], dtype=kind, **options)
        mapped = mmap.mmap(file, wanted, access=mmap.ACCESS_WRITE if shared else mmap.ACCESS_COPY)
    finally:
        os.close(file)
    return frombuffer(mapped, dtype=kind, **options)


def frombuffer(buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0, requires_grad: bool = False) -> Tensor:
    """A 1-d tensor sharing the memory of an object with the buffer protocol (a copy where the buffer is read-only).

    Raises:
        ValueError: the range is outside of the buffer, or not whole elements.
    """
    import numpy as np

    import minigrad as mg

    view = memoryview(buffer).cast("B")
    size = mg.empty((), dtype=dtype).element_size()
    if len(view) == 0 or count == 0:
        raise ValueError(f"both buffer length ({len(view)}) and count ({count}) must not be 0")
    if not 0 <= offset < len(view):
        raise ValueError(
            f"offset ({offset} bytes) must be non-negative and no greater than buffer length ({len(view)} bytes) minus 1"
        )
    if count < 0:
        if (len(view) - offset) % size:
            raise ValueError(
                f"buffer length ({len(view) - offset} bytes) after offset ({offset} bytes) must be a multiple of element size ({size})"
            )
        count = (len(view) - offset) // size
    if offset + count * size > len(view):
        raise ValueError(
            f"requested buffer length ({count} * {size} bytes) after offset ({offset} bytes) must not be greater than {len(view)} bytes"
        )
    raw = np.frombuffer(view, np.uint8, count * size, offset)
    out = mg.from_numpy(raw if raw.flags.writeable else raw.copy()).view(dtype)
    return out.requires_grad_() if requires_grad else out


def range(start: float, end: float | None = None, step: float = 1, *, out: Any = None, dtype: Any = None, layout: Any = None,
          device: Any = None, requires_grad: bool = False) -> Tensor:  # fmt: skip
    """start, start + step, … including `end` (deprecated in PyTorch: use arange)."""
    import math
    import warnings

    import minigrad as mg

    warnings.warn(
        "torch.range is deprecated and will be removed in a future release. Try torch.arange.",
        UserWarning,
        stacklevel=2,
    )
    if end is None:
        start, end = 0, start
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    count = math.floor((end - start) / step) + 1
    values = mg.arange(count, dtype=mg.float64) * step + start
    result = values.to(dtype or (mg.get_default_dtype() if out is None else out.dtype))
    result = result if out is None else out.resize_(result.shape).copy_(result)
    return result.requires_grad_() if requires_grad else result


# --- layers ------------------------------------------------------------------------------------------------------------
def batch_norm(input: Tensor, weight: Any, bias: Any, running_mean: Any, running_var: Any, training: bool, momentum: float, eps: float,
               cudnn_enabled: bool) -> Tensor:  # fmt: skip
    """`nn.functional.batch_norm`, arguments in torch.batch_norm's order."""
    return _functional().batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


def instance_norm(input: Tensor, weight: Any, bias: Any, running_mean: Any, running_var: Any, use_input_stats: bool, momentum: float,
                  eps: float, cudnn_enabled: bool) -> Tensor:  # fmt: skip
    """`nn.functional.instance_norm`, arguments in torch.instance_norm's order."""
    return _functional().instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)


def group_norm(
    input: Tensor, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, cudnn_enabled: bool = True
) -> Tensor:
    """`nn.functional.group_norm`."""
    return _functional().group_norm(input, num_groups, weight, bias, eps)


def embedding(
    weight: Tensor, indices: Tensor, padding_idx: int = -1, scale_grad_by_freq: bool = False, sparse: bool = False
) -> Tensor:
    """Rows of `weight`; -1 means no padding index."""
    return _functional().embedding(
        indices, weight, None if padding_idx < 0 else padding_idx, None, 2.0, scale_grad_by_freq, sparse
    )


def embedding_bag(weight: Tensor, indices: Tensor, offsets: Tensor, scale_grad_by_freq: bool = False, mode: int = 0, sparse: bool = False,
                  per_sample_weights: Any = None, include_last_offset: bool = False, padding_idx: int | None = None) -> tuple:  # fmt: skip
    """(bags, …): `nn.functional.embedding_bag` with mode 0 sum, 1 mean, 2 max; the other three results are not computed (None)."""
    out = _functional().embedding_bag(indices, weight, offsets, None, 2.0, scale_grad_by_freq, ("sum", "mean", "max")[mode], sparse,
                                      per_sample_weights, include_last_offset, padding_idx)  # fmt: skip
    return out, None, None, None


def convolution(input: Tensor, weight: Tensor, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool, output_padding: Any,
                groups: int) -> Tensor:  # fmt: skip
    """conv1d/2d/3d or their transposes, by the rank of `weight`."""
    dims, functional = weight.dim() - 2, _functional()
    if transposed:
        return getattr(functional, f"conv_transpose{dims}d")(
            input, weight, bias, stride, padding, output_padding, groups, dilation
        )
    return getattr(functional, f"conv{dims}d")(input, weight, bias, stride, padding, dilation, groups)


def adaptive_max_pool1d(input: Tensor, output_size: Any) -> tuple:
    """(values, indices)."""
    return _functional().adaptive_max_pool1d(input, output_size, return_indices=True)


def grid_sampler(
    input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:
    """`nn.functional.grid_sample` with its modes as numbers."""
    modes, paddings = ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection")
    return _functional().grid_sample(input, grid, modes[interpolation_mode], paddings[padding_mode], align_corners)


def affine_grid_generator(theta: Tensor, size: Any, align_corners: bool) -> Tensor:
    """`nn.functional.affine_grid`."""
    return _functional().affine_grid(theta, size, align_corners)


def norm_except_dim(v: Tensor, pow: int = 2, dim: int = 0) -> Tensor:
    """The norms of the slices of `v` along `dim`, with the other dimensions kept at size 1; dim -1 takes the norm of all."""
    if dim == -1:
        return v.norm(pow)
    others = [d for d in list(__import__("builtins").range(v.dim())) if d != dim]
    return v.norm(pow, others, keepdim=True)


# --- dropout -----------------------------------------------------------------------------------------------------------
def _dropout(name: str, inplace: bool) -> Callable[[Tensor, float, bool], Tensor]:
    def function(input: Tensor, p: float, train: bool) -> Tensor:
        return getattr(_functional(), target)(input, p, train, inplace)

    target = {"feature_dropout": "dropout2d"}.get(name, name)
    function.__name__ = function.__qualname__ = name + "_" * inplace
    function.__doc__ = f"`nn.functional.{target}(input, p, train)`" + (", in place." if inplace else ".")
    return function


for _name in ("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout"):
    globals()[_name], globals()[_name + "_"] = _dropout(_name, False), _dropout(_name, True)


def rrelu(
    input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, generator: Any = None
) -> Tensor:
    """`nn.functional.rrelu`."""
    return _functional().rrelu(input, lower, upper, training)


def rrelu_(
    input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, generator: Any = None
) -> Tensor:
    """`nn.functional.rrelu`, in place."""
    return _functional().rrelu(input, lower, upper, training, True)


# --- losses (reduction: 0 none, 1 mean, 2 sum) -------------------------------------------------------------------------
def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Any = None, pos_weight: Any = None, reduction: int = 1
) -> Tensor:
    """`nn.functional.binary_cross_entropy_with_logits`."""
    form = _functional().binary_cross_entropy_with_logits
    return form(input, target, weight, reduction=_reduction(reduction), pos_weight=pos_weight)


def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: int = 1
) -> Tensor:
    """`nn.functional.cosine_embedding_loss`."""
    return _functional().cosine_embedding_loss(input1, input2, target, margin, reduction=_reduction(reduction))


def ctc_loss(log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any, blank: int = 0, reduction: int = 1,
             zero_infinity: bool = False) -> Tensor:  # fmt: skip
    """`nn.functional.ctc_loss`."""
    return _functional().ctc_loss(
        log_probs, targets, input_lengths, target_lengths, blank, _reduction(reduction), zero_infinity
    )


def hinge_embedding_loss(input: Tensor, target: Tensor, margin: float = 1.0, reduction: int = 1) -> Tensor:
    """`nn.functional.hinge_embedding_loss`."""
    return _functional().hinge_embedding_loss(input, target, margin, reduction=_reduction(reduction))


def kl_div(input: Tensor, target: Tensor, reduction: int = 1, *, log_target: bool = False) -> Tensor:
    """`nn.functional.kl_div`."""
    return _functional().kl_div(input, target, reduction=_reduction(reduction), log_target=log_target)


def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: int = 1
) -> Tensor:
    """`nn.functional.margin_ranking_loss`."""
    return _functional().margin_ranking_loss(input1, input2, target, margin, reduction=_reduction(reduction))


def poisson_nll_loss(input: Tensor, target: Tensor, log_input: bool, full: bool, eps: float, reduction: int) -> Tensor:
    """`nn.functional.poisson_nll_loss`."""
    return _functional().poisson_nll_loss(input, target, log_input, full, eps=eps, reduction=_reduction(reduction))


def triplet_margin_loss(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6,
                        swap: bool = False, reduction: int = 1) -> Tensor:  # fmt: skip
    """`nn.functional.triplet_margin_loss`."""
    return _functional().triplet_margin_loss(
        anchor, positive, negative, margin, p, eps, swap, reduction=_reduction(reduction)
    )
