"""torch.backends.mps: not in this build."""

from minigrad.backends import answers

is_available = answers(False, "False: there is no MPS device.")
is_built = answers(False, "False: there is no MPS device.")
is_macos13_or_newer = is_macos_or_newer = answers(False, "False.")
