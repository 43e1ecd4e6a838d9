"""torch.backends.cusparselt: not in this build."""

from minigrad.backends import answers

is_available = answers(False, "False.")
