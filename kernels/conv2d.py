"""2-d convolution as an implicit matrix product: the patches are gathered tile by tile and never written out.

Source: Chetlur et al., "cuDNN: Efficient Primitives for Deep Learning", arXiv 1410.0759.

Shapes: B images, C channels in, F out, H x W pixels in, Y x X out, a kernel of R x S, J groups (c = C / J, o = F / J).
  x_BCHW, g_BFYX (gradient), w_FcRS    float32, float16, bfloat16; copied to channels-last if they are not        bias_F    or None
  y_BYXF                               channels-last, as x is inside: loads and stores of 16 bytes run along channels
Row of x that output row y meets under kernel row r: y stride + r dilation - padding; likewise columns.

As products, in each group: forward  (B Y X) x (R S c) x o;   dx  (B H W) x (R S o) x c;   dw  o x (B Y X) x c for every (r, s).
Flops: 2 B Y X F c R S each (dx with a stride also tries the pixels between, and multiplies by 0 there). Bytes s (x + w + y) if each were
read once; a pixel is read again under every (r, s), from L1 and L2. Compute-bound for c and o of 64 and more.
"""

import triton
import triton.language as tl

from minigrad.kernels._harness import case, cdiv, empty, launch, main, op, rand, target
from minigrad.kernels._rows import column_sum, scratch


