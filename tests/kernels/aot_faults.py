"""A kernel file with mistakes that only the compiler shows; test_aot.py wants each of them named."""

import triton
import triton.language as tl

from minigrad.kernels._harness import case, empty_like, launch, op, rand


@triton.jit
def products(y_ptr, a_ptr, K, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    y = tl.zeros([BLOCK, BLOCK], tl.float32)
    for k in range(0, K, 64):
        more = k + tl.arange(0, 64)
        y = tl.dot(tl.load(a_ptr + at[:, None] * K + more[None, :]), tl.load(a_ptr + more[:, None] * BLOCK + at[None, :]), y)
    tl.store(y_ptr + at[:, None] * BLOCK + at[None, :], y.to(y_ptr.dtype.element_ty))


def declare(name, stages):
    @op(f"{name}(a) -> y", tensor_cores=True, aot=[case(a=rand(128, 4096, dtype="bfloat16"), dtypes=("bfloat16",))])
    def product(a):
        y = empty_like(a)
        launch(products, (1,), y, a, a.shape[1], BLOCK=128, num_warps=8, num_stages=stages)
        return y


@triton.jit
def sums(y_ptr, a_ptr, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    a = tl.load(a_ptr + at[:, None] * BLOCK + at[None, :]).to(tl.float32)
    tl.store(y_ptr + at, tl.sum(a * tl.sum(a, 0)[None, :] + tl.sum(a, 1)[:, None], 0))


@op("crowded(a) -> y", aot=[case(a=rand(64, 64), dtypes=("float32",))])
def crowded(a):
    y = empty_like(a)
    launch(sums, (1,), y, a, BLOCK=64, num_warps=1, maxnreg=40)
    return y


declare("fine", 2)
declare("greedy", 9)
