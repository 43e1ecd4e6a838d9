"""x[key] and x[key] = value for keys with tensors, masks, lists or arrays. Basic keys (int, slice, None, Ellipsis)
never get here:
csrc/python/indexing.cpp does them.

A key is read from left to right into (1) views for its basic parts and (2) one index tensor per remaining dimension,
which the ops
`index` and `index_put_` take. Masks become the positions of their True elements. Rules and errors are PyTorch's.
"""

from __future__ import annotations

from typing import Any

from minigrad import _core
from minigrad.op import functions

Tensor = _core.Tensor
_index = functions["index"]
_INTEGERS = (_core.int64, _core.int32, _core.int16, _core.int8)
_HOST = _core.device("cpu")  # of index lists and numbers, which may meet tensors of any device


def _is_sequence_key(key: Any) -> bool:
    """A short list that PyTorch reads as a tuple of indices: it holds slices, None, Ellipsis, tensors or sequences."""
    return len(key) < 32 and any(
        isinstance(k, (slice, list, tuple, range, Tensor)) or k is None or k is Ellipsis or hasattr(k,
            "__array_interface__") and k.ndim
        for k in key
    )


def _as_parts(key: Any) -> tuple[Any, ...]:
    return key if isinstance(key, tuple) else (key,)


def _as_index(part: Any) -> Any:
    """Numbers, lists and arrays as tensors; other parts as they are."""
    if isinstance(part, (list, tuple, range)):
        made = _core.tensor(list(part), device=_HOST)
        return made.to(_core.int64) if made.numel() == 0 else made
    if isinstance(part, Tensor):
        if _core.is_dataless(part):  # inside vmap: an index per slice
            return part
        return part if part.dim() or part.dtype not in _INTEGERS else int(
            part.item())  # a 0-d integer tensor is a number
    if isinstance(part, (str, bytes)):
        raise TypeError(f"index: a tensor cannot be indexed by {part!r}")
    if isinstance(part, bool):
        return _core.tensor(part, device=_HOST)
    if hasattr(part, "__array_interface__"):
        made = _core.tensor(part, device=_HOST)
        return made.item() if made.dim() == 0 and made.dtype in _INTEGERS else made
    if not isinstance(part, (slice, int)) and part is not None and part is not Ellipsis:
        if hasattr(part, "__index__"):
            return part.__index__()
        raise IndexError(
            f"index: only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid "
            f"indices (got {type(part).__name__})"
        )
    return part


def _consumed(part: Any) -> int:
    """How many dimensions of x a part takes."""
    if part is None or part is Ellipsis:
        return 0
    if isinstance(part, Tensor) and part.dtype in (_core.bool, _core.uint8):
        return part.dim()
    return 1


def _mask_indices(mask: Tensor, x: Tensor, dim: int) -> list[Tensor]:
    for k, size in enumerate(mask.shape):
        if dim + k >= x.dim() or x.shape[dim + k] != size:
            raise IndexError(
                f"index: the shape of the mask {list(mask.shape)} at index {k} does not match the shape of the "
                f"indexed tensor "
                f"{list(x.shape)} at index {dim + k}"
            )
    return list(functions["unbind"](functions["_nonzero"](mask), 1))


