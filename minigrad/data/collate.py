"""Turning samples into batches: default_collate and default_convert, and the open table of collate functions by type."""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import minigrad as mg

CollateMap = dict[type | tuple[type, ...], Callable]
default_collate_err_msg_format = "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"


def _rebuilt_mapping(like: Mapping, items: dict) -> Mapping:
    """`items` as a mapping of the same kind; a plain dict where that kind cannot be made so."""
    try:
        if isinstance(like, MutableMapping):
            made = copy.copy(like)  # keeps what else it carries, such as a default factory
            made.update(items)
            return made
        return type(like)(items)  # type: ignore[call-arg]
    except TypeError:
        return items


def _rebuilt_sequence(like: Sequence, items: list) -> Sequence:
    """`items` as a sequence of the same kind; a list where that kind cannot be made so."""
    try:
        if isinstance(like, MutableSequence):
            made = copy.copy(like)
            for i, item in enumerate(items):
                made[i] = item
            return made
        return type(like)(items)  # type: ignore[call-arg]
    except TypeError:  # e.g. range
        return items


def default_convert(data: Any) -> Any:
    """Numpy arrays and scalars become tensors, at any depth of mappings and sequences; everything else stays.

    Example:
        >>> mg.data.default_convert({"a": 1, "b": [mg.ones(1), "x"]})
        {'a': 1, 'b': [tensor([1.]), 'x']}
    """
    kind = type(data)
    if isinstance(data, mg.Tensor):
        return data
    if kind.__module__ == "numpy" and kind.__name__ not in ("str_", "bytes_", "string_"):
        return data if kind.__name__ == "ndarray" and data.dtype.kind in "SUO" else mg.as_tensor(data)
    if isinstance(data, Mapping):
        return _rebuilt_mapping(data, {key: default_convert(data[key]) for key in data})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return kind(*(default_convert(value) for value in data))
    if isinstance(data, tuple):
        return [default_convert(value) for value in data]
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _rebuilt_sequence(data, [default_convert(value) for value in data])
    return data


def collate(batch: Any, *, collate_fn_map: CollateMap | None = None) -> Any:
    """Batch a list of samples by the kind of the first: by a function of the table, else mappings and sequences recursively.

    Args:
        batch: the samples.
        collate_fn_map: from type (or tuple of types) to `function(batch, *, collate_fn_map)`; an exact type comes before base classes.

    Raises:
        RuntimeError: sequences of different length.
        TypeError: a kind of sample that cannot be batched.
    """
    first = batch[0]
    table = collate_fn_map or {}
    function = table.get(type(first)) or next((table[kinds] for kinds in table if isinstance(first, kinds)), None)
    if function is not None:
        return function(batch, collate_fn_map=collate_fn_map)
    if isinstance(first, Mapping):
        return _rebuilt_mapping(first, {key: collate([sample[key] for sample in batch], collate_fn_map=collate_fn_map) for key in first})

    def columns() -> Iterator[Any]:
        return (collate(column, collate_fn_map=collate_fn_map) for column in zip(*batch, strict=False))

    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*columns())
    if isinstance(first, Sequence):
        if any(len(sample) != len(first) for sample in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        return list(columns()) if isinstance(first, tuple) else _rebuilt_sequence(first, list(columns()))
    raise TypeError(default_collate_err_msg_format.format(type(first)))


def collate_tensor_fn(batch: Any, *, collate_fn_map: CollateMap | None = None) -> mg.Tensor:
    """Tensors of equal shape along a new first dimension."""
    if getattr(batch[0], "is_sparse", False) or getattr(batch[0], "is_sparse_csr", False):
        raise RuntimeError(
            "Batches of sparse tensors are not currently supported by the default collate_fn; "
            "please provide a custom collate_fn to handle them appropriately."
        )
    return mg.stack(batch, 0)


def collate_numpy_array_fn(batch: Any, *, collate_fn_map: CollateMap | None = None) -> Any:
    """Arrays become tensors first."""
    if batch[0].dtype.kind in "SUOa":
        raise TypeError(default_collate_err_msg_format.format(batch[0].dtype))
    return collate([mg.as_tensor(array) for array in batch], collate_fn_map=collate_fn_map)


def collate_numpy_scalar_fn(batch: Any, *, collate_fn_map: CollateMap | None = None) -> mg.Tensor:
    """NumPy numbers: a vector of their dtype."""
    return mg.as_tensor(sys.modules["numpy"].asarray(batch))


def collate_float_fn(batch: Any, *, collate_fn_map: CollateMap | None = None) -> mg.Tensor:
    """Python floats: a float64 vector."""
    return mg.tensor(batch, dtype=mg.float64)


def collate_int_fn(batch: Any, *, collate_fn_map: CollateMap | None = None) -> mg.Tensor:
    """Python ints (and bools): an int64 (bool) vector."""
    return mg.tensor(batch)


def collate_str_fn(batch: Any, *, collate_fn_map: CollateMap | None = None) -> Any:
    """Texts stay as they are."""
    return batch


# Open to users: `default_collate_fn_map[MyType] = function`. NumPy's types join when numpy is loaded.
default_collate_fn_map: CollateMap = {
    mg.Tensor: collate_tensor_fn,
    float: collate_float_fn,
    int: collate_int_fn,
    str: collate_str_fn,
    bytes: collate_str_fn,
}


def _know_numpy() -> None:
    numpy = sys.modules.get("numpy")  # a sample can only be numpy's if numpy is loaded
    if numpy is None or not hasattr(numpy, "object_") or numpy.ndarray in default_collate_fn_map:
        return
    own = dict(default_collate_fn_map)  # before float: numpy.float64 is a float
    default_collate_fn_map.clear()
    default_collate_fn_map[mg.Tensor] = own.pop(mg.Tensor)
    default_collate_fn_map[numpy.ndarray] = collate_numpy_array_fn
    default_collate_fn_map[(numpy.bool_, numpy.number, numpy.object_)] = collate_numpy_scalar_fn
    default_collate_fn_map.update(own)


_know_numpy()


def default_collate(batch: Any) -> Any:
    """Make one batch of a list of samples.

    Tensors and arrays are stacked along a new first dimension, numbers become vectors (floats: float64), texts stay lists, mappings,
    named tuples and sequences are batched member by member (a tuple becomes a list).

    Raises:
        RuntimeError: samples of different length.
        TypeError: a kind of sample that cannot be batched.

    Example:
        >>> mg.data.default_collate([{"x": 0, "y": "a"}, {"x": 1, "y": "b"}])
        {'x': tensor([0, 1]), 'y': ['a', 'b']}
    """
    _know_numpy()
    return collate(batch, collate_fn_map=default_collate_fn_map)


np_str_obj_array_pattern = re.compile(r"[SaUO]")  # PyTorch's name for the kinds of NumPy arrays that do not become tensors
