"""Muon over many matrices at once: momentum, Newton-Schulz iterations and the update, 3 + 3 steps launches however many matrices there are.

Sources: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024 (kellerjordan.github.io/posts/muon); Liu et al.,
"Muon is Scalable for LLM Training", arXiv 2502.16982 (adjusted step); products of which only one half is computed: BLAS's syrk.

Shapes: K matrices of rows_k x columns_k; R <= C the shorter and the longer side of one.
  p, g, v           parameter, gradient, momentum: float32, float16 or bfloat16, contiguous, as torch.optim.Muon keeps them
  x_RC, y_RC        bfloat16: the direction, turned where rows > columns; the next one              (at x_k, y_k of the workspace)
  gram_RR, poly_RR  bfloat16: x x^T; b gram + c gram^2, both symmetric
  fact_K8           int64 about matrix k: addresses of p, g, v; rows, columns; where in the workspace x, y and gram begin; poly follows gram
  tile_T3           int64: matrix, row and column of tile t of a product                   part_P  float32 sums of squares

    v = lerp(v, g, 1 - momentum)    x = lerp(g, v, momentum) / |…|    steps times: x = a x + (b gram + c gram^2) x
    p = (1 - lr decay) p - lr' x

Flops: 2 R^2 C + 2 R^3 + 2 R^2 C an iteration, of which the symmetric two need half: R (3 R C + R^2). Bytes: 3 s + 2 s an element besides.
Rows of the workspace are filled up with zeros to lines of 16 elements, so that all loads are wide whatever the matrices' sizes.

Versions, simplest first:
  the reference          a loop over matrices, as minigrad.optim.Muon
  muon_product           all matrices' products in one launch; symmetric ones compute tiles on and below the diagonal and write both places
"""

import math

import triton
import triton.language as tl

from minigrad.kernels._harness import case, cdiv, empty, launch, main, mg, op, rand, zeros
from minigrad.kernels.optimizer import address

BLOCK = 2048
LINE = 16  # rows of the workspace are a multiple of this many elements long
DEFAULTS = (3.4445, -4.7750, 2.0315)


@triton.jit
def place_of(i, rows, columns, R, pitch):
    """Where element i of a matrix lies in the workspace: turned, if it is taller than wide."""
    row, column = i // columns, i % columns
    return tl.where(rows > R, column * pitch + row, row * pitch + column)


@triton.jit
def muon_momentum(fact_K8, block_P2, like, work, part_P, momentum, NESTEROV: tl.constexpr, BLOCK: tl.constexpr, LINE: tl.constexpr):
    """Program p, BLOCK elements of a matrix: the momentum, in place; the direction, in bfloat16, and the sum of its squares."""
    p = tl.program_id(0)
    fact = fact_K8 + 8 * tl.load(block_P2 + 2 * p)
    i = tl.load(block_P2 + 2 * p + 1) + tl.arange(0, BLOCK)
    rows, columns = tl.load(fact + 3), tl.load(fact + 4)
    R, pitch = tl.minimum(rows, columns), tl.cdiv(tl.maximum(rows, columns), LINE) * LINE
    inside = i < rows * columns
    kind = like.dtype
    g = tl.load(address(fact + 1, kind, False) + i, mask=inside, other=0.0).to(tl.float32)
    v_at = address(fact + 2, kind, False) + i
    v = tl.load(v_at, mask=inside, other=0.0).to(tl.float32)
    v = (v + (1 - momentum) * (g - v)).to(kind.element_ty)
    tl.store(v_at, v, mask=inside)
    x = v.to(tl.float32)
    if NESTEROV:
        x = (g + momentum * (x - g)).to(kind.element_ty).to(tl.float32)
    x = x.to(tl.bfloat16)
    tl.store(work + tl.load(fact + 5) + place_of(i, rows, columns, R, pitch), x, mask=inside)
    wide = x.to(tl.float32)
    tl.store(part_P + p, tl.sum(wide * wide, 0))


