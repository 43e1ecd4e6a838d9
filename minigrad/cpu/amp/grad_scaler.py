"""torch.cpu.amp.grad_scaler."""

from minigrad.cpu.amp import GradScaler  # noqa: F401
