"""All op declarations. Importing this package fills `minigrad.op.registry`; each module is one family."""

from minigrad.ops import (  # noqa: F401
    activation, activation_grad, binary, compare, conv, copy, create, index, index_more, join, loss, matmul, moment,
    norm, pool, random, reduce, scan, search, shape, softmax, sort, split, ternary, transcendental, unary, view,
)  # fmt: skip
