"""What generated Triton kernels call beside tl: CUDA's own maths, so that a fused op has the bits of the op's CUDA kernel.

On a GPU these are the functions of libdevice, the library behind CUDA's expf, tanhf …, inlined by Triton's compiler. Its interpreter has no
libdevice: there they are the NumPy functions of the expression language, computed in float64 and rounded once. Imported by the files that
triton_source.py writes, and only by them: it needs triton.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from minigrad.compiler.codegen.triton_text import CUDA_NAMES, FROM_CUDA
from minigrad.kernels._launch import interpreting


def _by_numpy(name: str) -> Any:
    import numpy as np
    from triton.runtime.interpreter import TensorHandle

    from minigrad.ops.shared import reference

    function = (lambda a, b, c: a * b + c) if name == "fma" else reference.primitive(name)  # in float64 the product is exact
    exact = name == "nextafter"  # its result depends on the type

    def primitive(*args: Any) -> Any:
        kind = args[0].dtype.scalar
        values = [a.handle.data if exact else a.handle.data.astype(np.float64) for a in args]
        found = np.asarray(function(*values))
        with np.errstate(all="ignore"):
            found = found.astype(np.float32 if kind == tl.float32 else np.float64)
        return tl.tensor(TensorHandle(found, kind), tl.block_type(kind, list(found.shape)) if found.ndim else kind)

    return primitive


if interpreting():
    globals().update({name: _by_numpy(name) for name in FROM_CUDA})
else:
    from triton.language.extra.cuda import libdevice

    globals().update({name: getattr(libdevice, CUDA_NAMES.get(name, name)) for name in FROM_CUDA})


@triton.jit
def multiply(a, b):
    """a * b, for tl.reduce."""
    return a * b


@triton.jit
def amax(x):
    """The largest of each row; NaN where there is one."""
    largest = tl.max(x, 1, keep_dims=True)
    return tl.where(tl.max(tl.where(x != x, 1, 0), 1, keep_dims=True) > 0, float("nan"), largest)


@triton.jit
def amin(x):
    """The smallest of each row; NaN where there is one."""
    smallest = tl.min(x, 1, keep_dims=True)
    return tl.where(tl.max(tl.where(x != x, 1, 0), 1, keep_dims=True) > 0, float("nan"), smallest)


@triton.jit
def sum_of_chunks(out_ptr, partial_ptr, chunks, cols, out_stride, COLS: tl.constexpr, CHUNKS: tl.constexpr):
    """out[c] = partial[0, c] + partial[1, c] + …, in that order; partial: [chunks, cols]."""
    col = tl.program_id(0).to(tl.int64) * COLS + tl.arange(0, COLS)
    total = tl.zeros((COLS,), partial_ptr.dtype.element_ty)
    for start in range(0, chunks, CHUNKS):
        chunk = start + tl.arange(0, CHUNKS)
        inside = (chunk < chunks)[:, None] & (col < cols)[None, :]
        total += tl.sum(tl.load(partial_ptr + chunk[:, None] * cols + col[None, :], mask=inside, other=0), 0)
    tl.store(out_ptr + col * out_stride, total.to(out_ptr.dtype.element_ty), mask=col < cols)
