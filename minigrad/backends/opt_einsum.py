"""torch.backends.opt_einsum: contraction orders are minigrad's own; the flags can be set and read."""

from minigrad.backends import answers, flags_of

enabled, strategy = True, "auto"
is_available = answers(False, "False.")
get_opt_einsum = answers(None, "None.")
flags, set_flags = flags_of(__name__, enabled="enabled", strategy="strategy")
