"""torch.library: custom ops as Python functions. `minigrad.ops.<namespace>.<name>` (torch.ops) finds them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from minigrad import _core

__all__ = ["CustomOpDef", "Library", "custom_op", "define", "fallthrough_kernel", "get_ctx", "get_kernel", "impl",
           "impl_abstract", "infer_schema",
           "opcheck", "register_autocast", "register_autograd", "register_fake", "register_kernel", "register_torch_dispatch",
           "register_vmap", "triton_op", "wrap_triton"]  # fmt: skip

_ops: dict[str, CustomOpDef] = {}


class CustomOpDef:
    """A custom op: calls the kernel for the device (or the only one), with the registered backward recorded."""

    def __init__(
        self, qualname: str, fn: Callable | None = None, schema: str | None = None, mutates_args: Any = ()
    ) -> None:
        self._qualname, self.schema, self.mutates_args = qualname, schema, mutates_args
        self._namespace, _, self._name = qualname.partition("::")
        self.kernels: dict[str, Callable] = {} if fn is None else {"default": fn}
        self._backward: Callable | None = None
        self._setup: Callable | None = None
        self._fake: Callable | None = None
        if fn is not None:
            functools.update_wrapper(self, fn)

    def _kernel(self, device: str = "cpu") -> Callable:
        if device == "meta" and self._fake is not None:
            return self._fake
        for key in ("CompositeImplicitAutograd", device, "default", "CompositeExplicitAutograd"):
            if key in self.kernels:
                return self.kernels[key]
        raise NotImplementedError(f"{self._qualname}: no kernel for {device}; has {', '.join(self.kernels) or 'none'}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        kernel = self._kernel(_device_of((*args, *kwargs.values())))
        wants = _core.is_grad_enabled() and any(
            isinstance(a, _core.Tensor) and a.requires_grad for a in (*args, *kwargs.values())
        )
        if not wants or self._backward is None:
            return kernel(*args, **kwargs)
        return self._differentiable(kernel, args, kwargs)

    def _differentiable(self, kernel: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
        from minigrad.autograd import Function

        definition = self

        class Op(Function):
            @staticmethod
            def forward(ctx: Any, *inputs: Any) -> Any:
                output = kernel(*inputs, **kwargs)
                if definition._setup is not None:
                    definition._setup(ctx, inputs, output, **({"keyword_only_inputs": kwargs} if kwargs else {}))
                return output

            @staticmethod
            def backward(ctx: Any, *grads: Any) -> Any:
                return definition._backward(ctx, *grads)

        return Op.apply(*args)

    def register_autograd(self, backward: Callable, /, *, setup_context: Callable | None = None) -> None:
        """Give the op a backward: `backward(ctx, *grads)`, after `setup_context(ctx, inputs, output)` in the forward."""
        self._backward, self._setup = backward, setup_context

    def register_kernel(self, device_types: Any = None, fn: Callable | None = None, /) -> Any:
        """Add the kernel of a device type; also a decorator."""

        def register(function: Callable) -> Callable:
            for kind in [device_types] if isinstance(device_types, str) or device_types is None else device_types:
                self.kernels[kind or "default"] = function
            return function

        return register if fn is None else register(fn)

    def register_fake(self, fn: Callable, /) -> Callable:
        """Remember the shape function; eager code does not call it."""
        self._fake = fn
        return fn

    def register_vmap(self, func: Callable | None = None) -> Any:
        """Remembered for nobody: vmap runs the op's parts."""
        return func if func is not None else lambda f: f

    def register_autocast(self, device_type: str, cast_inputs: Any) -> None:
        """Not here.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("library.register_autocast")

    @property
    def default(self) -> CustomOpDef:
        """The overload programs call as `torch.ops.ns.name.default`."""
        return self

    def __repr__(self) -> str:
        return f"<CustomOpDef({self._qualname})>"


def _device_of(values: tuple) -> str:
    """The device type of the first tensor, also in lists; that of any CUDA tensor comes first."""
    found = [t.device.type for v in values for t in (v if isinstance(v, (list, tuple)) else (v,)) if isinstance(t, _core.Tensor)]
    return "cuda" if "cuda" in found else found[0] if found else "cpu"


def custom_op(name: str, fn: Callable | None = None, /, *, mutates_args: Any, device_types: Any = None, schema: str | None = None,
              tags: Any = None) -> Any:  # fmt: skip
    """Decorator: the function becomes the op `namespace::name`.

    Raises:
        ValueError: the name has no namespace.
    """
    if "::" not in name:
        raise ValueError(f"custom_op: got name {name!r}, expected 'namespace::name'")

    def make(function: Callable) -> CustomOpDef:
        definition = _ops[name] = CustomOpDef(name, None if device_types else function, schema, mutates_args)
        if device_types:
            functools.update_wrapper(definition, function)
            definition.register_kernel(device_types, function)
        return definition

    return make if fn is None else make(fn)


def triton_op(name: str, fn: Callable | None = None, /, *, mutates_args: Any = (), schema: str | None = None) -> Any:
    """`custom_op`."""
    return custom_op(name, fn, mutates_args=mutates_args, schema=schema)


def wrap_triton(triton_kernel: Any, /) -> Any:
    """The kernel, ready for `wrapped[grid](tensor, n, BLOCK=128)` on minigrad tensors (docs/kernels.md)."""
    from minigrad.kernels._launch import Wrapped

    return Wrapped(triton_kernel)


def _get(op: Any, lib: Any = None) -> CustomOpDef:
    if isinstance(op, CustomOpDef):
        return op
    name = str(op).split(".")[0]
    return _ops.setdefault(name, CustomOpDef(name))


def define(qualname: str, schema: str, *, lib: Any = None, tags: Any = ()) -> None:
    """Declare an op by its schema; `impl` gives it a kernel."""
    _ops.setdefault(qualname, CustomOpDef(qualname, schema=schema))


def impl(qualname: Any, types: Any = "default", func: Callable | None = None, *, lib: Any = None) -> Any:
    """Add a kernel for device types; also a decorator."""
    return _get(qualname).register_kernel(types, *(() if func is None else (func,)))


register_kernel = impl


def register_fake(
    op: Any, func: Callable | None = None, /, *, lib: Any = None, _stacklevel: int = 1, allow_override: bool = False
) -> Any:
    """Remember an op's shape function; also a decorator."""
    return _get(op).register_fake(func) if func is not None else _get(op).register_fake


