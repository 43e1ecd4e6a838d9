"""AdamW and Lion over many tensors in one launch: parameters, gradients and moments read and written once.

Sources: Loshchilov, Hutter, "Decoupled Weight Decay Regularization", arXiv 1711.05101; Chen et al., "Symbolic Discovery of
Optimization Algorithms" (Lion), arXiv 2302.06675. One launch for many tensors: NVIDIA's Apex, multi_tensor_apply.

Shapes: K tensors of n_k elements each, contiguous; a program owns BLOCK elements of one of them.
  table_K4        int64: the addresses of parameter, gradient and the two moments of tensor k
  block_P2        int64: tensor and first element of program p's share            size_K    int64: n_k
  p               float32, float16, bfloat16; g of p's dtype; moments m, v float32

Bytes: AdamW reads p, g, m, v and writes p, m, v: n (2 s + s + 16); Lion n (3 s + 8). Flops: about 12 and 8 an element:
memory-bound. The gain over one kernel a tensor is in the launches: a model of 150 tensors would need 150.

    m = b1 m + (1 - b1) g        v = b2 v + (1 - b2) g^2        p = p (1 - lr decay) - lr (m / c1) / (sqrt(v / c2) + eps)
"""

import triton
import triton.language as tl

from minigrad.kernels._harness import case, empty, launch, main, mg, op, rand

BLOCK = 2048


@triton.jit
def share(table_K4, size_K, block_P2, BLOCK: tl.constexpr, ALIGNED: tl.constexpr):
    """(row of the address table, element numbers, mask) of this program."""
    p = tl.program_id(0)
    k = tl.load(block_P2 + 2 * p)
    size = tl.load(size_K + k)
    first = tl.load(block_P2 + 2 * p + 1)
    if ALIGNED:
        size = tl.multiple_of(size, 16)
        first = tl.multiple_of(first, 16)
    i = first + tl.arange(0, BLOCK)
    return table_K4 + 4 * k, i, i < size


@triton.jit
def address(at, kind: tl.constexpr, ALIGNED: tl.constexpr):
    """The pointer of type `kind` that is stored at `at`; said to be a multiple of 16 bytes, loads of 16 bytes may follow."""
    value = tl.load(at)
    if ALIGNED:
        value = tl.multiple_of(value, 16)
    return value.to(kind)


@triton.jit
def adamw_kernel(table_K4, size_K, block_P2, like, lr, decay, b1, b2, eps, c1, c2, BLOCK: tl.constexpr, ALIGNED: tl.constexpr):
    """`like` gives the dtype of parameters and gradients; c1, c2: 1 - b^step."""
    at, i, inside = share(table_K4, size_K, block_P2, BLOCK, ALIGNED)
    kind = like.dtype
    p_at = address(at, kind, ALIGNED) + i
    g = tl.load(address(at + 1, kind, ALIGNED) + i, mask=inside, other=0.0).to(tl.float32)
    m_at = address(at + 2, tl.pointer_type(tl.float32), ALIGNED) + i
    v_at = address(at + 3, tl.pointer_type(tl.float32), ALIGNED) + i
    p = tl.load(p_at, mask=inside, other=0.0).to(tl.float32)
    m = tl.load(m_at, mask=inside, other=0.0)
    v = tl.load(v_at, mask=inside, other=0.0)
    m += (1 - b1) * (g - m)
    v = b2 * v + (1 - b2) * g * g
    p = p * (1 - lr * decay) - lr / c1 * m / (tl.sqrt_rn(v) / tl.sqrt_rn(c2) + eps)
    tl.store(p_at, p.to(kind.element_ty), mask=inside)
    tl.store(m_at, m, mask=inside)
    tl.store(v_at, v, mask=inside)


@triton.jit
def lion_kernel(table_K4, size_K, block_P2, like, lr, decay, b1, b2, BLOCK: tl.constexpr, ALIGNED: tl.constexpr):
    """The sign of b1 m + (1 - b1) g is the step; 0 where that is 0."""
    at, i, inside = share(table_K4, size_K, block_P2, BLOCK, ALIGNED)
    kind = like.dtype
    p_at = address(at, kind, ALIGNED) + i
    g = tl.load(address(at + 1, kind, ALIGNED) + i, mask=inside, other=0.0).to(tl.float32)
    m_at = address(at + 2, tl.pointer_type(tl.float32), ALIGNED) + i
    p = tl.load(p_at, mask=inside, other=0.0).to(tl.float32)
    m = tl.load(m_at, mask=inside, other=0.0)
    u = b1 * m + (1 - b1) * g
    step = tl.where(u > 0, 1.0, tl.where(u < 0, -1.0, u))
    tl.store(p_at, (p * (1 - lr * decay) - lr * step).to(kind.element_ty), mask=inside)
    tl.store(m_at, b2 * m + (1 - b2) * g, mask=inside)


