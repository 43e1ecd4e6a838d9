"""What a checkpoint may name when it is loaded with `weights_only=True`, and what each name may do.

`TorchRules` is the whole policy. A name outside of these tables, of the dtypes and storages, and of what the user
registered (`add_safe_globals`) is refused with the name and the remedy. Callables run through rules of ours: none of
them is the callable that the file means, so that no argument in a file can surprise it.
"""

from __future__ import annotations

import builtins
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any

import minigrad as mg
from minigrad import _core

from ..nn.parameter import Parameter
from . import _rebuild
from ._numpy_rules import NUMPY_GLOBALS, build_numpy
from ._safe_globals import registered_by_name
from ._unpickle import Rules, UnpicklingError, check_key

_PYTHON2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}


def _members(values: Any) -> list[Any]:
    if type(values) not in (list, tuple):
        raise UnpicklingError("members of a set must come as a list")
    return [check_key(value) for value in values]


def _pairs(cls: type) -> Callable[..., Any]:
    def make(pairs: Any = ()) -> Any:
        made = cls()
        items = pairs.items() if type(pairs) in (dict, OrderedDict) else pairs
        if type(pairs) not in (list, tuple, dict, OrderedDict):
            raise UnpicklingError(f"{cls.__name__} needs pairs")
        for key, value in items:
            made[check_key(key)] = value
        return made

    return make


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if type(text) is not str or encoding not in ("latin1", "latin-1", "utf-8", "ascii"):
        raise UnpicklingError("_codecs.encode: expected text and a plain encoding")
    return text.encode(encoding)


def _byte_string(*args: Any) -> bytes:
    if args and (len(args) != 1 or type(args[0]) not in (bytes, bytearray, list)):
        raise UnpicklingError("bytes: expected bytes")
    return bytes(*args)


def _byte_array(*args: Any) -> bytearray:
    if args and type(args[0]) is str:
        return bytearray(_encode(*args))
    return bytearray(_byte_string(*args))


def _complex(real: Any, imag: Any) -> complex:
    if type(real) not in (int, float) or type(imag) not in (int, float):
        raise UnpicklingError("complex: expected two numbers")
    return complex(real, imag)


def _plain_int_tuple(values: Any = ()) -> tuple[int, ...]:
    if type(values) not in (tuple, list, mg.Size) or not all(type(v) is int for v in values):
        raise UnpicklingError("a size must be a tuple of ints")
    return tuple(values)


_FACTORIES = (None, list, dict, set, int, float, str, OrderedDict)


def _default_dict(factory: Any = None, *rest: Any) -> Any:
    if factory not in _FACTORIES or rest:
        raise UnpicklingError("defaultdict: only list, dict, set, int, float and str may be its factory")
    return defaultdict(factory)


# name: (the object that stands for it, how it is called; None = it may be named, not called)
_TABLE: dict[str, tuple[Any, Callable[..., Any] | None]] = {
    "collections.OrderedDict": (OrderedDict, _pairs(OrderedDict)),
    "collections.Counter": (Counter, _pairs(Counter)),
    "collections.defaultdict": (defaultdict, _default_dict),
    "_codecs.encode": (_encode, _encode),
    "builtins.set": (set, lambda values=(): set(_members(values))),
    "builtins.frozenset": (frozenset, lambda values=(): frozenset(_members(values))),
    "builtins.complex": (complex, _complex),
    "builtins.bytearray": (bytearray, _byte_array),
    "builtins.bytes": (bytes, _byte_string),
    **{f"builtins.{name}": (getattr(builtins, name), None) for name in ("list", "dict", "int", "float", "str", "bool", "tuple")},
    "torch.Size": (mg.Size, lambda values=(): mg.Size(_plain_int_tuple(values))),
    "torch.device": (mg.device, lambda *args: mg.device(*args)),
    "torch.Tensor": (mg.Tensor, None),
    "torch.nn.parameter.Parameter": (Parameter, _rebuild.make_parameter),
    "torch.serialization._get_layout": (_rebuild.get_layout, _rebuild.get_layout),
    "torch._utils._rebuild_tensor": (_rebuild.rebuild_tensor, _rebuild.rebuild_tensor),
    "torch._utils._rebuild_tensor_v2": (_rebuild.rebuild_tensor_v2, _rebuild.rebuild_tensor_v2),
    "torch._utils._rebuild_tensor_v3": (_rebuild.rebuild_tensor_v3, _rebuild.rebuild_tensor_v3),
    "torch._utils._rebuild_meta_tensor_no_storage": (_rebuild.rebuild_meta, _rebuild.rebuild_meta),
    "torch._utils._rebuild_parameter": (_rebuild.rebuild_parameter, _rebuild.rebuild_parameter),
    "torch._utils._rebuild_parameter_with_state": (_rebuild.rebuild_parameter_with_state,) * 2,
    "torch._utils._rebuild_sparse_tensor": (_rebuild.rebuild_sparse, _rebuild.rebuild_sparse),
    "torch._tensor._rebuild_from_type_v2": (_rebuild.rebuild_from_type, _rebuild.rebuild_from_type),
}
_TABLE["torch.nn.Parameter"] = _TABLE["torch.nn.parameter.Parameter"]
_TABLE.update(NUMPY_GLOBALS)
_CALLS = {id(value): call for value, call in _TABLE.values() if call is not None}

