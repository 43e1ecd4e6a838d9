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