@triton.jit
def muon_scale(fact_K8, first_K, block_P2, work, part_P, eps, BLOCK: tl.constexpr, LINE: tl.constexpr, PARTS: tl.constexpr):
    """Program p: its elements of x divided by the matrix's norm; each adds up the parts itself, in one order."""
    p = tl.program_id(0)
    k = tl.load(block_P2 + 2 * p)
    fact = fact_K8 + 8 * k
    i = tl.load(block_P2 + 2 * p + 1) + tl.arange(0, BLOCK)
    rows, columns = tl.load(fact + 3), tl.load(fact + 4)
    R, pitch = tl.minimum(rows, columns), tl.cdiv(tl.maximum(rows, columns), LINE) * LINE
    first = tl.load(first_K + k)
    last = tl.load(first_K + k + 1)
    squares = tl.zeros([PARTS], tl.float32)
    for start in range(first, last, PARTS):
        at = start + tl.arange(0, PARTS)
        squares += tl.load(part_P + at, mask=at < last, other=0.0)
    norm = tl.maximum(tl.sqrt_rn(tl.sum(squares, 0)), eps)
    at = work + tl.load(fact + 5) + place_of(i, rows, columns, R, pitch)
    x = tl.load(at, mask=i < rows * columns, other=0.0).to(tl.float32)
    tl.store(at, (x / norm).to(tl.bfloat16), mask=i < rows * columns)


@triton.jit
def muon_product(fact_K8, tile_T3, work, alpha, beta, KIND: tl.constexpr, FLIP: tl.constexpr, LINE: tl.constexpr, BLOCK_M: tl.constexpr,
                 BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr):  # fmt: skip
    """Program t: a tile of one matrix's product.

    KIND 0: gram = x x^T;  1: poly = alpha gram gram + beta gram;  2: y = alpha poly x + beta x.  FLIP: x and y have changed places."""
    t = tl.program_id(0)
    fact = fact_K8 + 8 * tl.load(tile_T3 + 3 * t)
    row, column = tl.load(tile_T3 + 3 * t + 1).to(tl.int32), tl.load(tile_T3 + 3 * t + 2).to(tl.int32)
    rows, columns = tl.load(fact + 3).to(tl.int32), tl.load(fact + 4).to(tl.int32)
    R, C = tl.minimum(rows, columns), tl.maximum(rows, columns)
    wide, narrow = tl.cdiv(C, LINE) * LINE, tl.cdiv(R, LINE) * LINE  # pitches of x and of gram
    x = work + tl.multiple_of(tl.load(fact + 5 + FLIP), LINE)
    y = work + tl.multiple_of(tl.load(fact + 6 - FLIP), LINE)
    gram = work + tl.multiple_of(tl.load(fact + 7), LINE)
    poly = gram + R * narrow
    m, n = row * BLOCK_M + tl.arange(0, BLOCK_M), column * BLOCK_N + tl.arange(0, BLOCK_N)
    k = tl.arange(0, BLOCK_K)
    if KIND == 0:
        a, a_m, b, b_k, b_n, N, K = x, wide, x, 1, wide, R, C
    elif KIND == 1:
        a, a_m, b, b_k, b_n, N, K = gram, narrow, gram, narrow, 1, R, R
    else:
        a, a_m, b, b_k, b_n, N, K = poly, narrow, x, wide, 1, C, R
    total = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    for start in range(0, K, BLOCK_K):
        k_in = k < tl.cdiv(K, LINE) * LINE - start  # rows end in zeros: masks of whole lines leave loads wide
        left = tl.load(a + m[:, None] * a_m + (start + k)[None, :], mask=(m < R)[:, None] & k_in[None, :], other=0.0)
        if KIND == 0:
            inside = k_in[:, None] & (n < R)[None, :]
        else:
            inside = (k < K - start)[:, None] & (n < tl.cdiv(N, LINE) * LINE)[None, :]
        right = tl.load(b + (start + k)[:, None] * b_k + n[None, :] * b_n, mask=inside, other=0.0)
        total = tl.dot(left, right, total)
    pitch = wide if KIND == 2 else narrow
    at = m[:, None] * pitch + n[None, :]
    inside = (m < R)[:, None] & (n < N)[None, :]
    if KIND > 0:
        added = gram if KIND == 1 else x
        total = alpha * total + beta * tl.load(added + at, mask=inside, other=0.0).to(tl.float32)
    result = total.to(tl.bfloat16)
    to = gram if KIND == 0 else poly if KIND == 1 else y
    tl.store(to + at, result, mask=inside)
    if KIND < 2:
        if row != column:
            tl.store(to + n[None, :] * pitch + m[:, None], result, mask=inside)


