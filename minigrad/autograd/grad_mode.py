"""torch.autograd.grad_mode."""

from minigrad.autograd.modes import enable_grad, inference_mode, no_grad, set_grad_enabled  # noqa: F401