@triton.jit
def conv2d_pixels(x_BCHW, w_FCRS, bias_F, y_BYXF, pixels, Y, X, H, W, C, F, R, S, x_b, x_c, x_h, x_w, w_o, w_c, w_r, w_s, stride_h,
                  stride_w, pad_h, pad_w, dilation_h, dilation_w, BACKWARD: tl.constexpr, HAS_BIAS: tl.constexpr, BLOCK_M: tl.constexpr,
                  BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr):  # fmt: skip
    """Program (pixels, channels out, group): y[p, o] = sum over r, s, c of x[at(p, r, s), c] w[o, c, r, s].

    BACKWARD: y is dx and x is g: the pixel whose window holds p is (p + pad - r dilation) / stride, if that is whole."""
    p = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    o = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    group = tl.program_id(2).to(tl.int64)
    image, row, column = (p // (Y * X)).to(tl.int64), p // X % Y, p % X
    x_at = x_BCHW + image * x_b + group * C * x_c
    w_at = w_FCRS + group * (C if BACKWARD else F) * w_o + o.to(tl.int64) * (w_c if BACKWARD else w_o)
    total = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    for rs in range(R * S):
        r, s = rs // S, rs % S
        if BACKWARD:
            high, wide = row + pad_h - r * dilation_h, column + pad_w - s * dilation_w
            whole = (high % stride_h == 0) & (wide % stride_w == 0) & (high >= 0) & (wide >= 0)
            h, w = high // stride_h, wide // stride_w
        else:
            h, w = row * stride_h + r * dilation_h - pad_h, column * stride_w + s * dilation_w - pad_w
            whole = (h >= 0) & (w >= 0)
        inside = whole & (h < H) & (w < W) & (p < pixels)
        from_at = x_at + h * x_h + w * x_w
        for first in range(0, C, BLOCK_K):
            c = first + tl.arange(0, BLOCK_K)
            x = tl.load(from_at[:, None] + c[None, :] * x_c, mask=inside[:, None] & (c < C)[None, :], other=0.0)
            to_c = c[:, None] * (w_o if BACKWARD else w_c) + r * w_r + s * w_s
            weight = tl.load(w_at[None, :] + to_c, mask=(c < C)[:, None] & (o < F)[None, :], other=0.0)
            total = tl.dot(x, weight, total, input_precision="ieee")
    out = group * F + o
    if HAS_BIAS:
        total += tl.load(bias_F + out, mask=o < F, other=0.0).to(tl.float32)[None, :]
    y_at = p.to(tl.int64)[:, None] * (tl.num_programs(2) * F) + out[None, :]
    tl.store(y_BYXF + y_at, total.to(y_BYXF.dtype.element_ty), mask=(p < pixels)[:, None] & (o < F)[None, :])


@triton.jit
def conv2d_weights(x_BCHW, g_BFYX, part_PFCRS, pixels, Y, X, H, W, C, F, R, S, J, x_b, x_c, x_h, x_w, g_b, g_c, g_h, g_w, stride_h,
                   stride_w, pad_h, pad_w, dilation_h, dilation_w, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
                   BLOCK_K: tl.constexpr):  # fmt: skip
    """Program (o and c tile, r s and group, part): dw over every P-th block of pixels."""
    columns = tl.cdiv(C, BLOCK_N)
    o = tl.program_id(0) // columns * BLOCK_M + tl.arange(0, BLOCK_M)
    c = tl.program_id(0) % columns * BLOCK_N + tl.arange(0, BLOCK_N)
    group, rs = (tl.program_id(1) // (R * S)).to(tl.int64), tl.program_id(1) % (R * S)
    r, s = rs // S, rs % S
    total = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    for first in range(tl.program_id(2) * BLOCK_K, pixels, tl.num_programs(2) * BLOCK_K):
        p = first + tl.arange(0, BLOCK_K)
        image, row, column = (p // (Y * X)).to(tl.int64), p // X % Y, p % X
        h, w = row * stride_h + r * dilation_h - pad_h, column * stride_w + s * dilation_w - pad_w
        inside = (h >= 0) & (w >= 0) & (h < H) & (w < W) & (p < pixels)
        g_at = g_BFYX + image * g_b + row * g_h + column * g_w + group * F * g_c
        g = tl.load(g_at[None, :] + o[:, None] * g_c, mask=(o < F)[:, None] & (p < pixels)[None, :], other=0.0)
        x_at = x_BCHW + image * x_b + h * x_h + w * x_w + group * C * x_c
        x = tl.load(x_at[:, None] + c[None, :] * x_c, mask=inside[:, None] & (c < C)[None, :], other=0.0)
        total = tl.dot(g, x, total, input_precision="ieee")
    out = (tl.program_id(2).to(tl.int64) * J + group) * F + o
    at = (out[:, None] * C + c[None, :]) * (R * S) + rs
    tl.store(part_PFCRS + at, total, mask=(o < F)[:, None] & (c < C)[None, :])


def _tile(itemsize, channels, arch):
    if itemsize == 4:
        return dict(BLOCK_M=64, BLOCK_N=32, BLOCK_K=16, num_warps=4, num_stages=2)
    if channels <= 32:
        return dict(BLOCK_M=128, BLOCK_N=32, BLOCK_K=32, num_warps=4, num_stages=3)
    return dict(BLOCK_M=128, BLOCK_N=64, BLOCK_K=32 if arch < 90 else 64, num_warps=4, num_stages=3)


def _pair(value):
    return (value, value) if isinstance(value, int) else tuple(value)


def _channels_last(x):
    """The same tensor, channels one apart in memory. Else every number of a tile would need an address of its own, and registers for it."""
    return x if x.stride(1) == 1 else x.movedim(1, -1).contiguous().movedim(-1, 1)


def _pixels(source, weight, bias, shape, numbers, groups, backward):
    """The output, or dx, of `shape` from x or g; in the memory format of the source."""
    B, total_F, Y, X = shape
    source_, weight = _channels_last(source), _channels_last(weight)
    C, (H, W), (R, S) = source.shape[1] // groups, source.shape[2:], weight.shape[2:]
    F, tile = total_F // groups, _tile(source.itemsize, total_F // groups, target(source.device).arch)
    sizes = (B * Y * X, Y, X, H, W, C, F, R, S)
    y_BYXF = empty((B, Y, X, total_F), source.dtype, source.device)
    grid = (cdiv(B * Y * X, tile["BLOCK_M"]), cdiv(F, tile["BLOCK_N"]), groups)
    arguments = (source_, weight, bias, y_BYXF, *sizes, *source_.stride(), *weight.stride(), *numbers)
    launch(conv2d_pixels, grid, *arguments, BACKWARD=backward, HAS_BIAS=bias is not None, **tile)
    y = y_BYXF.movedim(-1, 1)
    return y if source_ is source else y.contiguous()


def conv2d_backward(g, x, weight, bias, stride, padding, dilation, groups):
    numbers = (*_pair(stride), *_pair(padding), *_pair(dilation))
    dx = _pixels(g, weight, None, x.shape, numbers, groups, True)
    (B, total_F, Y, X), (total_C, H, W), (R, S) = g.shape, x.shape[1:], weight.shape[2:]
    C, F, pixels = total_C // groups, total_F // groups, B * Y * X
    tile = _tile(x.itemsize, min(C, 32), target(x.device).arch)
    tile.update(BLOCK_M=64, BLOCK_N=32, BLOCK_K=64 if x.itemsize == 2 else 16)
    tiles = (cdiv(F, tile["BLOCK_M"]) * cdiv(C, tile["BLOCK_N"]), R * S * groups)
    P = max(1, min(32, cdiv(256, tiles[0] * tiles[1]), cdiv(pixels, 8 * tile["BLOCK_K"])))  # of sizes alone: the same bits everywhere
    part = scratch(x, P, weight.numel())
    sizes = (pixels, Y, X, H, W, C, F, R, S, groups)
    x, g = _channels_last(x), _channels_last(g)
    launch(conv2d_weights, (*tiles, P), x, g, part, *sizes, *x.stride(), *g.stride(), *numbers, **tile)
    dbias = None if bias is None else g.float().sum((0, 2, 3)).to(bias.dtype)
    return dict(x=dx, weight=column_sum(part, weight.dtype).reshape(weight.shape), bias=dbias)


def conv2d_reference(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Shifted slices times the kernel's entries."""
    (sh, sw), (ph, pw), (dh, dw) = _pair(stride), _pair(padding), _pair(dilation)
    B, C, H, W = x.shape
    F, c, R, S = weight.shape
    padded = x.new_zeros((B, C, H + 2 * ph, W + 2 * pw))
    padded[:, :, ph : ph + H, pw : pw + W] = x
    Y, X = (H + 2 * ph - dh * (R - 1) - 1) // sh + 1, (W + 2 * pw - dw * (S - 1) - 1) // sw + 1
    total = None
    for r in range(R):
        for s in range(S):
            part = padded[:, :, r * dh : r * dh + (Y - 1) * sh + 1 : sh, s * dw : s * dw + (X - 1) * sw + 1 : sw]
            rows = part.reshape(B, groups, c, Y * X)
            term = (weight[:, :, r, s].reshape(1, groups, F // groups, c) @ rows).reshape(B, F, Y, X)
            total = term if total is None else total + term
    return total if bias is None else total + bias.view(1, -1, 1, 1)


@op(
    "conv2d(x, weight, bias, stride, padding, dilation, groups) -> y",
    backward=conv2d_backward,
    reference=conv2d_reference,
    cases=[
        case(x=rand(2, 5, 9, 11), weight=rand(7, 5, 3, 3), bias=rand(7), padding=1),
        case(x=rand(1, 4, 10, 8), weight=rand(6, 2, 3, 2), stride=2, padding=(1, 0), groups=2),
        case(x=rand(2, 3, 9, 9, layout="padded"), weight=rand(40, 3, 2, 2, layout="transposed"), dilation=2, stride=(1, 2)),
        case(x=rand(1, 70, 5, 6), weight=rand(3, 70, 1, 1), bias=rand(3)),
        case(x=rand(0, 2, 4, 4), weight=rand(3, 2, 3, 3)),
    ],
    aot=[
        case(x=rand(32, 128, 56, 56), weight=rand(128, 128, 3, 3), bias=rand(128), padding=1, dtypes=("float32", "float16", "bfloat16"))
    ],
    bench=[case(x=rand(32, 128, 56, 56), weight=rand(128, 128, 3, 3), padding=1, dtypes=("bfloat16",))],
    flops=lambda x, weight, **_: 2 * x.numel() // x.shape[1] * weight.numel(),
    bytes=lambda x, weight, **_: (2 * x.numel() + weight.numel()) * x.itemsize,
    tensor_cores=True,
)
def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Convolution of x (B, C, H, W) with weight (F, C / groups, R, S) and bias (F); stride, padding, dilation: one number or two."""
    (sh, sw), (ph, pw), (dh, dw) = _pair(stride), _pair(padding), _pair(dilation)
    (B, C, H, W), (F, c, R, S) = x.shape, weight.shape
    Y, X = (H + 2 * ph - dh * (R - 1) - 1) // sh + 1, (W + 2 * pw - dw * (S - 1) - 1) // sw + 1
    if C != c * groups or F % groups or Y < 1 or X < 1:
        raise RuntimeError(f"conv2d: got x {tuple(x.shape)}, weight {tuple(weight.shape)}, groups={groups}, expected x (B, C, H, W), "
                           "weight (F, C / groups, R, S), F a multiple of groups, a kernel no larger than the padded image")  # fmt: skip
    return _pixels(x, weight, bias, (B, F, Y, X), (sh, sw, ph, pw, dh, dw), groups, False)


if __name__ == "__main__":
    main(conv2d)
