"""torch.cuda.streams."""

from minigrad.cuda import Event, ExternalStream, Stream  # noqa: F401
