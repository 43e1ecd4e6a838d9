"""torch.onnx, importable: nothing is ever being exported, and `export` raises NotImplementedError."""

from __future__ import annotations

import enum
from typing import Any

__all__ = ["OperatorExportTypes", "TrainingMode", "export", "is_in_onnx_export", "is_onnxrt_backend_supported",
           "register_custom_op_symbolic",
           "unregister_custom_op_symbolic", "select_model_mode_for_export"]  # fmt: skip


class TrainingMode(enum.IntEnum):
    """Mode of the model while it is exported."""

    EVAL = 0
    PRESERVE = 1
    TRAINING = 2


class OperatorExportTypes(enum.IntEnum):
    """How operators were exported."""

    ONNX = 0
    ONNX_ATEN = 1
    ONNX_ATEN_FALLBACK = 2
    ONNX_FALLTHROUGH = 3


def is_in_onnx_export() -> bool:
    """False."""
    return False


def is_onnxrt_backend_supported() -> bool:
    """False."""
    return False


def _absent(name: str) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"onnx.{name}: minigrad does not export to ONNX")

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"torch.onnx.{name}. Raises NotImplementedError: minigrad does not export to ONNX."
    return call


export, select_model_mode_for_export = _absent("export"), _absent("select_model_mode_for_export")


def register_custom_op_symbolic(symbolic_name: str, symbolic_fn: Any, opset_version: int) -> None:
    """Remembers nothing: there is no exporter to use it."""


def unregister_custom_op_symbolic(symbolic_name: str, opset_version: int) -> None:
    """Nothing to undo."""
