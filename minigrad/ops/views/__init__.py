"""Ops that show, move or pick elements: views, shapes, joining, splitting, indexing, copies."""

from . import copy, index, index_more, join, shape, shape_inplace, split, view, view_copies  # noqa: F401  each declares its ops
