"""How error texts name the type of a value."""

from __future__ import annotations

from typing import Any

import minigrad as mg

_TENSOR_NAMES = {
    "float32": "Float", "float64": "Double", "float16": "Half", "bfloat16": "BFloat16", "int64": "Long",
    "int32": "Int", "int16": "Short", "int8": "Char", "uint8": "Byte", "bool": "Bool",
}  # fmt: skip


def typename(value: Any) -> str:
    """The type of `value` as torch spells it in error texts: tensors by their legacy class name."""
    if isinstance(value, mg.Tensor) and (type(value) is mg.Tensor or type(value).__name__ == "Parameter"):
        kind = _TENSOR_NAMES.get(str(value.dtype).rpartition(".")[2], "")
        return f"torch.{'cuda.' if value.device.type == 'cuda' else ''}{kind}Tensor"
    cls = type(value)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
