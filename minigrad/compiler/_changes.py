"""Places of Python's state (_reach.py finds them), before a trace and after it: what changed, in words, and how it is put back."""

from __future__ import annotations

from typing import Any

from minigrad import _core

PLAIN = (int, float, complex, str, bytes, type(None), range, slice, type(Ellipsis), _core.dtype, _core.device)
MISSING = object()


def is_plain(value: Any) -> bool:
    """Numbers, strings and what is compared like them."""
    return isinstance(value, PLAIN) or (type(value) is tuple and all(is_plain(v) for v in value))


def shown(value: Any) -> str:
    """A value in a few words."""
    return "nothing" if value is MISSING else _core.in_words(value)


class Node:
    """A place of state; `before` is what it held when it was first seen."""

    __slots__ = ("kind", "thing", "before", "label", "edges")

    def __init__(self, kind: str, thing: Any, before: Any, label: str) -> None:
        self.kind, self.thing, self.before, self.label = kind, thing, before, label
        self.edges: list[tuple[str | None, Node]] = []


def state_of(value: Any) -> dict[str, Any]:
    """Attributes and slots of an object."""
    state = dict(getattr(value, "__dict__", None) or {})
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__"):
                state[name] = getattr(value, name, MISSING)
    return state


def content(cell: Any) -> Any:
    """What a closure cell holds."""
    try:
        return cell.cell_contents
    except ValueError:  # still empty
        return MISSING



def changes(nodes: Any, put_back: bool) -> list[str]:
    """What is no longer as it was, in words; `put_back`: and is so again afterwards."""
    found: list[str] = []
    for node in nodes:
        now = _now(node)
        if now is None or _same(node.before, now):
            continue
        found += _differences(node, now)
        if put_back:
            _restore(node, now)
    return found


def _now(node: Node) -> Any:
    kind, thing = node.kind, node.thing
    if kind in ("contents", "table"):
        return dict(thing) if isinstance(thing, dict) else list(thing)
    if kind == "module":
        return thing.__dict__
    if kind == "object":
        return state_of(thing)
    if kind == "attributes":
        return dict(thing)
    if kind in ("globals", "python"):
        return {name: thing.get(name, MISSING) for name in node.before}
    if kind == "class":
        return dict(vars(thing))
    if kind == "cell":
        return content(thing)
    return thing.cache_info().currsize if kind == "cached" else None


def _same(before: Any, now: Any) -> bool:
    if isinstance(before, dict):
        return len(before) == len(now) and all(_equal(v, now.get(k, MISSING)) for k, v in before.items())
    if isinstance(before, list):
        return len(before) == len(now) and all(_equal(a, b) for a, b in zip(before, now))
    return _equal(before, now)


def _equal(a: Any, b: Any) -> bool:
    return a is b or _core.same_value(a, b)


def _differences(node: Node, now: Any) -> list[str]:
    if node.kind == "cell":
        return [f"{node.label} changed from {shown(node.before)} to {shown(now)}"]
    if node.kind == "cached":
        return [f"{node.label}() put a result into its cache"]
    if isinstance(node.before, list):
        if len(node.before) != len(now):
            return [f"{node.label} had {len(node.before)} entries and now has {len(now)}"]
        pairs = enumerate(zip(node.before, now))
        return [f"{node.label}[{k}] changed from {shown(a)} to {shown(b)}" for k, (a, b) in pairs if not _equal(a, b)]
    label = "{}[{!r}]" if node.kind == "contents" else "{1}" if node.kind == "globals" else "{}.{}"
    keys = [*node.before, *(k for k in now if k not in node.before)]
    pairs = ((k, node.before.get(k, MISSING), now.get(k, MISSING)) for k in keys)
    return [f"{label.format(node.label, k)} changed from {shown(a)} to {shown(b)}" for k, a, b in pairs if not _equal(a, b)]


def _restore(node: Node, now: Any) -> None:
    kind, thing, before = node.kind, node.thing, node.before
    if kind == "cell":
        if before is MISSING:
            del thing.cell_contents
        else:
            thing.cell_contents = before
    elif kind == "cached":
        thing.cache_clear()
    elif kind in ("contents", "table"):
        thing.clear()
        thing.update(before) if isinstance(thing, (dict, set)) else thing.extend(before)
    elif kind in ("class", "object"):
        put, drop = (type.__setattr__, type.__delattr__) if kind == "class" else (object.__setattr__, object.__delattr__)
        for name in {*before, *now}:
            value = before.get(name, MISSING)
            if value is now.get(name, MISSING):
                continue
            drop(thing, name) if value is MISSING else put(thing, name, value)
    else:
        space = thing.__dict__ if kind == "module" else thing
        for name in {*before, *now}:
            value = before.get(name, MISSING)
            if value is MISSING:
                space.pop(name, None)
            else:
                space[name] = value
