"""Matrix decompositions, solvers and norms (LAPACK)."""

from . import det, eigen, factor, lowrank, lstsq, lu, norm, ortho, product, solve, vector  # noqa: F401  each declares its ops
