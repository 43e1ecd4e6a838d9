"""The registry: every op is declared once, with `op()` or `composite()`, in minigrad/ops/<family>.py.

`op()` hands the schema, the meta family and the gradient formulas to the C++ core and makes the function (`mg.sum`), the method
(`x.sum`) and the in-place twin (`x.relu_`). `composite()` does the same for a plain Python function made of other ops. Tests, docs and
benchmarks loop over `registry`; nobody keeps a second list.

    python -m minigrad.op sigmoid      # the op's card: schema, doc, formulas, where it lives, how to test and time it
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any

from minigrad import _core

Tensor = _core.Tensor

if sys.argv[:1] == ["-m"]:  # `python -m minigrad.op` runs this file a second time as __main__, on purpose (see main)
    import warnings

    warnings.filterwarnings("ignore", message="'minigrad.op' found in sys.modules")


class ArgInfo:
    """One argument of a schema: name, kind, optional, keyword_only, mutated, variadic, has_default, default."""

    __slots__ = ("name", "kind", "optional", "keyword_only", "mutated", "variadic", "has_default", "default")

    def __init__(self, *fields: Any) -> None:
        for slot, value in zip(self.__slots__, fields):
            setattr(self, slot, value)

    def __repr__(self) -> str:
        text = self.name + ("!" if self.mutated else "")
        text += "" if self.kind == "tensor" else f": {self.kind}"
        return text + ("?" if self.optional else "") + (f" = {self.default!r}" if self.has_default else "")


class OpInfo:
    """Everything declared about one op; see `op()` for the fields."""

    def __init__(self, name: str, **fields: Any) -> None:
        self.name = self.public = name
        self.schema = ""
        self.doc = ""
        self.meta: str | None = None
        self.args: list[ArgInfo] = []
        self.outputs: list[str] = []
        self.pointwise = self.composite = self.view = self.method = self.inplace = False
        self.expr: Callable | None = None
        self.ref: Callable | str | None = None
        self.samples: Any = None
        self.flops: Callable | None = None
        self.formulas: dict[str, Callable] = {}
        self.grads: Callable | None = None
        self.fast_grads: Callable | None = None
        self.nondiff: tuple[str, ...] = ()
        self.recompute = False
        self.namespace: tuple[str, ...] = ()
        self.aliases: tuple[str, ...] = ()
        self.function: Callable[..., Any] = None  # type: ignore[assignment]
        self.info: dict[str, Any] = {}
        self.where = ""
        self.__dict__.update(fields)

    @property
    def differentiable(self) -> bool:
        """True when some argument has a gradient formula (composites: decided by their parts)."""
        return self.composite or bool(self.formulas) or self.grads is not None

    def __repr__(self) -> str:
        return f"<OpInfo {self.schema or self.name}>"


registry: dict[str, OpInfo] = {}
functions: dict[str, Callable[..., Any]] = {}  # every op by name, internal ones too
inplace_functions: dict[str, Callable[..., Any]] = {}  # the twins of those that have one
namespaces: dict[str, dict[str, Callable[..., Any]]] = {"": {}, "nn.functional": {}, "linalg": {}, "special": {}}


# What composites and formulas may ask inside function transforms (minigrad.func), where a tensor stands for a batch without a value.
is_dataless = _core.is_dataless  # does it?
is_batch = _core.is_batch  # and do ops on it go to rules? Not while the compiler traces: it notes any op as it is
all_values = _core.all_values  # its elements in all slices, for checks that only raise; an ordinary tensor as it is
take_geometry = _core.take_geometry  # x.t_() and its like: x takes the geometry of its view
resize_tensor = _core.resize_tensor
fresh_variable = _core.func_variable  # the same values as a tensor to differentiate by; outer levels keep their history
inner_needs_grad = _core.inner_needs_grad  # is a gradient wanted from outside of the innermost vmap?


def batched_as(made: Tensor, value: Any) -> Tensor:
    """`made` as a tensor that `value` can be written into: a batch when `value` is one."""
    return _core.spread_like(made, value) if is_dataless(value) else made


def _caller() -> str:
    frame = sys._getframe(2)
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _publish(info: OpInfo, name: str, function: Callable, method: Callable | None) -> None:
    for space in info.namespace:
        namespaces.setdefault(space, {})[name] = function
    if method is not None:
        setattr(Tensor, name, method)


def op(
    schema: str,
    *,
    meta: str,
    expr: Callable | None = None,
    ref: Callable | str | None = None,
    doc: str = "",
    namespace: str | Iterable[str] | None = "",
    method: bool | None = None,
    inplace: bool | None = None,
    view: bool = False,
    nondiff: tuple[str, ...] = (),
    grads: Callable | None = None,
    fast_grads: Callable | None = None,
    flops: Callable | None = None,
    samples: Any = None,
    aliases: tuple[str, ...] = (),
    can_fail: bool = False,
    holomorphic: bool = True,
    exact_out: bool = False,
    separate_out: bool = False,
    recompute: bool = False,
    **extra: Any,
) -> Callable[..., Any]:
    """Declare an op with its own kernel and return its function.

    Args:
        schema: `name(input, other: operand, *, alpha: scalar = 1) -> out`; the grammar is in csrc/core/schema.h.
        meta: family of shape and dtype rules (csrc/core/meta_*.cpp); the pointwise families need one line in csrc/scalar.h.
        expr: scalar expression of a pointwise op (NumPy reference and compiler backends derive from it).
        ref: float64 NumPy reference where there is no expr.
        d<argument>: gradient formula of that argument; parameter names are the save list (DESIGN 2.2).
        grads, fast_grads: joint formula for all tensor arguments; fast_grads is used when no graph of the gradient is wanted.
        namespace: "" = `mg.` and method, "nn.functional", …, a tuple of them, or None for internal ops.
        inplace: make the `name_` twin (default: pointwise ops with a method).
        can_fail: the kernel may raise half-way (integer division by zero), so in-place forms go through a temporary.
        holomorphic: for complex outputs the formulas are those of real numbers and the engine evaluates conj(f(conj(g))); False:
            the formulas are written for complex g themselves (abs, sgn, eigenvectors ...). Formulas that save no tensor get g as it is.
        exact_out: out= must have the result's dtype (products, gathers); others cast into it.
        separate_out: out= may not share memory with an argument; elsewhere a shared out= gets the result by way of a copy.
        recompute: layers behind this op remember how to compute its large results again instead of keeping them: for cheap,
            deterministic ops of one argument whose own gradient keeps that argument (csrc/autograd/recompute.h).
        extra: anything else is kept in `info` (skip reasons, tolerances, …).
    Returns:
        the function.
    """
    formulas = {k[1:]: v for k, v in extra.items() if k.startswith("d") and callable(v) and k not in ("doc",)}
    for name in formulas:
        del extra["d" + name]
    name, args, outputs, pointwise = _core.register_op(
        schema, meta, formulas, grads, fast_grads, view, list(nondiff), can_fail, holomorphic, exact_out, separate_out, recompute
    )
    spaces = () if namespace is None else (namespace,) if isinstance(namespace, str) else tuple(namespace)
    method = "" in spaces if method is None else method
    mutates = any(a[4] for a in args)
    inplace = (pointwise and method) if inplace is None else inplace
    info = OpInfo(
        name, schema=schema, doc=doc, meta=meta, args=[ArgInfo(*a) for a in args], outputs=outputs, pointwise=pointwise,
        view=view, method=method, inplace=inplace, expr=expr, ref=ref, samples=samples, flops=flops, formulas=formulas,
        grads=grads, fast_grads=fast_grads, nondiff=nondiff, recompute=recompute, namespace=spaces, aliases=aliases, info=extra,
        where=_caller(),
    )  # fmt: skip
    info.function = functions[name] = _core.op_function(name, False, False)
    info.function.__doc__ = doc
    registry[name] = info
    as_method = _core.op_function(name, False, True) if method else None
    if as_method is not None:
        as_method.__doc__ = doc
    for public in (name, *aliases):
        _publish(info, public, info.function, as_method)
        if inplace and not mutates:
            twin = inplace_functions.setdefault(name, _core.op_function(name, True, False))
            _publish(info, public + "_", twin, _core.op_function(name, True, True))
    return info.function


def composite(
    namespace: str | Iterable[str] = "",
    *,
    method: bool | None = None,
    inplace: bool = False,
    aliases: tuple[str, ...] = (),
    samples: Any = None,
    ref: Callable | str | None = None,
    name: str | None = None,
    public: str | None = None,
    out: bool = False,
    separate_out: bool = False,
    **extra: Any,
) -> Callable[[Callable], Callable]:
    """Register a Python function made of other ops; the arguments mean what they mean in `op()`.

    `public` is its name for users where the registry needs another one (linalg.norm and norm); `out=True` adds an `out=` form,
    which with `separate_out` refuses tensors that share memory with an argument.
    """

    def register(function: Callable) -> Callable:
        spaces = (namespace,) if isinstance(namespace, str) else tuple(namespace)
        label = name or function.__name__
        function = _with_out(function, public or label, separate_out) if out else function
        is_method = "" in spaces if method is None else method
        info = OpInfo(
            label, doc=function.__doc__ or "", composite=True, namespace=spaces, method=is_method, inplace=inplace,
            samples=samples, ref=ref, aliases=aliases, info=extra, where=_caller(), function=function, public=public or label,
        )  # fmt: skip
        registry[label] = info
        functions[label] = function
        for known in (info.public, *aliases):
            _publish(info, known, function, function if is_method else None)
            if inplace:
                twin = _inplace_twin(function, known)
                _publish(info, known + "_", twin, twin)
        return function

    return register


def _with_out(function: Callable, name: str, separate: bool = False) -> Callable:
    """The function with `out=`: a tensor, or one tensor per result, to write into and return."""
    import functools

    @functools.wraps(function)
    def form(*args: Any, out: Any = None, **kwargs: Any) -> Any:
        if out is None:
            return function(*args, **kwargs)
        from minigrad.ops.shared.check import expect_apart, into

        for target in ((out,) if isinstance(out, Tensor) else out) if separate else ():
            expect_apart(name, target, *args, *kwargs.values())
        result = function(*args, **kwargs)
        if isinstance(result, Tensor):
            return into(name, result, out)
        if len(out) != len(result):
            raise RuntimeError(f"{name}: out= must hold one tensor per result: got {len(out)}, expected {len(result)}")
        for part, target in zip(result, out):
            if part.dtype != target.dtype:
                raise RuntimeError(f"{name}: expected out= of dtype {part.dtype}: got {target.dtype}. Try .to() on the result.")
        written = [into(name, part, target) for part, target in zip(result, out)]
        return type(result)(*written) if hasattr(result, "_fields") else tuple(written)

    return form


def _inplace_twin(function: Callable, name: str) -> Callable:
    def twin(input: Any, *args: Any, **kwargs: Any) -> Any:
        # Formulas may have saved the input, which copy_ is about to overwrite: they get a copy of their own.
        needs = input.requires_grad or any(isinstance(a, Tensor) and a.requires_grad for a in (*args, *kwargs.values()))
        source = input.clone() if needs and _core.is_grad_enabled() else input
        result = function(source, *args, **kwargs)
        if not _core.can_cast(result.dtype, input.dtype):
            raise RuntimeError(f"{name}_: result type {result.dtype} can't be cast to the desired output type {input.dtype}")
        if result.shape != input.shape:
            raise RuntimeError(
                f"{name}_: output with shape {tuple(input.shape)} doesn't match the broadcast shape {tuple(result.shape)}"
            )
        return input.copy_(result)

    twin.__name__ = twin.__qualname__ = name + "_"
    twin.__doc__ = f"In-place form of `{name}`."
    return twin


def function_by_name(name: str, inplace: int = 0) -> Callable:
    """The function of a registered op (pickling of op functions goes through here)."""
    return inplace_functions[name] if inplace else functions[name]


def known_as(module: str, table: dict[str, Any]) -> None:
    """Tell made functions of `table`, the names of `module`, where a pickle finds them: not in the file that made them."""
    for name, function in table.items():
        function = getattr(function, "function", function)  # of one that asks for `__torch_function__` first
        if isinstance(function, FunctionType):
            home = sys.modules[function.__module__]
            if getattr(home, function.__qualname__, None) is not function and not home.__name__ == module:
                function.__module__, function.__qualname__ = module, name


def signature_of(name: str, method: bool = False) -> Any:
    """`inspect.Signature` of an op's function, from its schema; of its method with the first argument called self."""
    import inspect

    parameters = []
    for a in registry[name].args:
        kind = inspect.Parameter.KEYWORD_ONLY if a.keyword_only else inspect.Parameter.POSITIONAL_OR_KEYWORD
        if a.variadic and not any(b.name != a.name and not b.keyword_only for b in registry[name].args[1:]):
            kind = inspect.Parameter.VAR_POSITIONAL
        default = a.default if a.has_default else None if a.optional else inspect.Parameter.empty
        default = inspect.Parameter.empty if kind is inspect.Parameter.VAR_POSITIONAL else default
        if default is inspect.Parameter.empty and kind is kind.POSITIONAL_OR_KEYWORD and any(
            p.default is not p.empty for p in parameters
        ):
            default = None  # the core fills it in: a schema may have a required argument after an optional one
        label = "self" if method and not parameters else "from_" if a.name == "from" else a.name  # a keyword cannot be a name
        parameters.append(inspect.Parameter(label, kind, default=default))
    return inspect.Signature(parameters)


