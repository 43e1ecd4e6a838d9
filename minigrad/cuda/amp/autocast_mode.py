"""torch.cuda.amp.autocast_mode."""

from minigrad.cuda.amp import (  # noqa: E402, F401
    autocast,  # noqa: F401
    custom_bwd,
    custom_fwd,
)
