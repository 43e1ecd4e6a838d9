"""torch.backends.cudnn: not in this build; its flags can be set and read."""

from __future__ import annotations

from minigrad.backends import answers, flags_of

enabled, benchmark, benchmark_limit, deterministic, allow_tf32 = True, False, 10, False, True
fp32_precision = "none"
is_available = answers(False, "False: there is no CUDA.")
is_acceptable = answers(False, "False: no tensor is on CUDA.")
version = answers(None, "None.")
flags, set_flags = flags_of(
    __name__, enabled="enabled", benchmark="benchmark", benchmark_limit="benchmark_limit", deterministic="deterministic",
    allow_tf32="allow_tf32", fp32_precision="fp32_precision",
)  # fmt: skip
