"""Modules as functions of their parameters: functional_call, stack_module_state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from minigrad import _core
from minigrad.op import functions

Tensor = _core.Tensor


def _slots(module: Any) -> dict[str, list[tuple[dict, str]]]:
    """Where each parameter and buffer hangs: full name -> [(table, key)], one module reached by two names under both."""
    found: dict[str, list[tuple[dict, str]]] = {}
    for prefix, part in module.named_modules(remove_duplicate=False):
        for table in (part._parameters, part._buffers):
            for key, value in table.items():
                if value is not None:
                    found.setdefault(f"{prefix}.{key}" if prefix else key, []).append((table, key))
    return found


def _with_tied(slots: dict, values: dict[str, Tensor]) -> list[tuple[dict, str, Tensor]]:
    """Replacements, with every other name of the same tensor replaced too."""
    names_of: dict[int, list[str]] = {}
    for name, places in slots.items():
        table, key = places[0]
        names_of.setdefault(id(table[key]), []).append(name)
    chosen = dict(values)
    for name, value in values.items():
        table, key = slots[name][0]
        for other in names_of[id(table[key])]:
            if other in values and values[other] is not value:
                raise ValueError(
                    f"functional_call: values for tied parameters {name} and {other} differ. Try passing one of them, or tie_weights=False."
                )
            chosen[other] = value
    return [(table, key, value) for name, value in chosen.items() for table, key in slots[name]]


@contextmanager
def _swapped(module: Any, values: dict[str, Tensor], tie_weights: bool, strict: bool) -> Iterator[None]:
    slots = _slots(module)
    unknown = [name for name in values if name not in slots]
    missing = [name for name in slots if name not in values]
    if strict and (unknown or missing):
        raise RuntimeError(f"functional_call: Unexpected key(s): {unknown}; Missing key(s): {missing}")
    if unknown:
        raise KeyError(f"functional_call: {type(module).__name__} has no parameter or buffer named {unknown}")
    if tie_weights:
        changes = _with_tied(slots, values)
    else:
        changes = [(table, key, value) for name, value in values.items() for table, key in slots[name]]
    saved = [(table, key, table[key]) for table, key, _ in changes]
    try:
        for table, key, value in changes:
            table[key] = value
        yield
    finally:
        for table, key, value in saved:
            table[key] = value


def functional_call(
    module: Any,
    parameter_and_buffer_dicts: dict[str, Tensor] | Sequence[dict[str, Tensor]],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Call a module with other tensors in the place of its parameters and buffers; the module itself stays as it is.

    Args:
        module: the module.
        parameter_and_buffer_dicts: tensors by name, or several such dicts with distinct names. Names left out keep the module's.
        args: positional arguments of the call (a single one needs no tuple).
        kwargs: keyword arguments.
        tie_weights: a value for one name of a shared parameter counts for its other names.
        strict: names must be exactly the module's.
    Returns:
        what the module returns; buffers that it updates in place change in the given dicts.
    Raises:
        KeyError for an unknown name, ValueError for a name given twice.
    Example:
        >>> layer = mg.nn.Linear(1, 1)
        >>> mg.func.functional_call(layer, {"weight": mg.ones(1, 1), "bias": mg.zeros(1)}, mg.ones(1, 1))
        tensor([[1.]])
    """
    if isinstance(parameter_and_buffer_dicts, dict):
        values = parameter_and_buffer_dicts
    elif isinstance(parameter_and_buffer_dicts, Sequence):
        values = {}
        for part in parameter_and_buffer_dicts:
            twice = [name for name in part if name in values]
            if twice:
                raise ValueError(f"{twice[0]} appears in multiple dictionaries; behavior of functional call is ambiguous")
            values.update(part)
    else:
        raise ValueError(
            f"Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got {type(parameter_and_buffer_dicts)}"
        )
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    with _swapped(module, values, tie_weights, strict):
        return module(*args, **(kwargs or {}))


def stack_module_state(models: Sequence[Any]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Parameters and buffers of equal models, stacked along a new first dimension: for vmap over an ensemble.

    Returns:
        (params, buffers) by name; the stacked parameters are leaves that require grad where the models' do.
    Raises:
        RuntimeError for no models, models of different classes or in different training modes.
    """
    if len(models) == 0:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if not (all(m.training for m in models) or all(not m.training for m in models)):
        raise RuntimeError("stack_module_state: Expected all models to have the same training/eval mode.")
    if any(type(m) is not type(models[0]) for m in models):
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    params = {name: _stacked([dict(m.named_parameters())[name] for m in models]) for name, _ in models[0].named_parameters()}
    buffers = {name: _stacked([dict(m.named_buffers())[name] for m in models]) for name, _ in models[0].named_buffers()}
    return params, buffers


def _stacked(tensors: list[Tensor]) -> Tensor:
    needs = {t.requires_grad for t in tensors}
    if len(needs) > 1:
        raise RuntimeError("stack_module_state: Expected each parameter to have the same requires_grad in all models")
    return functions["stack"]([t.detach() for t in tensors]).requires_grad_(needs.pop())
