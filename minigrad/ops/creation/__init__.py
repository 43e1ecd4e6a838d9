"""Ops that make tensors: factories and random numbers."""

from . import create, create_like, create_new, create_ranges, random, random_sample  # noqa: F401  each declares its ops
