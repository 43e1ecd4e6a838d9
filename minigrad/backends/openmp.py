"""torch.backends.openmp: minigrad has its own thread pool."""

from minigrad.backends import answers

is_available = answers(False, "False: minigrad has its own thread pool.")
