"""What `pytest --device cuda` changes (conftest.py calls this): the tests themselves stay as they are.

Tensors are made on the device by default (`mg.set_default_device`). The doors to NumPy, which share memory on the CPU, copy instead:
`mg.from_numpy(a)` puts its result on the default device, `t.numpy()` and `np.asarray(t)` fetch the values. After each test the device is
waited for, so that an error it found belongs to the test that made it. Tests that are not for a device stand, with the reason, in
not_by_device.txt; files in tests/cuda say themselves where their tensors lie and run unchanged.
"""

from __future__ import annotations

import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import minigrad as mg

HERE = Path(__file__).parent
_LIST = HERE / "not_by_device.txt"
_WITHOUT_KERNEL = HERE / "cuda" / "without_kernel.txt"
_simulated = False


def device_type(library: Any = mg) -> str:
    """The type of the default device; "cpu" for another library, which is the reference."""
    return mg.get_default_device().type if library is mg else "cpu"


def fewer(count: int, few: int) -> int:
    """`count`, but `few` on the simulated device, where every launch costs microseconds and every thread nanoseconds."""
    return few if _simulated else count


def without_device() -> str:
    """Why no tensor can be made on a CUDA device here, or ""."""
    try:
        mg.empty(0, device="cuda")
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        return str(error).splitlines()[0]
    return ""


def listed() -> dict[str, str]:
    """{pattern of test names: reason} of not_by_device.txt."""
    reason, found = "", {}
    for line in _LIST.read_text().splitlines():
        if line.startswith("  "):
            found[line.strip()] = reason
        elif line and not line.startswith("#"):
            reason = line.rstrip(":")
    return found


def reason_against(name: str, patterns: dict[str, str]) -> str:
    """Why the test `test_x.py::test_y[z]` is not for a device, or ""."""
    whole = name.partition("::")[0]
    plain = name.partition("[")[0]
    for pattern, reason in patterns.items():
        # Brackets are a part of test names, not fnmatch's sets.
        if pattern in (whole, plain, name) or fnmatchcase(name.replace("[", "{"), pattern.replace("[", "{")):
            return reason
    return ""


def lacks_listed_kernel(error: NotImplementedError) -> bool:
    """Whether an op without a CUDA kernel was reached that stands in cuda/without_kernel.txt."""
    op, found, _ = str(error).partition(": no cuda kernel")
    return bool(found) and any(line.startswith(f"{op}-") for line in _WITHOUT_KERNEL.read_text().splitlines())


def _called_by_library() -> bool:
    """Whether the call being replaced came from minigrad itself, which has to know where its tensors lie; its test harness does not."""
    name = sys._getframe(2).f_globals.get("__name__", "")
    return name.startswith("minigrad.") and not name.startswith("minigrad.testing")


def prepare() -> None:
    """from_numpy, numpy() and np.asarray copy between the host and the default device, from now on."""
    global _simulated
    _simulated = mg.cuda.is_simulated()
    from_numpy, numpy, array = mg.from_numpy, mg.Tensor.numpy, mg.Tensor.__array__

    def on_device(ndarray: Any) -> mg.Tensor:
        made = from_numpy(ndarray)
        return made if _called_by_library() else made.to(mg.get_default_device())

    def fetched(tensor: mg.Tensor, *args: Any, **kwargs: Any) -> Any:
        return numpy(tensor if _called_by_library() else tensor.cpu(), *args, **kwargs)

    def fetched_array(tensor: mg.Tensor, *args: Any, **kwargs: Any) -> Any:
        return array(tensor if _called_by_library() else tensor.cpu(), *args, **kwargs)

    mg.from_numpy = on_device
    mg.Tensor.numpy = fetched
    mg.Tensor.__array__ = fetched_array
