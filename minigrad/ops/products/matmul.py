"""Matrix products: matmul and its fixed-rank forms, the fused ones with an addend, linear.

Meta: csrc/core/meta_matmul.cpp; kernels: csrc/cpu/matmul.cpp over csrc/cpu/gemm.h.
Products made of these: _einsum.py, _products.py.
Legend: a (..., M, K), b (..., K, N). The engine sums a gradient over the batch dimensions that were broadcast.
"""

from __future__ import annotations

import math
from typing import Any

from minigrad.op import op
from minigrad.ops.shared.struct_doc import card, numpy

_LENGTH = {"reduction": lambda input, other, **_: input.shape[-1]}


def _rows(x: Any) -> Any:
    """(..., K) as (rows, K)."""
    return x if x.dim() == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])  # not -1: sizes may be 0


def _matmul_dinput(g: Any, other: Any, input_shape: tuple[int, ...]) -> Any:
    if other.dim() == 1:  # a (..., M, K) @ b (K,), g (..., M)
        return g.unsqueeze(-1) * other
    if len(input_shape) == 1:  # a (K,) @ b (..., K, N), g (..., N)
        return (other @ g.unsqueeze(-1)).squeeze(-1)
    return g @ other.mT


def _matmul_dother(g: Any, input: Any, other_shape: tuple[int, ...]) -> Any:
    if input.dim() == 1:
        return g * input if len(other_shape) == 1 else input.unsqueeze(-1) * g.unsqueeze(-2)
    if len(other_shape) == 1:
        return _rows(input).mT @ g.reshape(-1)
    if (
        len(other_shape) == 2 and input.dim() > 2
    ):  # one matrix for the whole batch: one product instead of a batch and a sum
        return _rows(input).mT @ _rows(g)
    return input.mT @ g


