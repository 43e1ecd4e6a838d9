"""Ops behind the layers of `minigrad.nn`: convolution, pooling, normalisation, losses, recurrence, resampling."""

from . import attention, conv, ctc, distance, embedding_bag, grid_sample, interpolate, loss, norm, norm_native, pad, pool, rnn, softmax  # noqa: F401  each declares its ops
