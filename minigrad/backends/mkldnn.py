"""torch.backends.mkldnn: oneDNN is not in this build; its flags can be set and read."""

from minigrad.backends import answers, flags_of

enabled, deterministic, allow_tf32, fp32_precision = True, False, True, "none"
is_available = answers(False, "False: the kernels are minigrad's own.")
is_acl_available = answers(False, "False.")
flags, set_flags = flags_of(
    __name__, enabled="enabled", deterministic="deterministic", allow_tf32="allow_tf32", fp32_precision="fp32_precision"
)
VERBOSE_OFF, VERBOSE_ON, VERBOSE_ON_CREATION = 0, 1, 2


class verbose:  # noqa: N801  torch's name
    """`with verbose(level):` changes nothing."""

    def __init__(self, level: int) -> None:
        self.level = level

    def __enter__(self) -> object:
        return self

    def __exit__(self, *error: object) -> bool:
        return False
