"""All op declarations. Importing this package fills `minigrad.op.registry`; one folder per kind of op, one module per family."""

from minigrad.ops import (  # noqa: F401
    pointwise,
    linalg,
    products,
    spectral,
    layers,
    reductions,
    views,
    creation,
)


def __getattr__(name: str):
    """torch.ops's side of this package: `ops.<namespace>.<name>` is a custom op of minigrad.library."""
    from minigrad import library

    if name == "load_library":
        return library.load_library
    if name.startswith("__") or not (name in ("aten", "prims") or any(op.startswith(name + "::") for op in library._ops)):
        raise AttributeError(f"module 'minigrad.ops' has no attribute '{name}'")
    return library.OpNamespace(name)