def _product_flops(input: Any, other: Any, **_: Any) -> int:
    columns = other.shape[-1] if other.dim() > 1 else 1
    batch = max(input.numel() // max(input.shape[-1], 1), other.numel() // max(input.shape[-1] * columns, 1))
    return 2 * batch * input.shape[-1] * columns


op(
    "matmul(input, other) -> out",
    meta="matmul",
    exact_out=True,
    dinput=_matmul_dinput,
    dother=_matmul_dother,
    ref=lambda input, other: numpy().matmul(input, other),
    flops=_product_flops,
    reduction=_LENGTH["reduction"],
    samples=lambda s: [
        s(s.t(3, 4), s.t(4, 5)),
        s(s.t(4), s.t(4)),
        s(s.t(3, 4), s.t(4)),
        s(s.t(4), s.t(4, 3)),
        s(s.t(2, 3, 4), s.t(2, 4, 2)),
        s(s.t(2, 1, 3, 2), s.t(3, 2, 2)),
        s(s.t(2, 3, 4), s.t(4, 2)),
        s(s.t(2, 3, 4), s.t(4)),
        s(s.t(4), s.t(2, 4, 3)),
        s(s.t(0, 4), s.t(4, 3)),
        s(s.t(3, 0), s.t(0, 2)),
        s(s.t(3, 4, layout="transposed"), s.t(4, 3)),
        s(s.t(9, 17), s.t(17, 33)),
        s(s.t(65, 31), s.t(31, 49, layout="transposed")),
    ],
    doc=card(
        "Product of two tensors by PyTorch's rules: vectors, matrices, or broadcast batches of matrices.",
        "mg.matmul(mg.tensor([[1., 2.], [3., 4.]]), mg.tensor([1., 1.])) -> tensor([3., 7.])",
        input="(K,) or (..., M, K); any dtype but bool.",
        other="(K,) or (..., K, N), of the same dtype.",
        returns="(..., M, N) without the dims a 1-d operand lacks; 16-bit floats are summed in float32, rounded once.",
        raises="RuntimeError when inner sizes, batch sizes or dtypes differ, or an operand is 0-d.",
        grad="dinput = g @ other.mT, dother = input.mT @ g.",
    ),
)

op(
    "mm(input, mat2) -> out",
    meta="mm",
    exact_out=True,
    dinput=lambda g, mat2: g @ mat2.mT,
    dmat2=lambda g, input: input.mT @ g,
    ref=lambda input, mat2: input @ mat2,
    flops=lambda input, mat2: 2 * input.numel() * mat2.shape[1],
    reduction=lambda input, mat2: input.shape[-1],
    samples=lambda s: [
        s(s.t(3, 4), s.t(4, 5)),
        s(s.t(0, 4), s.t(4, 3)),
        s(s.t(2, 0), s.t(0, 3)),
        s(s.t(1, 1), s.t(1, 1)),
        s(s.t(3, 4, layout="transposed"), s.t(4, 3, layout="step")),
        s(s.t(17, 9), s.t(9, 70)),
    ],
    doc=card(
        "Product of two matrices, without broadcasting.",
        "mg.mm(mg.ones(2, 3), mg.ones(3, 1)).tolist() -> [[3.0], [3.0]]",
        input="(M, K).",
        mat2="(K, N), of the same dtype.",
        returns="(M, N).",
        raises="RuntimeError as for matmul, or unless both are 2-d.",
    ),
)

op(
    "bmm(input, mat2) -> out",
    meta="bmm",
    exact_out=True,
    dinput=lambda g, mat2: g @ mat2.mT,
    dmat2=lambda g, input: input.mT @ g,
    ref=lambda input, mat2: numpy().matmul(input, mat2),
    flops=lambda input, mat2: 2 * input.numel() * mat2.shape[2],
    reduction=lambda input, mat2: input.shape[-1],
    samples=lambda s: [
        s(s.t(2, 3, 4), s.t(2, 4, 2)),
        s(s.t(0, 3, 4), s.t(0, 4, 2)),
        s(s.t(2, 3, 0), s.t(2, 0, 2)),
        s(s.t(2, 3, 4, layout="transposed"), s.t(2, 4, 2)),
        s(s.t(5, 16, 17), s.t(5, 17, 33)),
    ],
    doc=card(
        "Products of two batches of matrices, without broadcasting.",
        "mg.bmm(mg.ones(2, 1, 3), mg.ones(2, 3, 1)).shape -> minigrad.Size([2, 1, 1])",
        input="(B, M, K).",
        mat2="(B, K, N), of the same dtype.",
        returns="(B, M, N).",
        raises="RuntimeError as for matmul, or unless both are 3-d with one batch size.",
    ),
)

op(
    "_int_mm(input, mat2) -> out",
    meta="int_mm",
    method=False,
    exact_out=True,
    nondiff=("input", "mat2"),
    ref=lambda input, mat2: input.astype("int32") @ mat2.astype("int32"),
    flops=lambda input, mat2: 2 * input.numel() * mat2.shape[1],
    samples=lambda s: [
        s(s.t(3, 4, dtype="int8"), s.t(4, 5, dtype="int8")),
        s(s.t(0, 4, dtype="int8"), s.t(4, 3, dtype="int8")),
        s(s.t(2, 0, dtype="int8"), s.t(0, 3, dtype="int8")),
        s(s.t(33, 70, dtype="int8", layout="transposed"), s.t(70, 65, dtype="int8")),
    ],
    dtypes=("int8",),
    doc=card(
        "Product of two matrices of bytes with int32 sums, exact modulo 2**32.",
        "mg._int_mm(mg.ones(2, 3, dtype=mg.int8), mg.ones(3, 1, dtype=mg.int8)).tolist() -> [[3], [3]]",
        input="(M, K), int8 or uint8.",
        mat2="(K, N), int8.",
        returns="(M, N), int32.",
        raises="RuntimeError for other dtypes, ranks or sizes.",
    ),
)

op(
    "mv(input, vec) -> out",
    meta="mv",
    exact_out=True,
    dinput=lambda g, vec: g.unsqueeze(-1) * vec,
    dvec=lambda g, input: input.mT @ g,
    ref=lambda input, vec: input @ vec,
    flops=lambda input, vec: 2 * input.numel(),
    reduction=lambda input, vec: vec.shape[0],
    samples=lambda s: [
        s(s.t(3, 4), s.t(4)),
        s(s.t(0, 4), s.t(4)),
        s(s.t(3, 0), s.t(0)),
        s(s.t(3, 4, layout="transposed"), s.t(4, layout="step")),
        s(s.t(33, 65), s.t(65)),
    ],
    doc=card(
        "Product of a matrix and a vector.",
        "mg.mv(mg.ones(2, 3), mg.ones(3)) -> tensor([3., 3.])",
        input="(M, K).",
        vec="(K,), of the same dtype.",
        returns="(M,).",
        raises="RuntimeError as for matmul, or for other ranks.",
    ),
)

op(
    "dot(input, tensor) -> out",
    meta="dot",
    dinput=lambda g, tensor: g * tensor,
    dtensor=lambda g, input: g * input,
    ref=lambda input, tensor: input @ tensor,
    flops=lambda input, tensor: 2 * input.numel(),
    reduction=lambda input, tensor: tensor.shape[0],
    samples=lambda s: [
        s(s.t(4), s.t(4)),
        s(s.t(0), s.t(0)),
        s(s.t(1), s.t(1)),
        s(s.t(5, layout="step"), s.t(5)),
        s(s.t(1025), s.t(1025)),
    ],
    doc=card(
        "Sum of the products of two vectors.",
        "mg.dot(mg.tensor([1., 2.]), mg.tensor([3., 4.])) -> tensor(11.)",
        input="(K,).",
        tensor="(K,), of the same dtype.",
        returns="a 0-d tensor.",
        raises="RuntimeError unless both are 1-d of one size and dtype.",
    ),
)


def _scaled(x: Any, factor: float) -> Any:
    return x if factor == 1 else x * factor


op(
    "addmm(input, mat1, mat2, *, beta: scalar = 1, alpha: scalar = 1) -> out",
    meta="addmm",
    exact_out=True,
    inplace=True,
    dinput=lambda g, beta: _scaled(g, beta),
    dmat1=lambda g, mat2, alpha: _scaled(g @ mat2.mT, alpha),
    dmat2=lambda g, mat1, alpha: _scaled(mat1.mT @ g, alpha),
    ref=lambda input, mat1, mat2, beta=1, alpha=1: beta * input + alpha * (mat1 @ mat2),
    flops=lambda input, mat1, mat2, **_: 2 * mat1.numel() * mat2.shape[1],
    reduction=lambda input, mat1, mat2, **_: mat1.shape[1] + 1,
    samples=lambda s: [
        s(s.t(3, 2), s.t(3, 4), s.t(4, 2)),
        s(s.t(2), s.t(3, 4), s.t(4, 2), beta=2, alpha=3),
        s(s.t(3, 1), s.t(3, 4), s.t(4, 2)),
        s(s.t(), s.t(3, 4), s.t(4, 2), beta=0),
        s(s.t(3, 2), s.t(3, 0), s.t(0, 2)),
        s(s.t(0, 2), s.t(0, 4), s.t(4, 2)),
        s(s.t(3, 2, layout="transposed"), s.t(3, 4), s.t(4, 2), alpha=2),
        s(s.t(9, 33), s.t(9, 17), s.t(17, 33)),
    ],
    doc=card(
        "beta * input + alpha * (mat1 @ mat2).",
        "mg.addmm(mg.ones(2), mg.ones(2, 3), mg.ones(3, 2)).tolist() -> [[4.0, 4.0], [4.0, 4.0]]",
        input="broadcasts to (M, N); ignored, NaN included, when beta is 0.",
        mat1="(M, K).",
        mat2="(K, N); one dtype for all three.",
        beta="number; an integer for integer tensors.",
        alpha="number; an integer for integer tensors.",
        returns="(M, N).",
        raises="RuntimeError for ranks, sizes or dtypes that do not fit.",
    ),
)

op(
    "addmv(input, mat, vec, *, beta: scalar = 1, alpha: scalar = 1) -> out",
    meta="addmv",
    exact_out=True,
    inplace=True,
    dinput=lambda g, beta: _scaled(g, beta),
    dmat=lambda g, vec, alpha: _scaled(g.unsqueeze(-1) * vec, alpha),
    dvec=lambda g, mat, alpha: _scaled(mat.mT @ g, alpha),
    ref=lambda input, mat, vec, beta=1, alpha=1: beta * input + alpha * (mat @ vec),
    flops=lambda input, mat, vec, **_: 2 * mat.numel(),
    reduction=lambda input, mat, vec, **_: vec.shape[0] + 1,
    samples=lambda s: [
        s(s.t(3), s.t(3, 4), s.t(4)),
        s(s.t(1), s.t(3, 4), s.t(4), beta=2, alpha=3),
        s(s.t(3), s.t(3, 0), s.t(0)),
        s(s.t(), s.t(3, 4, layout="transposed"), s.t(4), beta=0),
    ],
    doc=card(
        "beta * input + alpha * (mat @ vec).",
        "mg.addmv(mg.ones(2), mg.ones(2, 3), mg.ones(3)) -> tensor([4., 4.])",
        input="broadcasts to (M,); ignored when beta is 0.",
        mat="(M, K).",
        vec="(K,); one dtype for all three.",
        beta="number.",
        alpha="number.",
        returns="(M,).",
        raises="RuntimeError for ranks, sizes or dtypes that do not fit.",
    ),
)

op(
    "baddbmm(input, batch1, batch2, *, beta: scalar = 1, alpha: scalar = 1) -> out",
    meta="baddbmm",
    exact_out=True,
    inplace=True,
    dinput=lambda g, beta: _scaled(g, beta),
    dbatch1=lambda g, batch2, alpha: _scaled(g @ batch2.mT, alpha),
    dbatch2=lambda g, batch1, alpha: _scaled(batch1.mT @ g, alpha),
    ref=lambda input, batch1, batch2, beta=1, alpha=1: beta * input + alpha * numpy().matmul(batch1, batch2),
    flops=lambda input, batch1, batch2, **_: 2 * batch1.numel() * batch2.shape[2],
    reduction=lambda input, batch1, batch2, **_: batch1.shape[2] + 1,
    samples=lambda s: [
        s(s.t(2, 3, 2), s.t(2, 3, 4), s.t(2, 4, 2)),
        s(s.t(2), s.t(2, 3, 4), s.t(2, 4, 2), beta=2, alpha=3),
        s(s.t(2, 1, 2), s.t(2, 3, 4), s.t(2, 4, 2)),
        s(s.t(3, 1), s.t(2, 3, 4), s.t(2, 4, 2)),
        s(s.t(0, 3, 2), s.t(0, 3, 4), s.t(0, 4, 2)),
        s(s.t(2, 3, 2), s.t(2, 3, 0), s.t(2, 0, 2), beta=0),
    ],
    doc=card(
        "beta * input + alpha * (batch1 @ batch2).",
        "mg.baddbmm(mg.ones(1), mg.ones(2, 1, 3), mg.ones(2, 3, 1)).flatten() -> tensor([4., 4.])",
        input="broadcasts to (B, M, N); ignored when beta is 0.",
        batch1="(B, M, K).",
        batch2="(B, K, N); one dtype for all three.",
        beta="number.",
        alpha="number.",
        returns="(B, M, N).",
        raises="RuntimeError for ranks, sizes or dtypes that do not fit.",
    ),
)


def _linear_dweight(g: Any, input: Any) -> Any:
    if g.dim() < input.dim():  # a weight of one dim
        return _rows(g.unsqueeze(-1) * input).sum(0) if input.dim() > 1 else g * input
    if input.dim() == 1:
        return g.unsqueeze(-1) * input
    return _rows(g).mT @ _rows(input)


op(
    "linear(input, weight, bias? = None) -> out",
    meta="linear",
    namespace="nn.functional",
    method=False,
    dinput=lambda g, weight: g @ weight if weight.dim() == 2 else g.unsqueeze(-1) * weight,
    dweight=_linear_dweight,
    dbias=lambda g: g,
    ref=lambda input, weight, bias=None: input @ weight.T + (0 if bias is None else bias),
    flops=lambda input, weight, *_, **__: 2 * input.numel() * (weight.shape[0] if weight.ndim == 2 else 1),
    reduction=lambda input, weight, *_, **__: weight.shape[-1] + 1,
    samples=lambda s: [
        s(s.t(3, 4), s.t(2, 4), s.t(2)),
        s(s.t(3, 4), s.t(2, 4)),
        s(s.t(2, 3, 4), s.t(5, 4), s.t(5)),
        s(s.t(4), s.t(2, 4), s.t(2)),
        s(s.t(0, 4), s.t(2, 4), s.t(2)),
        s(s.t(3, 0), s.t(2, 0), s.t(2)),
        s(s.t(3, 4, layout="transposed"), s.t(1, 4), s.t(1)),
        s(s.t(3, 4), s.t(2, 4, layout="transposed"), s.t(2, layout="step")),
        s(s.t(9, 33), s.t(17, 33), s.t(17)),
        s(s.t(2, 3, 4), s.t(4)),
        s(s.t(4), s.t(4)),
    ],
    doc=card(
        "input @ weight.T + bias, one fused op.",
        "mg.nn.functional.linear(mg.ones(1, 2), mg.ones(3, 2), mg.ones(3)).tolist() -> [[3.0, 3.0, 3.0]]",
        input="(..., in_features).",
        weight="(out_features, in_features).",
        bias="(out_features,) or None; one dtype for all.",
        returns="(..., out_features).",
        raises="RuntimeError for sizes or dtypes that do not fit.",
        grad="dinput = g @ weight, dweight = g.T @ input and dbias = g summed over all rows.",
    ),
)