class Tables:
    """What a launch over lists of tensors needs to know of them; the same as long as they live, so keep it from step to step."""

    def __init__(self, *lists):
        params = lists[0]
        for tensors in lists:
            for p, t in zip(params, tensors):
                if not t.is_contiguous() or t.shape != p.shape or t.device != p.device:
                    raise RuntimeError(f"optimizer kernels: got shape {tuple(t.shape)}, strides {t.stride()} on {t.device} for a parameter "
                                       f"of shape {tuple(p.shape)} on {p.device}, expected the same shape, contiguous")  # fmt: skip
        device = params[0].device
        columns = [[0 if device.type == "meta" else t.data_ptr() for t in tensors] for tensors in lists]
        columns += [[0] * len(params)] * (4 - len(columns))
        sizes = [p.numel() for p in params]
        blocks = [(k, first) for k, n in enumerate(sizes) for first in range(0, n, BLOCK)]
        self.programs, self.device_tables, self.lists = len(blocks), [], lists
        self.aligned = all(n % 16 == 0 for n in sizes) and all(a % 16 == 0 for c in columns for a in c)
        for rows in (list(zip(*columns)), sizes, blocks):
            values = mg.tensor(rows, dtype=mg.int64)
            self.device_tables.append(empty(values.shape, mg.int64, device))
            self.device_tables[-1].copy_(values)

    def launch(self, kernel, *numbers):
        launch(kernel, (self.programs,), *self.device_tables, self.lists[0][0], *numbers, BLOCK=BLOCK, ALIGNED=self.aligned, num_warps=8)


def adamw_reference(params, grads, m, v, step, lr=1e-3, b1=0.9, b2=0.999, eps=1e-8, decay=0.01, tables=None):
    p, g = params[-1], grads[-1]
    a, b = m[-1] * b1 + (1 - b1) * g, v[-1] * b2 + (1 - b2) * g * g
    first = _adamw_step(params[0], m[0] * b1 + (1 - b1) * grads[0], v[0] * b2 + (1 - b2) * grads[0] ** 2, step, lr, b1, b2, eps, decay)
    return first, _adamw_step(p, a, b, step, lr, b1, b2, eps, decay), a, b


def _adamw_step(p, a, b, step, lr, b1, b2, eps, decay):
    return (p * (1 - lr * decay) - lr * (a / (1 - b1**step) / ((b / (1 - b2**step)).sqrt() + eps)).to(p.dtype)).to(p.dtype)


def lion_reference(params, grads, m, lr=1e-4, b1=0.9, b2=0.99, decay=0.01, tables=None):
    moved = [(p * (1 - lr * decay) - lr * (b1 * a + (1 - b1) * g).sign().to(p.dtype)).to(p.dtype) for p, g, a in zip(params, grads, m)]
    return moved[0], moved[-1], b2 * m[-1] + (1 - b2) * grads[-1]


def _lists(*shapes, moments):
    made = dict(params=[rand(*s) for s in shapes], grads=[rand(*s) for s in shapes], m=[rand(*s, dtype="float32") for s in shapes])
    return made if moments == 1 else dict(made, v=[rand(*s, dtype="float32", positive=True) for s in shapes])


def _bytes(params, moments):
    return sum(p.numel() * (3 * p.itemsize + 8 * moments) for p in params)


@op(
    "adamw(params, grads, m, v, step, lr, b1, b2, eps, decay, tables) -> first, last, last_m, last_v",
    reference=adamw_reference,
    cases=[
        case(**_lists((5, 33), (2100,), (1,), moments=2), step=3, lr=0.1),
        case(**_lists((16, 8), (0,), (32,), moments=2), step=1, lr=0.01, decay=0.1),
    ],
    aot=[case(**_lists((4096, 1024), (1024,), moments=2), step=3, dtypes=("float32", "bfloat16"))],
    bench=[case(**_lists(*[(4096, 1024), (1024,)] * 48, moments=2), step=3, dtypes=("float32", "bfloat16"))],
    bytes=lambda params, **_: _bytes(params, 2),
    mutates=("params", "m", "v"),
)
def adamw(params, grads, m, v, step, lr=1e-3, b1=0.9, b2=0.999, eps=1e-8, decay=0.01, tables=None):
    """One step of AdamW on lists of tensors, in place; `m` and `v` are float32. Returns, for the checks, some of what it wrote.

    tables: Tables(params, grads, m, v) of an earlier step with the same tensors."""
    tables = tables or Tables(params, grads, m, v)
    tables.launch(adamw_kernel, lr, decay, b1, b2, eps, 1 - b1**step, 1 - b2**step)
    return params[0], params[-1], m[-1], v[-1]


@op(
    "lion(params, grads, m, lr, b1, b2, decay, tables) -> first, last, last_m",
    reference=lion_reference,
    cases=[case(**_lists((5, 33), (2100,), (1,), moments=1), lr=0.1), case(**_lists((16, 8), (32,), moments=1), lr=0.01, decay=0.1)],
    aot=[case(**_lists((4096, 1024), (1024,), moments=1), dtypes=("float32", "bfloat16"))],
    bench=[case(**_lists(*[(4096, 1024), (1024,)] * 48, moments=1), dtypes=("float32", "bfloat16"))],
    bytes=lambda params, **_: _bytes(params, 1),
    mutates=("params", "m"),
)
def lion(params, grads, m, lr=1e-4, b1=0.9, b2=0.99, decay=0.01, tables=None):
    """One step of Lion on lists of tensors, in place; `m` is float32. tables: Tables(params, grads, m)."""
    tables = tables or Tables(params, grads, m)
    tables.launch(lion_kernel, lr, decay, b1, b2)
    return params[0], params[-1], m[-1]


if __name__ == "__main__":
    main(adamw, lion)
