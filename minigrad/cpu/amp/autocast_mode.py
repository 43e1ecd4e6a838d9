"""torch.cpu.amp.autocast_mode."""

from minigrad.cpu.amp import autocast  # noqa: F401
