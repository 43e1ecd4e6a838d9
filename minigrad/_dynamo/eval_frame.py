"""torch._dynamo.eval_frame."""

from minigrad._dynamo import OptimizedModule  # noqa: F401
