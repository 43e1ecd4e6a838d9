"""Arguments and results of exported programs: containers of tensors and constants as plain data, and back.

Lists, tuples (named ones come back as tuples), dicts with text for keys, and dataclasses (which come back as dicts) are containers;
numbers, text, None and dtypes are constants. A tree is a nest of one-entry dicts: {"tuple": [{"tensor": 0}, {"constant": 2}]}.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import minigrad as mg
from minigrad._core import Tensor

_DTYPES = {str(d).rpartition(".")[2]: d for d in vars(mg).values() if isinstance(d, mg.dtype)}


def encode_number(value: Any) -> Any:
    """A constant as JSON can hold it, exactly. TypeError for any other object."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else {"float": repr(value)}
    if isinstance(value, complex):
        return {"complex": [encode_number(value.real), encode_number(value.imag)]}
    if isinstance(value, mg.dtype):
        return {"dtype": str(value).rpartition(".")[2]}
    if isinstance(value, mg.device):
        return {"device": str(value)}
    if isinstance(value, (tuple, list)):
        return [encode_number(v) for v in value]
    raise TypeError(f"export: cannot save a constant of type {type(value).__name__}")


def decode_number(data: Any) -> Any:
    """What encode_number() was given; ValueError for anything that it does not write."""
    if data is None or isinstance(data, (bool, int, float, str)):
        return data
    if isinstance(data, list):
        return tuple(decode_number(v) for v in data)
    if isinstance(data, dict) and len(data) == 1:
        ((kind, value),) = data.items()
        if kind == "float" and value in ("inf", "-inf", "nan"):
            return float(value)
        if kind == "complex" and isinstance(value, list) and len(value) == 2:
            return complex(*map(decode_number, value))
        if kind == "dtype" and isinstance(value, str) and value in _DTYPES:
            return _DTYPES[value]
        if kind == "device" and isinstance(value, str):
            return mg.device(value)
    raise ValueError(f"no constant: {data!r:.100}")


def dtype_named(name: Any) -> Any:
    """The dtype of that name; ValueError for another."""
    if not isinstance(name, str) or name not in _DTYPES:
        raise ValueError(f"no dtype: {name!r:.50}")
    return _DTYPES[name]


def encode(tree: Any, tensors: list[Tensor], what: str) -> dict[str, Any]:
    """The tree as data; its tensors are appended to `tensors`."""
    if isinstance(tree, Tensor):
        tensors.append(tree)
        return {"tensor": len(tensors) - 1}
    if isinstance(tree, (list, tuple)) and not isinstance(tree, mg.Size):
        return {"list" if isinstance(tree, list) else "tuple": [encode(v, tensors, what) for v in tree]}
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        tree = {f.name: getattr(tree, f.name) for f in dataclasses.fields(tree)}
    if isinstance(tree, dict):
        if not all(isinstance(k, str) for k in tree):
            raise TypeError(f"export: the keys of a dict among the {what} must be text")
        return {"dict": {k: encode(v, tensors, what) for k, v in tree.items()}}
    try:
        return {"constant": encode_number(tree)}
    except TypeError:
        raise TypeError(
            f"export: the {what} may be tensors, numbers, text and containers of them: got {type(tree).__name__}. "
            "Try a function that closes over it."
        ) from None


def replaced(tree: Any, tensors: Iterator[Tensor]) -> Any:
    """The same containers with these tensors in place of their own, in encode()'s order."""
    if isinstance(tree, Tensor):
        return next(tensors)
    if isinstance(tree, (list, tuple)) and not isinstance(tree, mg.Size):
        parts = [replaced(v, tensors) for v in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return dataclasses.replace(tree, **{f.name: replaced(getattr(tree, f.name), tensors) for f in dataclasses.fields(tree)})
    if isinstance(tree, dict):
        made = copy.copy(tree)
        for key in tree:
            made[key] = replaced(tree[key], tensors)
        return made
    return tree


def decode(data: Any, tensors: list[Any]) -> Any:
    """The tree again, with these tensors."""
    ((kind, value),) = data.items()
    if kind == "tensor":
        return tensors[value]
    if kind == "constant":
        return decode_number(value)
    if kind == "dict":
        return {k: decode(v, tensors) for k, v in value.items()}
    return (list if kind == "list" else tuple)(decode(v, tensors) for v in value)


def check(data: Any, count: int) -> None:
    """ValueError when this is no tree of tensors numbered below `count`."""
    if not isinstance(data, dict) or len(data) != 1:
        raise ValueError(f"no tree: {data!r:.100}")
    ((kind, value),) = data.items()
    if kind == "tensor":
        if type(value) is not int or not 0 <= value < count:
            raise ValueError(f"no number of a tensor: {value!r:.50}")
    elif kind == "constant":
        decode_number(value)
    elif kind == "dict" and isinstance(value, dict) or kind in ("list", "tuple") and isinstance(value, list):
        for part in value.values() if kind == "dict" else value:
            check(part, count)
    else:
        raise ValueError(f"no tree: {kind!r:.50}")


def tensors_of(data: Any, tree: Any, place: str, out: list[Tensor]) -> None:
    """Collect the tensors of arguments that must have the recorded structure; TypeError says where they differ."""
    ((kind, value),) = data.items()
    if kind == "tensor":
        if not isinstance(tree, Tensor):
            raise TypeError(f"{place}: expected a Tensor, got {type(tree).__name__}")
        out.append(tree)
    elif kind == "constant":
        given = encode_number(tree) if not isinstance(tree, Tensor) else tree
        if type(given) is not type(value) or given != value:
            raise TypeError(f"{place}: the program was exported for {decode_number(value)!r}, got {tree!r:.100}")
    else:
        _expect(place, kind, value, tree)
        if dataclasses.is_dataclass(tree):
            tree = {f.name: getattr(tree, f.name) for f in dataclasses.fields(tree)}
        for key in value if kind == "dict" else range(len(value)):
            tensors_of(value[key], tree[key], f"{place}[{key!r}]", out)


def _expect(place: str, kind: str, value: Any, tree: Any) -> None:
    types: dict[str, Callable[[Any], bool]] = {
        "list": lambda t: isinstance(t, list),
        "tuple": lambda t: isinstance(t, tuple),
        "dict": lambda t: isinstance(t, dict) or dataclasses.is_dataclass(t),
    }
    if not types[kind](tree):
        raise TypeError(f"{place}: expected a {kind}, got {type(tree).__name__}")
    names = {f.name for f in dataclasses.fields(tree)} if dataclasses.is_dataclass(tree) else set(tree) if kind == "dict" else len(tree)
    if names != (set(value) if kind == "dict" else len(value)):
        raise TypeError(f"{place}: expected {sorted(value) if kind == 'dict' else len(value)} in the {kind}, got {names}")
