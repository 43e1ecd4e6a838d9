"""torch.autograd.anomaly_mode."""

from minigrad.autograd.modes import detect_anomaly, set_detect_anomaly  # noqa: F401
