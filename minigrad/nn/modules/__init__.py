"""The layer classes, by family; `minigrad.nn` re-exports them."""

from __future__ import annotations

from . import (
    activation,
    adaptive,
    batchnorm,
    channelshuffle,
    container,
    conv,
    distance,
    dropout,
    flatten,
    fold,
    instancenorm,
    linear,
    linear_cross_entropy,
    loss,
    module,
    normalization,
    padding,
    pixelshuffle,
    pooling,
    sparse,
    transformer,
    upsampling,
)
from ._global_hooks import export as _export_global_hooks
from .module import Module

_export_global_hooks(module)

__all__ = ["Module"]
for _family in (
    activation, adaptive, batchnorm, channelshuffle, container, conv, distance, dropout, flatten, fold, instancenorm, linear,
    linear_cross_entropy, loss, normalization, padding, pixelshuffle, pooling, sparse, transformer, upsampling,
):  # fmt: skip
    for _name in _family.__all__:
        globals()[_name] = getattr(_family, _name)
        __all__.append(_name)

# Last: it needs nn.utils.rnn, and other files of nn.utils need the names above.
from . import rnn  # noqa: E402

for _name in rnn.__all__:
    globals()[_name] = getattr(rnn, _name)
    __all__.append(_name)


def _share_annotations() -> None:
    """Put the annotation names that public programs import from these files into them, as PyTorch's have them."""
    from minigrad._tensor import Tensor

    from .. import _reduction, common_types

    sized = (conv, flatten, fold, normalization, padding, pooling, upsampling)
    for name in vars(common_types):
        if name.startswith("_") and name.endswith("_t"):
            for family in sized:
                setattr(family, name, getattr(common_types, name))
    normalization._shape_t = int | list[int]
    plain = (activation, adaptive, batchnorm, container, distance, dropout, instancenorm, linear, loss, rnn, sparse, transformer)
    for family in (*plain, *sized):
        family.Tensor = Tensor
    loss.LinearCrossEntropyLoss = linear_cross_entropy.LinearCrossEntropyLoss
    loss._Reduction = _reduction


_share_annotations()
