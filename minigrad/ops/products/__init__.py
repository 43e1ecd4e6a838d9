"""Matrix products, outer products and einsum."""

from . import matmul  # noqa: F401  each declares its ops
