"""torch.cuda.amp.grad_scaler."""

from minigrad.cuda.amp import GradScaler  # noqa: F401
