"""torch.fx._symbolic_trace."""

from minigrad.fx import Tracer, symbolic_trace, wrap  # noqa: F401


def is_fx_tracing() -> bool:
    """False: there is no tracer."""
    return False


is_fx_symbolic_tracing = is_fx_tracing
