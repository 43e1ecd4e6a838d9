"""torch.return_types: the named tuples that functions return, by the function's name. Found by calling the function once."""

from __future__ import annotations

from typing import Any

import minigrad as mg

_ON_A_MATRIX = ("cummax", "cummin", "max", "median", "min", "mode", "nanmedian", "sort")
_OTHERS = {
    "aminmax": lambda: mg.aminmax(mg.ones(1)), "frexp": lambda: mg.frexp(mg.ones(1)), "kthvalue": lambda: mg.kthvalue(mg.ones(1, 1), 1, 0),
    "topk": lambda: mg.topk(mg.ones(1, 1), 1), "qr": lambda: mg.qr(mg.ones(1, 1)), "svd": lambda: mg.svd(mg.ones(1, 1)),
    "slogdet": lambda: mg.slogdet(mg.ones(1, 1)), "linalg_qr": lambda: mg.linalg.qr(mg.ones(1, 1)),
    "linalg_svd": lambda: mg.linalg.svd(mg.ones(1, 1)), "linalg_eigh": lambda: mg.linalg.eigh(mg.ones(1, 1)),
    "linalg_eig": lambda: mg.linalg.eig(mg.ones(1, 1)), "linalg_slogdet": lambda: mg.linalg.slogdet(mg.ones(1, 1)),
    "linalg_inv_ex": lambda: mg.linalg.inv_ex(mg.ones(1, 1)), "linalg_cholesky_ex": lambda: mg.linalg.cholesky_ex(mg.ones(1, 1)),
    "linalg_lu": lambda: mg.linalg.lu(mg.ones(1, 1)), "linalg_lu_factor": lambda: mg.linalg.lu_factor(mg.ones(1, 1)),
    "triangular_solve": lambda: mg.triangular_solve(mg.ones(1, 1), mg.ones(1, 1)), "histogram": lambda: mg.histogram(mg.ones(2), 1),
}  # fmt: skip
__all__ = sorted([*_ON_A_MATRIX, *_OTHERS])


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'minigrad.return_types' has no attribute '{name}'")
    make = _OTHERS.get(name) or (lambda: getattr(mg, name)(mg.ones(1, 1), 0))
    globals()[name] = type(make())
    return globals()[name]
