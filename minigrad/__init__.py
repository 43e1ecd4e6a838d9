"""minigrad: a small tensor and autograd engine, used like PyTorch.

    import minigrad as mg
    x = mg.randn(3, requires_grad=True)
    (x * x).sum().backward()
    print(x.grad)

The C++ core is `minigrad._core`; ops are declared in `minigrad/ops`; `nn`, `optim`, `data`, `io` are loaded on first use, so that
`import minigrad` stays below `import numpy`. docs/architecture.md is the map.
"""

from __future__ import annotations

try:
    from minigrad import _core
except ImportError:  # started in a source checkout: take the compiled core of the installed package
    __path__ = __import__("pkgutil").extend_path(__path__, __name__)
    try:
        from minigrad import _core
    except ImportError as error:
        raise ImportError("minigrad: the C++ core is not built. Try `pip install .` in the checkout.") from error
from minigrad._core import (
    Generator, OutOfMemoryError, Size, Tensor, bfloat16, bool, can_cast, complex64, complex128, default_generator, device,
    dtype, empty_cache, float16, float32, float64, from_numpy, get_default_dtype, get_num_threads, int8, int16, int32, int64,
    is_grad_enabled, is_inference_mode_enabled, manual_seed, memory_snapshot, memory_stats, promote_types, result_type, set_default_dtype,
    set_memory_limit, set_num_threads, tensor, uint8,
)  # fmt: skip
from minigrad._tensor import (
    as_tensor, asarray, channels_last, channels_last_3d, contiguous_format, from_dlpack, is_floating_point, is_tensor,
    layout, memory_format, numel, preserve_format, strided,
)  # fmt: skip

from minigrad import _array_namespace  # attaches __array_namespace__ and to_device
from minigrad import _sparse_door  # Tensor.to_sparse and its like
from minigrad import _tensor_more  # attaches rarely used names of torch.Tensor

__version__ = "0.1.0"

half, float, double = float16, float32, float64
cfloat, cdouble = complex64, complex128
short, int, long = int16, int32, int64
inf, nan, pi, e = 1e999, 1e999 - 1e999, 3.141592653589793, 2.718281828459045
newaxis = None

from minigrad import ops as _ops  # noqa: E402  declares everything
from minigrad.autograd.modes import enable_grad, inference_mode, no_grad, set_grad_enabled  # noqa: E402
from minigrad.op import known_as as _known_as  # noqa: E402
from minigrad.op import namespaces as _namespaces  # noqa: E402

globals().update(_namespaces[""])
_known_as("minigrad", _namespaces[""])
reshape = Tensor.reshape

_LAZY = {
    "array_api", "nn", "optim", "data", "io", "serialization", "storage", "utils", "autograd", "testing", "linalg", "special",
    "random", "indexing", "masked", "fft", "signal", "func", "jit", "fx", "onnx", "compiler", "cuda", "cpu", "mps", "xpu", "mtia",
    "accelerator", "backends", "distributed", "_custom_ops", "_tensor_str", "quasirandom", "return_types", "futures", "__config__",
    "__future__", "overrides", "library", "types", "version", "torch_version", "functional", "compat", "_C", "_dynamo", "_utils",
    "_jit_internal", "amp", "hub", "profiler", "distributions", "sparse", "multiprocessing",
    "kernels", "export",
}  # fmt: skip
_LAZY_FROM = ("_settings", "_legacy", "_functions", "amp._state", "_foreach", "_fake_quantize")  # their __all__ are names of this module
_LAZY_NAMES = {
    "GradScaler": "minigrad.amp", "seed": "minigrad.random", "initial_seed": "minigrad.random", "get_rng_state": "minigrad.random",
    "set_rng_state": "minigrad.random", "save": "minigrad.io", "load": "minigrad.io",
    **dict.fromkeys(("sparse_coo_tensor", "sparse_csr_tensor", "sparse_csc_tensor", "sparse_compressed_tensor"), "minigrad.sparse._create"),
    **dict.fromkeys(("spmm", "dsmm", "smm"), "minigrad.sparse"),
    **dict.fromkeys(("sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc"), "minigrad._layout"),
    "PyTorchFileReader": "minigrad._archive", "PyTorchFileWriter": "minigrad._archive",
    "ScriptModule": "minigrad.jit", "ScriptFunction": "minigrad.jit",
    "vmap": "minigrad.func", "finfo": "minigrad._finfo", "iinfo": "minigrad._finfo",
    "autocast": "minigrad.amp",
}  # fmt: skip


def __getattr__(name: str):
    import importlib

    if name in _LAZY:
        try:
            return importlib.import_module("minigrad." + name)
        except ModuleNotFoundError as error:
            raise AttributeError(f"module 'minigrad' has no attribute '{name}'", name=name) from error
    if name.endswith("Storage"):
        return getattr(importlib.import_module("minigrad.storage"), name)
    if name in _LAZY_NAMES:
        value = getattr(importlib.import_module(_LAZY_NAMES[name]), name)
        globals()[name] = value
        return value
    for source in () if name.startswith("__") else _LAZY_FROM:
        module = importlib.import_module("minigrad." + source)
        if name in module.__all__:
            globals()[name] = getattr(module, name)
            return globals()[name]
    raise AttributeError(f"module 'minigrad' has no attribute '{name}'")
