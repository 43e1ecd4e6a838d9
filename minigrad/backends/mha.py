"""torch.backends.mha: not in this build."""

from minigrad.backends import answers

is_available = answers(False, "False.")
_fast = [True]


def get_fastpath_enabled() -> bool:
    """Whether TransformerEncoderLayer and MultiheadAttention may take PyTorch's fast path; there is one path here."""
    return _fast[0]


def set_fastpath_enabled(value: bool) -> None:
    """Remembered."""
    _fast[0] = bool(value)
