"""torch.backends.miopen: not in this build."""

from minigrad.backends import answers

is_available = answers(False, "False.")
immediate = False
