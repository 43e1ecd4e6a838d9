"""Ops that work on each element by itself (one line in csrc/scalar.h each)."""

from . import activation, activation_grad, binary, compare, complex, loss_terms, polynomial, special, ternary, transcendental, unary  # noqa: F401  each declares its ops
