"""Tags of memory layout: `strided`, and the memory formats that `contiguous()` and `to()` understand."""

from __future__ import annotations


class layout:
    """Memory layout tag; dense tensors are `strided`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"minigrad.{self._name}"

    def __reduce__(self) -> str:
        return self._name


class memory_format(str):
    """Order of dimensions in memory: contiguous_format (NCHW), channels_last (NHWC) or preserve_format. A str, so that schemas take it."""

    def __repr__(self) -> str:
        return f"minigrad.{str.__str__(self)}"

    def __str__(self) -> str:
        return repr(self)

    def __reduce__(self) -> str:
        return str.__str__(self)


strided = layout("strided")
sparse_coo, sparse_csr, sparse_csc = layout("sparse_coo"), layout("sparse_csr"), layout("sparse_csc")
sparse_bsr, sparse_bsc = layout("sparse_bsr"), layout("sparse_bsc")
contiguous_format = memory_format("contiguous_format")
channels_last = memory_format("channels_last")
channels_last_3d = memory_format("channels_last_3d")
preserve_format = memory_format("preserve_format")