# Names of dtypes and of their storages that PyTorch has and minigrad may lack: refused by name, not as "unknown".
_LOOK = ("strided", "contiguous_format", "channels_last", "channels_last_3d", "preserve_format", "sparse_coo", "sparse_csr")


def torch_global(full_name: str) -> Any:
    """The object that stands for a PyTorch global or another allowed name; raises KeyError for all others."""
    if full_name in _TABLE:
        return _TABLE[full_name][0]
    package, _, name = full_name.rpartition(".")
    if package == "torch" and name in _LOOK and hasattr(mg, name):
        return getattr(mg, name)
    if package == "torch" and isinstance(getattr(_core, name, None), _core.dtype):
        return getattr(_core, name)
    if package in ("torch", "torch.storage", "torch.cuda") and name.endswith("Storage"):
        return mg.storage.UntypedStorage if name == "UntypedStorage" else mg.storage.storage_class(name)
    raise KeyError(full_name)


def unsupported_message(full_name: str, known: bool) -> str:
    """The text of the refusal of one global."""
    name = full_name.rpartition(".")[2]
    remedy = (
        f"Use `minigrad.serialization.add_safe_globals([{name}])` or `with safe_globals([{name}]):` to allow it, if you trust "
        "this class or function with any argument. Or load with `weights_only=False`, which can run any code: do so only for "
        "files from a source that you trust."
    )
    hint = " (PyTorch has it, minigrad does not)" if known else ""
    return f"Weights only load failed. Unsupported global: GLOBAL {full_name} was not an allowed global by default{hint}. {remedy}"


class TorchRules(Rules):
    """The policy for `weights_only=True`."""

    def __init__(self) -> None:
        self.registered = registered_by_name()
        self.vouched = {id(value) for value in self.registered.values()}

    def find_global(self, module: str, name: str) -> Any:
        """See `Rules`."""
        full_name = f"{_PYTHON2.get(module, module)}.{name}"
        if full_name in self.registered:
            return self.registered[full_name]
        try:
            return torch_global(full_name)
        except (KeyError, AttributeError):
            raise UnpicklingError(unsupported_message(full_name, module == "torch")) from None

    def call(self, function: Any, args: tuple) -> Any:
        """See `Rules`."""
        if id(function) in self.vouched:
            return function(*args)
        rule = _CALLS.get(id(function))
        if rule is None:
            raise UnpicklingError(f"Weights only load failed. {_shown(function)} may not be called from a file")
        return rule(*args)

    def new(self, cls: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        """See `Rules`."""
        if id(cls) in self.vouched and isinstance(cls, type):
            return cls.__new__(cls, *args, **kwargs)
        if cls is Parameter and not kwargs:
            return _rebuild.make_parameter(*args)
        if cls in (OrderedDict, Counter, set) and not args and not kwargs:
            return cls()
        raise UnpicklingError(f"Weights only load failed. {_shown(cls)} may not be made from a file")

    def build(self, instance: Any, state: Any) -> Any:
        """See `Rules`."""
        kind = type(instance)
        if id(kind) in self.vouched:
            return _set_state(instance, state)
        if kind is OrderedDict:
            if type(state) is not dict or not all(type(k) is str and not hasattr(OrderedDict, k) for k in state):
                raise UnpicklingError("the attributes of an OrderedDict must be a plain dict")
            instance.__dict__.update(state)
            return instance
        if kind in (mg.Tensor, Parameter) and type(state) is dict:
            return _rebuild.set_attributes(instance, state)
        if build_numpy(instance, state):
            return instance
        raise UnpicklingError(f"Weights only load failed. {_shown(kind)} may not be filled from a file")

    def is_registered(self, cls: type) -> bool:
        """See `Rules`."""
        return id(cls) in self.vouched


def _set_state(instance: Any, state: Any) -> Any:
    """What pickle does with BUILD, for classes that the user vouched for."""
    setter = getattr(instance, "__setstate__", None)
    if setter is not None:
        setter(state)
        return instance
    slots = None
    if type(state) is tuple and len(state) == 2:
        state, slots = state
    if state:
        instance.__dict__.update(state)
    for name, value in (slots or {}).items():
        setattr(instance, name, value)
    return instance


def _shown(value: Any) -> str:
    return f"{getattr(value, '__module__', '?')}.{getattr(value, '__qualname__', type(value).__name__)}"
