"""The compiled ops of torchvision that detection models run on the CPU: `nms` and `roi_align` (`torch.ops.torchvision`).

`torch.ops.load_library` registers them in place of torchvision's `_C` extension, which is made for libtorch. The extension's other ops
(roi_pool, ps_roi_align, deform_conv2d) are only names, for torchvision asks for them at import; calling one raises NotImplementedError.
"""

from __future__ import annotations

import math

import numpy as np

import minigrad as mg
from minigrad.library import Library


def nms(dets: mg.Tensor, scores: mg.Tensor, iou_threshold: float) -> mg.Tensor:
    """Indices of the boxes that no better kept box overlaps by more than `iou_threshold`, best first.

    Args:
        dets: (N, 4) boxes x1, y1, x2, y2; scores: (N,).
    """
    boxes = dets.detach().double().cpu().numpy()
    order = mg.argsort(scores.detach(), descending=True, stable=True).cpu().numpy()
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        corner = np.minimum(boxes[best, 2:], boxes[rest, 2:]) - np.maximum(boxes[best, :2], boxes[rest, :2])
        common = corner.clip(min=0).prod(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            overlap = common / (area[best] + area[rest] - common)
        order = rest[~(overlap > iou_threshold)]
    return mg.tensor(kept, dtype=mg.int64, device=dets.device)


def _axis_weights(start: float, length: float, bins: int, samples: int, size: int) -> tuple[int, np.ndarray]:
    """One axis of roi_align, whose bilinear samples and their mean are separable: (first, W), W[bin, k] the weight of first + k."""
    at = start + (np.arange(bins)[:, None] + (np.arange(samples)[None] + 0.5) / samples) * (length / bins)
    inside = (at >= -1.0) & (at <= size)
    at = at.clip(0.0, size - 1)
    low = np.floor(at).astype(np.int64)
    high = np.minimum(low + 1, size - 1)
    first = int(low.min(initial=size - 1))
    weights = np.zeros((bins, int(high.max(initial=first)) - first + 1))
    rows = np.broadcast_to(np.arange(bins)[:, None], at.shape)
    np.add.at(weights, (rows, low - first), (1 - (at - low)) * inside / samples)
    np.add.at(weights, (rows, high - first), (at - low) * inside / samples)
    return first, weights


def roi_align(
    input: mg.Tensor, rois: mg.Tensor, spatial_scale: float, pooled_height: int, pooled_width: int, sampling_ratio: int, aligned: bool
) -> mg.Tensor:
    """Means of bilinear samples in the bins of each region (Mask R-CNN, https://arxiv.org/abs/1703.06870); differentiable by `input`.

    Args:
        input: (N, C, H, W); rois: (K, 5) batch index and x1, y1, x2, y2.
        sampling_ratio: samples per bin and axis; up to 0 for as many as the bin is pixels long.
        aligned: shift by half a pixel, and let regions be smaller than one.
    Returns:
        (K, C, pooled_height, pooled_width).
    """
    height, width = input.shape[-2:]
    shift = 0.5 if aligned else 0.0
    regions = []
    for batch, *corners in rois.detach().double().tolist():
        x1, y1, x2, y2 = (c * spatial_scale - shift for c in corners)
        long_x, long_y = (x2 - x1, y2 - y1) if aligned else (max(x2 - x1, 1.0), max(y2 - y1, 1.0))
        samples_y, samples_x = (
            sampling_ratio if sampling_ratio > 0 else math.ceil(length / bins)
            for length, bins in ((long_y, pooled_height), (long_x, pooled_width))
        )
        if samples_y <= 0 or samples_x <= 0:
            regions.append(input.new_zeros(input.shape[1], pooled_height, pooled_width))
            continue
        top, weights_y = _axis_weights(y1, long_y, pooled_height, samples_y, height)
        left, weights_x = _axis_weights(x1, long_x, pooled_width, samples_x, width)
        window = input[int(batch), :, top : top + weights_y.shape[1], left : left + weights_x.shape[1]]
        regions.append(input.new_tensor(weights_y) @ window @ input.new_tensor(weights_x.T))
    return mg.stack(regions) if regions else input.new_zeros(0, input.shape[1], pooled_height, pooled_width)


def roi_align_backward(
    grad: mg.Tensor, rois: mg.Tensor, spatial_scale: float, pooled_height: int, pooled_width: int, batch_size: int, channels: int,
    height: int, width: int, sampling_ratio: int, aligned: bool,
) -> mg.Tensor:  # fmt: skip
    """Gradient of `roi_align` by its input, of shape (batch_size, channels, height, width): the op is linear, so any input will do."""
    with mg.enable_grad():
        x = grad.new_zeros(batch_size, channels, height, width).requires_grad_()
        out = roi_align(x, rois, spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned)
        return mg.autograd.grad(out, x, grad)[0] if out.requires_grad else x.detach()


_ONLY_NAMES = (
    "_roi_pool_backward", "_ps_roi_align_backward", "_ps_roi_pool_backward", "_deform_conv2d_backward", "qroi_align",
    "qnms", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d", "_vnms",
)  # fmt: skip


def register() -> None:
    """Put the ops under torch.ops.torchvision."""
    library = Library("torchvision", "DEF")
    for schema, function in (
        ("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor", nms),
        ("roi_align(Tensor input, Tensor rois, float spatial_scale, int pooled_height, int pooled_width, int sampling_ratio, bool aligned)"
         " -> Tensor", roi_align),
        ("_roi_align_backward(Tensor grad, Tensor rois, ...) -> Tensor", roi_align_backward),
        ("_cuda_version() -> int", lambda: -1),
    ):  # fmt: skip
        library.define(schema)
        library.impl(schema.partition("(")[0], function)
    for name in _ONLY_NAMES:
        library.define(f"{name}(...) -> Tensor")
