"""Matrix products, outer products and einsum."""

from . import einsum, matmul, outer  # noqa: F401  each declares its ops