impl_abstract = register_fake


def register_autograd(
    op: Any, backward: Callable, /, *, setup_context: Callable | None = None, lib: Any = None
) -> None:
    """Give an op a backward; see CustomOpDef.register_autograd."""
    _get(op).register_autograd(backward, setup_context=setup_context)


def register_vmap(op: Any, func: Callable | None = None, /, *, lib: Any = None) -> Any:
    """Remembered for nobody; also a decorator."""
    return _get(op).register_vmap(func)


def register_autocast(op: Any, device_type: str, cast_inputs: Any, /, *, lib: Any = None) -> None:
    """Not here: raises NotImplementedError."""
    raise NotImplementedError("library.register_autocast")


def register_torch_dispatch(
    op: Any, torch_dispatch_class: Any, func: Callable | None = None, /, *, lib: Any = None, **kwargs: Any
) -> Any:
    """Remembered for nobody: there are no dispatch modes; also a decorator."""
    return func if func is not None else lambda f: f


def infer_schema(prototype_function: Callable, /, *, mutates_args: Any, op_name: str | None = None) -> str:
    """The function's Python signature, as text."""
    import inspect

    return (op_name or "") + str(inspect.signature(prototype_function))


def opcheck(op: Any, args: tuple, kwargs: dict | None = None, **options: Any) -> dict[str, str]:
    """Call the op once."""
    op(*args, **(kwargs or {}))
    return {"test_schema": "SUCCESS"}


def get_ctx() -> Any:
    """Not here: raises NotImplementedError (no symbolic shapes)."""
    raise NotImplementedError("library.get_ctx: minigrad has no symbolic shapes")


def get_kernel(op: Any, dispatch_key: Any) -> Callable:
    """The op's kernel."""
    return _get(op)._kernel()


def fallthrough_kernel(*args: Any, **kwargs: Any) -> Any:
    """Not to be called: raises NotImplementedError."""
    raise NotImplementedError("fallthrough_kernel() should never be called.")


class Library:
    """A namespace of ops: `define("name(Tensor x) -> Tensor")`, then `impl("name", function, "CPU")`."""

    def __init__(self, ns: str, kind: str, dispatch_key: str = "") -> None:
        self.ns, self.kind, self.dispatch_key = ns, kind, dispatch_key

    def define(self, schema: str, alias_analysis: str = "", *, tags: Any = ()) -> str:
        """Declare an op; its name."""
        name = schema.split("(")[0].split(".")[0].strip()
        define(f"{self.ns}::{name}", schema)
        return name

    def impl(
        self,
        op_name: Any,
        fn: Callable,
        dispatch_key: str = "",
        *,
        with_keyset: bool = False,
        allow_override: bool = False,
    ) -> None:
        """Give an op a kernel. Only CPU and composite keys are ever called."""
        name = op_name if isinstance(op_name, str) else op_name._name
        key = dispatch_key or self.dispatch_key or "default"
        _get(f"{self.ns}::{name.split('::')[-1].split('.')[0]}").kernels[
            {"CPU": "cpu", "CUDA": "cuda"}.get(key, key)
        ] = fn

    def fallback(self, fn: Callable, dispatch_key: str = "", *, with_keyset: bool = False) -> None:
        """Remembered for nobody."""

    def _destroy(self) -> None:
        for name in [n for n in _ops if n.startswith(self.ns + "::")]:
            del _ops[name]


class OpNamespace:
    """`torch.ops.<namespace>`: attributes are its custom ops; in `aten` also minigrad's own functions, with `.default`."""

    def __init__(self, name: str) -> None:
        self._space = name

    def __getattr__(self, name: str) -> Any:
        found = _ops.get(f"{self._space}::{name}")
        if found is None and self._space in ("aten", "prims") and not name.startswith("__"):
            return _overloads(self._space, name)
        if found is None:
            raise AttributeError(f"'_OpNamespace' '{self._space}' object has no attribute '{name}'")
        return found


@functools.cache
def _overloads(space: str, name: str) -> _Overloads:
    from minigrad.op import functions

    return _Overloads(f"{space}.{name}", functions.get(name))


def load_library(path: str) -> None:
    """`torch.ops.load_library`: a compiled extension of libtorch cannot be loaded, but torchvision's ops have stand-ins here.

    Raises:
        OSError: for every other library, as for one whose dependencies are missing.
    """
    folder, _, name = str(path).replace("\\", "/").rpartition("/")
    if folder.endswith("torchvision") and name.startswith("_C."):
        from minigrad.compat._torchvision_ops import register

        return register()
    raise OSError(f"{path}: extensions of libtorch cannot be used with minigrad")


class _Overloads:
    """torch.ops.aten.<name>: every overload is the same function of ours; one we have not can be named, and raises when called."""

    def __init__(self, name: str, function: Callable | None) -> None:
        self._name, self._function = name, function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._function is None:
            raise NotImplementedError(f"torch.ops.{self._name} is not in minigrad")
        return self._function(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self