@triton.jit
def muon_apply(fact_K8, factor_K, block_P2, like, work, keep, lr, FLIP: tl.constexpr, BLOCK: tl.constexpr, LINE: tl.constexpr):
    """Program p: p = keep p - lr factor x."""
    p = tl.program_id(0)
    k = tl.load(block_P2 + 2 * p)
    fact = fact_K8 + 8 * k
    i = tl.load(block_P2 + 2 * p + 1) + tl.arange(0, BLOCK)
    rows, columns = tl.load(fact + 3), tl.load(fact + 4)
    R, pitch = tl.minimum(rows, columns), tl.cdiv(tl.maximum(rows, columns), LINE) * LINE
    inside = i < rows * columns
    kind = like.dtype
    x = tl.load(work + tl.load(fact + 5 + FLIP) + place_of(i, rows, columns, R, pitch), mask=inside, other=0.0).to(tl.float32)
    p_at = address(fact, kind, False) + i
    kept = (tl.load(p_at, mask=inside, other=0.0).to(tl.float32) * keep).to(kind.element_ty).to(tl.float32)
    tl.store(p_at, (kept - lr * tl.load(factor_K + k) * x).to(kind.element_ty), mask=inside)


def adjusted(rows, columns, how=None):
    """The factor of the step for a matrix of this shape: None, "original" or "match_rms_adamw" as in torch.optim.Muon."""
    if how not in (None, "original", "match_rms_adamw"):
        raise ValueError(f"muon: adjust_lr_fn: got {how!r}, expected None, 'original' or 'match_rms_adamw'")
    return 0.2 * math.sqrt(max(rows, columns)) if how == "match_rms_adamw" else math.sqrt(max(1, rows / columns))


def _lines(n):
    return cdiv(n, LINE) * LINE


class Workspace:
    """Tables and memory for lists of matrices of these shapes; to be kept from step to step."""

    def __init__(self, params, how=None):
        self.device, self.dtype, self.shapes = params[0].device, params[0].dtype, [tuple(p.shape) for p in params]
        self.places, size = [], 0
        for r, c in self.shapes:
            R, C = min(r, c), max(r, c)
            self.places.append((size, size + R * _lines(C), size + 2 * R * _lines(C)))
            size += 2 * R * (_lines(C) + _lines(R))
        count = [cdiv(r * c, BLOCK) for r, c in self.shapes]
        self.programs, self.pointers = sum(count), None
        self.blocks = self._table([(k, n * BLOCK) for k, blocks in enumerate(count) for n in range(blocks)])
        self.first = self._table([sum(count[:k]) for k in range(len(count) + 1)])
        self.facts = empty((len(params), 8), mg.int64, self.device)
        self.factor = self._table([adjusted(r, c, how) for r, c in self.shapes], mg.float32)
        self.work, self.parts = zeros((size,), mg.bfloat16, self.device), empty((self.programs,), mg.float32, self.device)
        self.shape = self._tile()
        tiles = [[(k, i, j) for k, s in enumerate(self.shapes) for i, j in self._tiles_of(min(s), max(s), both)] for both in (False, True)]
        self.symmetric, self.general = (self._table(t) for t in tiles)
        self.counts = tuple(map(len, tiles))

    def point(self, params, grads, moments):
        """Look at these tensors from now on."""
        for p, s, *others in zip(params, self.shapes, grads, moments, strict=True):
            if any(not t.is_contiguous() or tuple(t.shape) != s or t.dtype != self.dtype or t.device != self.device for t in (p, *others)):
                got = [(tuple(t.shape), t.dtype) for t in (p, *others)]
                raise RuntimeError(f"muon: got {got}, expected three contiguous matrices of {s} and {self.dtype} on {self.device}")
        pointers = [[0 if t.is_meta else t.data_ptr() for t in of_one] for of_one in zip(params, grads, moments)]
        if pointers != self.pointers:
            rows = [(*p, *shape, *places) for p, shape, places in zip(pointers, self.shapes, self.places)]
            self.facts.copy_(mg.tensor(rows, dtype=mg.int64))
            self.pointers = pointers
        return self

    def _table(self, values, dtype=mg.int64):
        made = mg.tensor(values, dtype=dtype)
        return empty(made.shape, dtype, self.device).copy_(made)

    def _tile(self):
        """One shape for all matrices: by the shorter side of the largest."""
        small = max(min(s) for s in self.shapes) <= 256
        side = 64 if small else 128
        return dict(BLOCK_M=side, BLOCK_N=side, BLOCK_K=64, num_warps=4 if small else 8, num_stages=3)

    def _tiles_of(self, R, C, general):
        side = self.shape["BLOCK_M"]
        if general:
            return [(i, j) for i in range(cdiv(R, side)) for j in range(cdiv(C, side))]
        return [(i, j) for i in range(cdiv(R, side)) for j in range(i + 1)]

    def step(self, like, lr, decay, momentum, nesterov, coefficients, eps, steps):
        a, b, c = coefficients
        common = dict(BLOCK=BLOCK, LINE=LINE, num_warps=8)
        launch(muon_momentum, (self.programs,), self.facts, self.blocks, like, self.work, self.parts, momentum, NESTEROV=nesterov, **common)
        launch(muon_scale, (self.programs,), self.facts, self.first, self.blocks, self.work, self.parts, eps, PARTS=256, **common)
        for n in range(steps):
            for kind, table, alpha, beta in ((0, 0, 1.0, 0.0), (1, 0, c, b), (2, 1, 1.0, a)):
                tiles = (self.symmetric, self.general)[table]
                flags = dict(KIND=kind, FLIP=n % 2, LINE=LINE)
                launch(muon_product, (self.counts[table],), self.facts, tiles, self.work, alpha, beta, **flags, **self.shape)
        keep = 1 - lr * decay
        launch(muon_apply, (self.programs,), self.facts, self.factor, self.blocks, like, self.work, keep, lr, FLIP=steps % 2, **common)


