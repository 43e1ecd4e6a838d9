"""Functions of layers and losses, named as in torch.nn.functional.

Map. The bodies live in `_functional/` by family; heavy ones (conv2d, softmax, cross_entropy, …) are doors to the op
registry. Ops that the registry declares with namespace "nn.functional" and that have no Python door here appear
through `__getattr__` at the end.
"""

# ruff: noqa: F401  everything imported here is public
from __future__ import annotations

from typing import Any

from minigrad._tensor import Tensor
from minigrad.op import functions as _functions
from minigrad.op import known_as as _known_as
from minigrad.op import namespaces as _namespaces
from minigrad.overrides import (
    handle_torch_function,
    has_torch_function,
    has_torch_function_unary,
    has_torch_function_variadic,
)

from ._functional._registry import registered as _registered
from ._functional.activation import (
    celu,
    celu_,
    elu,
    elu_,
    gelu,
    glu,
    gumbel_softmax,
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    hardtanh_,
    leaky_relu,
    leaky_relu_,
    log_softmax,
    logsigmoid,
    mish,
    prelu,
    relu,
    relu6,
    relu_,
    rrelu,
    rrelu_,
    selu,
    selu_,
    sigmoid,
    silu,
    softmax,
    softmin,
    softplus,
    softshrink,
    softsign,
    tanh,
    tanhshrink,
    threshold,
    threshold_,
)
from ._functional.attention import scaled_dot_product_attention
from ._functional.dropout import alpha_dropout, dropout, dropout1d, dropout2d, dropout3d, feature_alpha_dropout
from ._functional.fold import fold, unfold
from ._functional.grouped import ScalingType, SwizzleType, assert_int_or_pair, grouped_mm
from ._functional.internals import (
    _canonical_mask,
    _check_key_padding_mask,
    _get_softmax_dim,
    _in_projection,
    _in_projection_packed,
    _is_integer,
    _list_with_default,
    _mha_shape_check,
    _no_grad_embedding_renorm_,
    _none_or_dtype,
    _verify_batch_size,
    _verify_spatial_size,
)
from ._functional.linear_cross_entropy import linear_cross_entropy
from ._functional.loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    gaussian_nll_loss,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    nll_loss,
    poisson_nll_loss,
    smooth_l1_loss,
)
from ._functional.margin import (
    cosine_embedding_loss,
    cosine_similarity,
    hinge_embedding_loss,
    margin_ranking_loss,
    multi_margin_loss,
    multilabel_margin_loss,
    multilabel_soft_margin_loss,
    normalize,
    pairwise_distance,
    soft_margin_loss,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from ._functional.multihead import multi_head_attention_forward
from ._functional.norm import batch_norm, group_norm, instance_norm, layer_norm, local_response_norm, rms_norm
from ._functional.padding import pad
from ._functional.sparse import embedding, one_hot
from ._functional.vision import bilinear, channel_shuffle, pixel_shuffle, pixel_unshuffle

# The registry's functions of this namespace, and those at top level that PyTorch has in both places.
for _name, _function in _namespaces["nn.functional"].items():
    globals().setdefault(_name, _function)
_known_as(__name__, {n: f for n, f in globals().items() if not n.startswith("_")})
linear = _registered("linear")
native_channel_shuffle = channel_shuffle
GRID_SAMPLE_INTERPOLATION_MODES = {"bilinear": 0, "nearest": 1, "bicubic": 2}
GRID_SAMPLE_PADDING_MODES = {"zeros": 0, "border": 1, "reflection": 2}
BroadcastingList1 = BroadcastingList2 = BroadcastingList3 = list  # annotations of the number of values an int stands for
__all__ = sorted(n for n, v in globals().items() if callable(v) and not isinstance(v, type) and n[0] != "_" and n != "Any")


def __getattr__(name: str) -> Any:
    if not name.startswith("_") and name in _functions:
        return _registered(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
