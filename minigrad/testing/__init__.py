"""The generated tests: for each registered op, samples x checks (tests/test_ops.py loops over both). Imports numpy,
never torch.

from minigrad.testing import run_check, CHECKS
run_check("sigmoid", "value")

Also PyTorch's public names for the tests of programs: `assert_close` and `make_tensor`.
"""

from minigrad.testing._assert_close import assert_close
from minigrad.testing._make_tensor import make_tensor
from minigrad.testing.checks import CHECKS, Skip, run_check
from minigrad.testing.compare import to_numpy
from minigrad.testing.samples import Sample, Sampler, Spec, build, samples
from minigrad.testing.tolerances import Tolerance, tolerance

__all__ = [
    "CHECKS", "Sample", "Sampler", "Skip", "Spec", "Tolerance", "assert_close", "build", "make_tensor",
    "run_check", "samples", "to_numpy", "tolerance",
]  # fmt: skip
