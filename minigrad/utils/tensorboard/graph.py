"""The graph of a model for TensorBoard (tensorflow's graph.proto), from the history of one forward pass.

Every node of the autograd graph becomes a node, in the scope of the innermost module whose call made it: what leads to the
arguments of a module and is in no scope yet was made by the module around it, what leads to its outputs by itself.
Parameters and inputs are the leaves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import minigrad as mg

from . import proto


def _tensors(value: Any) -> Iterator[mg.Tensor]:
    if isinstance(value, mg.Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


def _claim(outputs: Any, scope: str, scopes: dict[Any, str]) -> None:
    """Put everything that leads to these tensors, and has no scope yet, into `scope`."""
    open_nodes = [t.grad_fn for t in _tensors(outputs) if t.grad_fn is not None]
    while open_nodes:
        node = open_nodes.pop()
        if node is None or node in scopes:
            continue
        scopes[node] = scope
        open_nodes.extend(following for following, _ in node.next_functions)


def _node(name: str, op: str, inputs: list[str], shape: tuple[int, ...] | None = None) -> bytes:
    out = proto.block(1, name) + proto.block(2, op) + b"".join(proto.block(3, source) for source in inputs)
    if shape is not None:
        dims = b"".join(proto.block(2, proto.number(1, n)) for n in shape)
        shapes = proto.block(1, proto.block(7, dims))  # AttrValue.list of one shape
        out += proto.block(5, proto.block(1, "_output_shapes") + proto.block(2, shapes))
    return proto.block(1, out)


def graph_of(model: Any, inputs: Any) -> bytes:
    """tensorflow.GraphDef of a module called with `inputs` (a tensor, or a tuple of arguments).

    The call runs in the mode the model is in, on copies of the inputs; what leads to no output that needs a gradient is not seen.
    """
    arguments = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    arguments = tuple(
        a.detach().clone().requires_grad_(a.is_floating_point()) if isinstance(a, mg.Tensor) else a for a in arguments
    )  # fmt: skip
    scopes: dict[Any, str] = {}
    root = type(model).__name__
    stack, handles = [root], []

    def enter(scope: str) -> Any:
        def hook(module: Any, args: Any) -> None:
            _claim(args, stack[-1], scopes)
            stack.append(scope)

        return hook

    def leave(module: Any, args: Any, output: Any) -> None:
        _claim(output, stack.pop(), scopes)

    for path, module in model.named_modules():
        scope = "/".join([root, *path.split(".")]) if path else root
        handles += [module.register_forward_pre_hook(enter(scope)), module.register_forward_hook(leave)]
    try:
        with mg.enable_grad():
            outputs = model(*arguments)
    finally:
        for handle in handles:
            handle.remove()
    leaves = {id(p): (f"{root}/{name.replace('.', '/')}", "Parameter") for name, p in model.named_parameters()}
    leaves.update({id(a): (f"input/{k}", "IO Node") for k, a in enumerate(arguments) if isinstance(a, mg.Tensor)})
    return _encode(scopes, leaves, outputs)


def _encode(scopes: dict[Any, str], leaves: dict[int, tuple[str, str]], outputs: Any) -> bytes:
    names: dict[Any, str] = {}
    kinds: dict[Any, str] = {}
    used: Counter[str] = Counter()
    for node, scope in scopes.items():
        variable = getattr(node, "variable", None)
        name, kind = leaves.get(id(variable), (f"{scope}/{node.name().removesuffix('0').removesuffix('Backward')}", ""))
        used[name] += 1
        names[node] = name if used[name] == 1 else f"{name}_{used[name] - 1}"
        kinds[node] = kind or node.name().removesuffix("0").removesuffix("Backward")
    parts = []
    for node, name in names.items():
        sources = [names[following] for following, _ in node.next_functions if following is not None]
        variable = getattr(node, "variable", None)
        parts.append(_node(name, kinds[node], sources, None if variable is None else tuple(variable.shape)))
    for k, tensor in enumerate(_tensors(outputs)):
        source = [names[tensor.grad_fn]] if tensor.grad_fn is not None else []
        parts.append(_node(f"output/{k}", "IO Node", source, tuple(tensor.shape)))
    return b"".join(parts) + proto.block(4, proto.number(1, 22))  # versions.producer