def _orthogonal(x, coefficients, eps, steps):
    a, b, c = coefficients
    x = x if x.dtype == mg.float64 else x.bfloat16()
    tall = x.size(0) > x.size(1)
    x = x.mT if tall else x
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.mT
        poly = mg.addmm(gram, gram, gram, beta=b, alpha=c)
        x = mg.addmm(x, poly, x, beta=a)
    return x.mT if tall else x


def muon_reference(params, grads, moments, lr=1e-3, decay=0.1, momentum=0.95, nesterov=True, coefficients=DEFAULTS, eps=1e-7, steps=5,
                   adjust_lr_fn=None, workspace=None):  # fmt: skip
    moved = []
    for p, g, v in zip(params, grads, moments):
        v = v.lerp(g, 1 - momentum)
        x = _orthogonal(g.lerp(v, momentum) if nesterov else v, coefficients, eps, steps)
        moved.append((p * (1 - lr * decay)).add(x.to(p.dtype), alpha=-lr * adjusted(*p.shape, adjust_lr_fn)))
    return moved[0], moved[-1], v


def _lists(*shapes):
    return {name: [rand(*s, scale=scale) for s in shapes] for name, scale in (("params", 0.1), ("grads", 1.0), ("moments", 1.0))}


def _flops(params, steps=5, **_):
    return sum(2 * steps * (lambda R, C: 2 * R * R * C + R**3 / 2 - R * R * C / 2)(*sorted(p.shape)) for p in params)


_GPT2 = [(1024, 1024), (3072, 1024), (4096, 1024), (1024, 4096)]


@op(
    "muon(params, grads, moments, lr, decay, momentum, nesterov, coefficients, eps, steps, adjust_lr_fn, workspace) -> first, last, last_v",
    reference=muon_reference,
    cases=[
        case(**_lists((70, 33), (20, 80), (1, 5)), lr=0.1, steps=2),
        case(**_lists((33, 33)), lr=0.1, momentum=0.9, nesterov=False, adjust_lr_fn="match_rms_adamw", steps=3),
        case(**_lists((16, 40), (40, 16)), lr=0.1),
    ],
    aot=[case(**_lists(*_GPT2), dtypes=("float32", "bfloat16")), case(**_lists((256, 768), (64, 64)), dtypes=("float32",))],
    bench=[case(**_lists(*_GPT2 * 12), dtypes=("float32", "bfloat16"))],
    flops=_flops,
    bytes=lambda params, steps=5, **_: sum(p.numel() * (5 * p.itemsize + 8 * steps) for p in params),
    tensor_cores=True,
    mutates=("params", "moments"),
)
def muon(params, grads, moments, lr=1e-3, decay=0.1, momentum=0.95, nesterov=True, coefficients=DEFAULTS, eps=1e-7, steps=5,
         adjust_lr_fn=None, workspace=None):  # fmt: skip
    """One step of Muon on lists of matrices, in place, with torch.optim.Muon's rules and defaults. Returns, for the checks, some of it.

    workspace: Workspace(params, adjust_lr_fn) of an earlier step with the same shapes."""
    workspace = (workspace or Workspace(params, adjust_lr_fn)).point(params, grads, moments)
    workspace.step(params[0], lr, decay, momentum, nesterov, coefficients, eps, steps)
    return params[0], params[-1], moments[-1]


if __name__ == "__main__":
    main(muon)
