"""torch.backends.nnpack: not in this build."""

from minigrad.backends import answers, flags_of

is_available = answers(False, "False.")
enabled = True
flags, set_flags = flags_of(__name__, enabled="enabled")