def card(name: str) -> str:
    """The op's card as text: schema, doc, formulas, where it is declared, kernels, how to test and time it."""
    import inspect

    if name not in registry:
        import difflib

        near = difflib.get_close_matches(name, registry, n=5)
        raise KeyError(f"no op named '{name}'" + (f"; did you mean {', '.join(near)}?" if near else ""))
    info = registry[name]
    tier = "composite" if info.composite else "pointwise" if info.pointwise else "view" if info.view else "structured"
    lines = [info.schema or f"{name}{inspect.signature(info.function)}", "", inspect.cleandoc(info.doc), "", f"tier        {tier}"]
    if not info.composite:
        lines.append(f"meta        {info.meta}")
        lines.append(f"kernels     {', '.join(_core.op_kernels(name)) or 'none (view)'}")
        native = " (with a native twin)" if _core.has_native_formula(name) else ""
        given = ", ".join(info.formulas) or ("joint" if info.grads else "none")
        lines.append(f"gradients   {given}{native}")
    lines.append(f"declared    {info.where}")
    lines.append(f"test        pytest tests/test_ops.py -k '{name}'")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Entry point of `python -m minigrad.op`."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m minigrad.op", description="Show the card of an op, or list all ops.")
    parser.add_argument("name", nargs="?", help="op name, e.g. sigmoid; omit to list all")
    name = parser.parse_args(argv).name
    import minigrad  # noqa: F401  fills the registry of the imported module, not of __main__
    from minigrad import op as module

    if name is None:
        for info in sorted(module.registry.values(), key=lambda i: i.name):
            print(f"{info.name:28}", info.schema or "composite")
        return 0
    try:
        print(module.card(name))
    except KeyError as error:
        print(error.args[0], file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