def _resolve(x: Tensor, key: Any) -> tuple[Tensor, list[Tensor | None]]:
    """(a view of x, one index tensor or None per dimension of that view)."""
    if isinstance(key, list) and _is_sequence_key(key):
        key = tuple(key)
    parts = [_as_index(part) for part in _as_parts(key)]
    used = sum(_consumed(part) for part in parts)
    if used > x.dim():
        raise IndexError(f"index: too many indices for tensor of dimension {x.dim()}: got {used}")
    total, dim, indices = x.dim(), 0, []
    for part in parts:
        if part is None:
            x = functions["unsqueeze"](x, dim)
            indices.append(None)
            dim += 1
        elif part is Ellipsis:
            indices += [None] * (total - used)
            dim += total - used
        elif isinstance(part, slice):
            x = _sliced(x, dim, part)
            indices.append(None)
            dim += 1
        elif isinstance(part, Tensor) and part.dtype in (_core.bool, _core.uint8):
            if part.dim() == 0:  # a truth value: a new dimension of size 1 or 0
                x = functions["unsqueeze"](x, dim)
                indices.append(_core.tensor([0] if part.item() else [], dtype=_core.int64, device=_HOST))
                dim += 1
            else:
                indices += _mask_indices(part, x, dim)
                dim += part.dim()
        elif isinstance(part, Tensor):
            if part.dtype not in _INTEGERS:
                raise IndexError(f"index: tensors used as indices must be long, int, byte or bool tensors: got "
                f"{part.dtype}")
            indices.append(part if part.dtype in (_core.int64, _core.int32) else part.to(_core.int64))
            dim += 1
        else:
            x = _selected(x, dim, int(part))
    while len(indices) > x.dim() and indices[-1] is None:  # of a second Ellipsis, which skips as many dims as the first
        indices.pop()
    return x, indices


def _sliced(x: Tensor, dim: int, part: slice) -> Tensor:
    start, stop, step = (None if v is None else v.__index__() for v in (part.start, part.stop, part.step))
    step = 1 if step is None else step
    if step <= 0:
        raise ValueError(f"slice: step must be greater than zero: got {step}. Try flip().")
    if start in (None, 0) and stop is None and step == 1:
        return x
    return functions["_slice"](x, dim, start, stop, step)


def _selected(x: Tensor, dim: int, index: int) -> Tensor:
    size = x.shape[dim]
    if not -size <= index < size:
        raise IndexError(f"index {index} is out of bounds for dimension {dim} with size {size}")
    return functions["select"](x, dim, index)


def getitem(x: Tensor, key: Any) -> Tensor:
    """x[key] for a key with tensors, masks, lists or arrays.

    Args:
        x: any tensor.
        key: index, or tuple of indices.
    Returns:
        a copy (a view when no index tensor is left, as for 0-d integer tensors in basic positions).
    Raises:
        IndexError for too many, out-of-range or impossible indices.
    """
    if type(key) is Tensor and key.dtype is _core.int64 and key.dim():  # the frequent case, at a third of the cost
        return _index(x, [key])
    view, indices = _resolve(x, key)
    if all(index is None for index in indices):
        return functions["alias"](view) if view is x else view
    return _index(view, indices)


def setitem(x: Tensor, key: Any, value: Any) -> None:
    """x[key] = value for a key with tensors, masks, lists or arrays.

    Args:
        x: overwritten.
        key: index, or tuple of indices.
        value: number, or tensor that broadcasts to x[key].
    Raises:
        IndexError for indices, RuntimeError when value does not fit.
    """
    number = isinstance(value, (int, float)) and not isinstance(value, Tensor)
    scalar = number or (isinstance(value, Tensor) and value.dim() == 0 and value.dtype == x.dtype)
    if scalar and isinstance(key, Tensor) and key.dtype == _core.bool and key.shape == x.shape and _keeps(value, x):
        functions["masked_fill_"](x, key, value)
        return
    view, indices = _resolve(x, key)
    if number:
        value = functions["_full"]((), value, x.dtype, _HOST)
    elif not isinstance(value, Tensor):
        value = _core.tensor(value, dtype=x.dtype, device=x.device)
    while value.dim() and value.dim() > view.dim() + sum(
        i.dim() for i in indices if i is not None) and value.shape[0] == 1:
        value = functions["select"](value, 0, 0)
    if all(index is None for index in indices):
        view.copy_(value)
        return
    if value.dtype != x.dtype and value.dim() == 0:
        value = value.to(x.dtype)
    functions["index_put_"](view, indices, value)


def _keeps(value: Any, x: Tensor) -> bool:
    """masked_fill_ refuses what assignment turns infinite: large numbers for the half types."""
    return isinstance(value, Tensor) or x.element_size() != 2 or not x.is_floating_point() or abs(value) < 65504
