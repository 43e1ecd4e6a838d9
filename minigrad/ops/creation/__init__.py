"""Ops that make tensors: factories and random numbers."""

from . import create, create_new, random  # noqa: F401  each declares its ops
