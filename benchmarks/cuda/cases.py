"""The work that is timed on the device: the builders of benchmarks/cpu_kernels.py at sizes of a GPU. Memory-bound cases move 256 MiB
arrays, far beyond any L2; `moved` counts operands read once and results written once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.cpu_kernels import Case, attention_case, conv_case, gradient_case, layer_case, matmul_case, optimizer_case, pointwise_case
from benchmarks.models import numbers

DTYPES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16", "f64": "float64"}


class OnDevice:
    """A library whose tensors and modules are made on the device: what a case's `make` gets instead of the library."""

    def __init__(self, library: Any):
        self._library = library

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)

    def from_numpy(self, array: Any) -> Any:
        """The array's numbers, on the device."""
        return self._library.from_numpy(array).to("cuda")


def make_on_device(case: Case, library: Any) -> Callable[[], Any]:
    """The case's call with its operands on the device."""
    with library.device("cuda"):
        return case.make(OnDevice(library))


def _typed(fn: Callable[[Any, Any], Any], shape: tuple[int, ...], dtype: str, arrays: float, limit: float = 1e-5) -> Case:
    """fn(torch, x) of one array of a dtype."""
    def make(torch):
        x = numbers(torch, shape).to(getattr(torch, DTYPES[dtype]))
        return lambda: fn(torch, x)

    size = {"f64": 8, "f32": 4}.get(dtype, 2)
    return Case(make, moved=arrays * size * shape[0] * shape[1], limit=limit)


def _matrix_vector(n: int) -> Case:
    def make(torch):
        a, x = numbers(torch, (n, n)), numbers(torch, (n,), 1)
        return lambda: a @ x

    return Case(make, moved=4.0 * n * n)


def _gather(rows: int, columns: int) -> Case:
    def make(torch):
        table, at = numbers(torch, (rows, columns)), numbers(torch, (rows,), 1, rows)
        return lambda: torch.nn.functional.embedding(at, table)

    return Case(make, moved=4.0 * 2 * rows * columns)


def _cross_entropy(rows: int, classes: int) -> Case:
    def make(torch):
        x, y = numbers(torch, (rows, classes)).requires_grad_(), numbers(torch, (rows,), 1, classes)

        def run():
            x.grad = None
            loss = torch.nn.functional.cross_entropy(x, y)
            loss.backward()
            return loss.detach(), x.grad

        return run

    return Case(make, moved=4.0 * 3 * rows * classes)


def _memory_bound(shape: tuple[int, int], found: dict[str, Case]) -> None:
    rows, columns = shape
    found["mem/add"] = pointwise_case(lambda m, x: x + x, 2, shape)
    found["mem/add_bf16"] = _typed(lambda m, x: x + x, shape, "bf16", 2, 1e-2)
    for name in ("exp", "tanh", "sigmoid"):
        found[f"mem/{name}"] = pointwise_case(lambda m, x, name=name: getattr(x, name)(), 2, shape)
    found["mem/gelu"] = pointwise_case(lambda m, x: m.nn.functional.gelu(x), 2, shape)
    found["mem/broadcast_add"] = pointwise_case(lambda m, x: x + x[0], 2, shape)
    found["mem/transposed_copy"] = pointwise_case(lambda m, x: x.t().contiguous(), 2, shape)
    found["mem/strided_copy"] = pointwise_case(lambda m, x: x[:, ::2].contiguous(), 1.5, shape)
    found["mem/sum_all"] = pointwise_case(lambda m, x: x.square().sum(), 3, shape)
    found["mem/sum_rows"] = pointwise_case(lambda m, x: x.sum(1), 1, shape)
    found["mem/sum_columns"] = pointwise_case(lambda m, x: x.sum(0), 1, shape)
    found["mem/argmax"] = pointwise_case(lambda m, x: x.argmax(1), 1, shape)
    found["mem/softmax"] = pointwise_case(lambda m, x: x.softmax(-1), 2, shape)
    found["mem/softmax_bf16"] = _typed(lambda m, x: x.softmax(-1), shape, "bf16", 2, 1e-2)
    found["mem/softmax_fb"] = gradient_case(lambda m, x: x.softmax(-1), 5, shape)
    found["mem/layer_norm"] = pointwise_case(lambda m, x: m.nn.functional.layer_norm(x, (columns,)), 2, shape)
    found["mem/layer_norm_fb"] = gradient_case(lambda m, x: m.nn.functional.layer_norm(x, (columns,)), 5, shape)
    found["mem/cumsum"] = pointwise_case(lambda m, x: x.cumsum(1), 2, shape)
    found["mem/sort"] = pointwise_case(lambda m, x: x.sort(1)[0], 2, shape)
    found["mem/embedding"] = _gather(rows, columns)
    found["mem/cross_entropy_fb"] = _cross_entropy(rows // 4, columns * 4)
    found["mem/mv"] = _matrix_vector(2 * columns)


def cases(tiny: bool) -> dict[str, Case]:
    """All cases by name; `tiny` for tests: sizes that the simulator runs in a second."""
    found: dict[str, Case] = {}
    _memory_bound((24, 40) if tiny else (16384, 4096), found)
    for n in (24,) if tiny else (1024, 2048, 4096, 8192):
        for short, dtype in DTYPES.items():
            if n <= 4096 or short != "f64":
                found[f"gemm/{n}_{short}"] = matmul_case(1, n, n, n, dtype)
    batch, n = (2, 16) if tiny else (64, 512)
    found[f"gemm/batch{batch}x{n}_bf16"] = matmul_case(batch, n, n, n, "bfloat16")
    b, h, t, d = (1, 1, 8, 16) if tiny else (4, 16, 2048, 64)
    found["attention/forward"] = attention_case(b, h, t, d, False)
    found["attention/forward_backward"] = attention_case(b, h, t, d, True)
    found["conv/3x3_fb"] = conv_case(*((1, 4, 6, 4, 3) if tiny else (32, 128, 56, 128, 3)))
    channels, size = (4, 6) if tiny else (64, 112)
    images = (4, channels, size, size)
    found["mem/batch_norm_fb"] = layer_case(lambda m: m.nn.BatchNorm2d(channels), images, moved=4.0 * 6 * 4 * channels * size**2)
    if not tiny:  # 148 tensors of fixed sizes
        found["optim/adamw"] = optimizer_case("AdamW", 7, lr=1e-3)
    return found
