"""Runs cases of tests/compat with one framework: `python runner.py torch|minigrad FOLDER case…`
(tests/compat/test_public_models.py starts it twice).

Every case runs in a forked child, so that one crash is one failure. The torch run writes FOLDER/<case>.weights.npz,
the minigrad run loads them.
Results: FOLDER/<case>.<framework>.npz, or .err with the traceback.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))


def main(framework: str, folder: str, names: list[str]) -> None:
    """Run the cases one after the other."""
    if framework == "minigrad":
        import minigrad.compat

        minigrad.compat.install()
    import numpy  # noqa: F401  before the forks
    import torch

    if (
        framework == "torch"
    ):  # a torchvision built for CUDA cannot load its kernels next to torch's CPU build, and asks for this name
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

    for name in names:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = run(framework, Path(folder), name)
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            (Path(folder) / f"{name}.{framework}.err").write_text(f"killed by signal {os.WTERMSIG(status)}")


def run(framework: str, folder: Path, name: str) -> int:
    """One case: 0 when its results were written."""
    import signal

    signal.alarm(240)
    warnings.simplefilter("ignore")
    prefix = folder / f"{name}.{framework}"
    try:
        import numpy as np
        from cases import CASES

        results = CASES[name].results(framework, folder / f"{name}.weights.npz")
        np.savez(f"{prefix}.npz", **{k.replace("/", "|"): v for k, v in results.items()})
        return 0
    except BaseException:
        Path(f"{prefix}.err").write_text(traceback.format_exc())
        return 1
    finally:
        if framework == "minigrad":
            from minigrad.compat import report

            Path(f"{prefix}.missing").write_text(report())


def as_arrays(value: Any, name: str, found: dict[str, Any]) -> dict[str, Any]:
    """Every tensor inside a result, by a dotted name."""
    import torch

    if isinstance(value, torch.Tensor):
        value = value.detach()
        found[name] = value.numpy() if value.dtype != torch.bfloat16 else value.float().numpy()
    elif isinstance(value, (list, tuple)):
        for k, item in enumerate(value):
            as_arrays(item, f"{name}.{k}", found)
    elif hasattr(value, "items"):
        for key, item in value.items():
            as_arrays(item, f"{name}.{key}", found)
    elif isinstance(value, (int, float, bool)):
        import numpy as np

        found[name] = np.asarray(value)
    return found


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
