"""torch.cuda.amp.common."""

from minigrad.cuda.amp import amp_definitely_not_available  # noqa: F401
