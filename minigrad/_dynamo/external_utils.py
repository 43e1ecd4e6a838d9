"""torch._dynamo.external_utils."""

from minigrad.compiler import is_compiling  # noqa: F401
