"""torch.cuda.profiler without CUDA."""

from minigrad._no_device import refusing

start, stop, profile, init = (
    refusing(n, "Torch not compiled with CUDA enabled") for n in ("start", "stop", "profile", "init")
)
