"""What this build is, under the names of torch.version."""

from __future__ import annotations

from minigrad.torch_version import FOLLOWED, TorchVersion

__all__ = ["__version__", "cuda", "debug", "git_version", "hip", "rocm", "xpu"]

__version__ = TorchVersion(FOLLOWED + "+minigrad")
debug = False
cuda: str | None = None
hip: str | None = None
rocm: str | None = None
xpu: str | None = None
git_version = "minigrad"
