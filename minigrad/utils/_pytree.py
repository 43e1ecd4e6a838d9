"""torch.utils._pytree: nested containers as a list of leaves and a spec. Classes can be registered as containers."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["LeafSpec", "PyTree", "TreeSpec", "register_constant", "register_dataclass", "register_pytree_node",
           "tree_all", "tree_any", "tree_flatten",
           "tree_flatten_with_path", "tree_iter", "tree_leaves", "tree_map", "tree_map_", "tree_map_only", "tree_map_only_",
           "tree_map_with_path", "tree_structure", "tree_unflatten"]  # fmt: skip

PyTree = Any


class NodeDef(NamedTuple):
    """How to take a container apart and put it together."""

    flatten_fn: Callable[[Any], tuple[list, Any]]
    unflatten_fn: Callable[[Any, Any], Any]


class TreeSpec:
    """Structure of a tree: type and context of the container, and the specs of its children."""

    def __init__(self, type: Any, context: Any, children_specs: list[TreeSpec]) -> None:
        self.type, self.context, self.children_specs = type, context, children_specs
        self.num_children = len(children_specs)
        self.num_leaves = sum(c.num_leaves for c in children_specs)
        self.num_nodes = 1 + sum(c.num_nodes for c in children_specs)

    def is_leaf(self) -> bool:
        """Whether it is a single leaf."""
        return self.type is None

    def child(self, index: int) -> TreeSpec:
        """The spec of a child."""
        return self.children_specs[index]

    def unflatten(self, leaves: Any) -> Any:
        """The tree with these leaves."""
        return tree_unflatten(leaves, self)

    def flatten_up_to(self, tree: Any) -> list:
        """The subtrees of `tree` where this spec has leaves."""
        if self.is_leaf():
            return [tree]
        node = _node(tree)
        if node is None or type(tree) is not self.type:
            raise ValueError(f"flatten_up_to: got {type(tree).__name__}, expected {self.type}")
        children, _ = node.flatten_fn(tree)
        return [leaf for spec, child in zip(self.children_specs, children) for leaf in spec.flatten_up_to(child)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TreeSpec) and (self.type, self.context, self.children_specs) == (
            other.type,
            other.context,
            other.children_specs,
        )

    def __hash__(self) -> int:
        return hash((self.type, self.num_leaves))

    def __repr__(self) -> str:
        return "*" if self.is_leaf() else f"TreeSpec({self.type.__name__}, {self.context}, {self.children_specs})"


class LeafSpec(TreeSpec):
    """The spec of a leaf."""

    def __init__(self) -> None:
        super().__init__(None, None, [])
        self.num_leaves = 1


def _dict_flatten(tree: dict) -> tuple[list, Any]:
    return list(tree.values()), list(tree.keys())


def _defaultdict_flatten(tree: defaultdict) -> tuple[list, Any]:
    return list(tree.values()), [tree.default_factory, list(tree.keys())]


SUPPORTED_NODES: dict[type, NodeDef] = {
    tuple: NodeDef(lambda t: (list(t), None), lambda c, _: tuple(c)),
    list: NodeDef(lambda t: (t, None), lambda c, _: list(c)),
    dict: NodeDef(_dict_flatten, lambda c, keys: dict(zip(keys, c))),
    OrderedDict: NodeDef(_dict_flatten, lambda c, keys: OrderedDict(zip(keys, c))),
    defaultdict: NodeDef(_defaultdict_flatten, lambda c, context: defaultdict(context[0], zip(context[1], c))),
    deque: NodeDef(lambda d: (list(d), d.maxlen), lambda c, maxlen: deque(c, maxlen=maxlen)),
    namedtuple: NodeDef(lambda t: (list(t), type(t)), lambda c, kind: kind(*c)),
}


def is_namedtuple_class(cls: type) -> bool:
    """Whether the class is a named tuple's."""
    return isinstance(cls, type) and issubclass(cls, tuple) and hasattr(cls, "_fields")


def is_namedtuple_instance(tree: Any) -> bool:
    """Whether it is a named tuple."""
    return _is_namedtuple(tree)


is_namedtuple = is_namedtuple_instance


def is_structseq_class(cls: type) -> bool:
    """Whether the class is a C struct sequence, like those of torch.return_types."""
    return isinstance(cls, type) and issubclass(cls, tuple) and hasattr(cls, "n_sequence_fields")


def is_structseq_instance(tree: Any) -> bool:
    """Whether it is a C struct sequence."""
    return is_structseq_class(type(tree))


is_structseq = is_structseq_instance


def _sequence_with_keys(tree: Any) -> tuple[list, Any]:
    children, context = _node(tree).flatten_fn(tree)
    return [(SequenceKey(i), child) for i, child in enumerate(children)], context


def _mapping_with_keys(tree: Any) -> tuple[list, Any]:
    children, context = _node(tree).flatten_fn(tree)
    keys = context[1] if isinstance(tree, defaultdict) else context
    return [(MappingKey(key), child) for key, child in zip(keys, children)], context


# The names of PyTorch's own flatten functions: libraries reuse them for classes of theirs.
_dict_flatten_with_keys = _ordereddict_flatten_with_keys = _defaultdict_flatten_with_keys = _mapping_with_keys
_list_flatten_with_keys = _tuple_flatten_with_keys = _namedtuple_flatten_with_keys = _sequence_with_keys
_ordereddict_flatten = _dict_flatten
_dict_unflatten, _ordereddict_unflatten = SUPPORTED_NODES[dict].unflatten_fn, SUPPORTED_NODES[OrderedDict].unflatten_fn
_list_flatten, _list_unflatten = SUPPORTED_NODES[list]
_tuple_flatten, _tuple_unflatten = SUPPORTED_NODES[tuple]
Context, KeyEntry, KeyPath = Any, Any, tuple


def _is_namedtuple(tree: Any) -> bool:
    return isinstance(tree, tuple) and type(tree) is not tuple and hasattr(type(tree), "_fields")


def _get_node_type(tree: Any) -> Any:
    return namedtuple if _is_namedtuple(tree) and type(tree) not in SUPPORTED_NODES else type(tree)


def _node(tree: Any) -> NodeDef | None:
    found = SUPPORTED_NODES.get(type(tree))
    return found or (SUPPORTED_NODES[namedtuple] if _is_namedtuple(tree) else None)  # type: ignore[index]


def register_pytree_node(cls: type, flatten_fn: Callable, unflatten_fn: Callable, **options: Any) -> None:
    """Treat instances of the class as containers: flatten_fn(x) → (children, context), unflatten_fn(children, context) → x.

    Raises:
        ValueError: registered already.
    """
    if cls in SUPPORTED_NODES:
        raise ValueError(f"{cls} is already registered as pytree node.")
    SUPPORTED_NODES[cls] = NodeDef(flatten_fn, unflatten_fn)


_register_pytree_node = register_pytree_node


def register_dataclass(
    cls: type, *, field_names: Any = None, drop_field_names: Any = None, serialized_type_name: Any = None
) -> None:
    """Treat a dataclass as a container of its fields."""
    import dataclasses

    names = (
        list(field_names)
        if field_names is not None
        else [f.name for f in dataclasses.fields(cls) if f.name not in (drop_field_names or ())]
    )
    register_pytree_node(
        cls, lambda x: ([getattr(x, n) for n in names], names), lambda c, context: cls(**dict(zip(context, c)))
    )


def register_constant(cls: type) -> None:
    """Treat instances as a container without leaves."""
    register_pytree_node(cls, lambda x: ([], x), lambda c, context: context)


def tree_flatten(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> tuple[list, TreeSpec]:
    """(leaves, spec) of a tree; `is_leaf(x)` stops earlier."""
    leaves: list = []
    return leaves, _flatten(tree, leaves, is_leaf)


def _flatten(tree: Any, leaves: list, is_leaf: Callable | None) -> TreeSpec:
    node = None if is_leaf is not None and is_leaf(tree) else _node(tree)
    if node is None:
        leaves.append(tree)
        return LeafSpec()
    children, context = node.flatten_fn(tree)
    return TreeSpec(namedtuple if _is_namedtuple(tree) and type(tree) not in SUPPORTED_NODES else type(tree), context,
                    [_flatten(child, leaves, is_leaf) for child in children])  # fmt: skip


def tree_unflatten(leaves: Any, treespec: TreeSpec) -> Any:
    """The tree of that spec with these leaves.

    Raises:
        ValueError: the number of leaves is another. TypeError: not a TreeSpec.
    """
    if not isinstance(treespec, TreeSpec):
        raise TypeError(
            f"tree_unflatten(leaves, treespec): Expected `treespec` to be instance of TreeSpec but got item of type {type(treespec)}."
        )
    leaves = list(leaves)
    if len(leaves) != treespec.num_leaves:
        raise ValueError(
            f"tree_unflatten(leaves, treespec): `leaves` has length {len(leaves)} but the spec refers to {treespec.num_leaves} leaves"
        )
    return _build(iter(leaves), treespec)


def _build(leaves: Any, spec: TreeSpec) -> Any:
    if spec.is_leaf():
        return next(leaves)
    return SUPPORTED_NODES[spec.type].unflatten_fn(
        [_build(leaves, child) for child in spec.children_specs], spec.context
    )


def tree_is_leaf(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> bool:
    """Whether the tree is a leaf itself."""
    return (is_leaf is not None and is_leaf(tree)) or _node(tree) is None


def tree_iter(tree: Any, is_leaf: Any = None) -> Any:
    """Iterator over the leaves."""
    return iter(tree_flatten(tree, is_leaf)[0])


def tree_leaves(tree: Any, is_leaf: Any = None) -> list:
    """The leaves."""
    return tree_flatten(tree, is_leaf)[0]


def tree_structure(tree: Any, is_leaf: Any = None) -> TreeSpec:
    """The spec."""
    return tree_flatten(tree, is_leaf)[1]


def tree_map(func: Callable, tree: Any, *rests: Any, is_leaf: Any = None) -> Any:
    """func applied to every leaf (and the leaves of other trees at its place)."""
    leaves, spec = tree_flatten(tree, is_leaf)
    return tree_unflatten(map(func, leaves, *(spec.flatten_up_to(r) for r in rests)), spec)


def tree_map_(func: Callable, tree: Any, *rests: Any, is_leaf: Any = None) -> Any:
    """func called for its effect on every leaf; the tree itself."""
    tree_map(func, tree, *rests, is_leaf=is_leaf)
    return tree


def map_only(type_or_types: Any, /) -> Callable:
    """Decorator: the function leaves values of other types (or for which a predicate is False) alone."""
    fits = (
        type_or_types
        if callable(type_or_types) and not isinstance(type_or_types, type)
        else lambda x: isinstance(x, type_or_types)
    )
    return lambda func: lambda x: func(x) if fits(x) else x


def tree_map_only(type_or_types: Any, /, func: Callable, tree: Any, is_leaf: Any = None) -> Any:
    """func applied to the leaves of these types."""
    return tree_map(map_only(type_or_types)(func), tree, is_leaf=is_leaf)


def tree_map_only_(type_or_types: Any, /, func: Callable, tree: Any, is_leaf: Any = None) -> Any:
    """func called for its effect on the leaves of these types; the tree itself."""
    return tree_map_(map_only(type_or_types)(func), tree, is_leaf=is_leaf)


def tree_all(pred: Callable, tree: Any, is_leaf: Any = None) -> bool:
    """Whether pred holds for all leaves."""
    return all(map(pred, tree_iter(tree, is_leaf)))


def tree_any(pred: Callable, tree: Any, is_leaf: Any = None) -> bool:
    """Whether pred holds for some leaf."""
    return any(map(pred, tree_iter(tree, is_leaf)))


class SequenceKey(NamedTuple):
    """Step into a list or tuple."""

    idx: int

    def get(self, sequence: Any) -> Any:
        """The child."""
        return sequence[self.idx]


class MappingKey(NamedTuple):
    """Step into a dict."""

    key: Any

    def get(self, mapping: Any) -> Any:
        """The child."""
        return mapping[self.key]


class GetAttrKey(NamedTuple):
    """Step into an attribute."""

    name: str

    def get(self, obj: Any) -> Any:
        """The child."""
        return getattr(obj, self.name)


def keystr(kp: tuple) -> str:
    """A path as Python text: [0]['a'].b."""
    return "".join(f"[{k.idx!r}]" if isinstance(k, SequenceKey) else f"[{k.key!r}]" if isinstance(k,
    MappingKey) else f".{k.name}" for k in kp)


def key_get(obj: Any, kp: tuple) -> Any:
    """What a path leads to."""
    for k in kp:
        obj = k.get(obj)
    return obj


def tree_flatten_with_path(tree: Any, is_leaf: Any = None) -> tuple[list, TreeSpec]:
    """([(path, leaf)], spec)."""
    leaves, spec = tree_flatten(tree, is_leaf)
    return list(zip(_paths(spec), leaves)), spec


def _paths(spec: TreeSpec, before: tuple = ()) -> list[tuple]:
    if spec.is_leaf():
        return [before]
    context = spec.context[1] if spec.type is defaultdict else spec.context
    keys = (
        [MappingKey(k) for k in context]
        if spec.type in (dict, OrderedDict, defaultdict)
        else [SequenceKey(i) for i in range(spec.num_children)]
    )
    return [path for key, child in zip(keys, spec.children_specs) for path in _paths(child, (*before, key))]


def tree_map_with_path(func: Callable, tree: Any, *rests: Any, is_leaf: Any = None) -> Any:
    """func(path, leaf) applied to every leaf."""
    pairs, spec = tree_flatten_with_path(tree, is_leaf)
    return tree_unflatten([func(p, x, *r) for (p, x), *r in zip(pairs, *(spec.flatten_up_to(t) for t in rests))], spec)


def _broadcast_to_and_flatten(tree: Any, treespec: TreeSpec, is_leaf: Any = None) -> list | None:
    """One value per leaf of the spec from a tree that is the spec or stops earlier; None when they do not fit."""
    node = None if is_leaf is not None and is_leaf(tree) else _node(tree)
    if node is None:
        return [tree] * treespec.num_leaves
    children, context = node.flatten_fn(tree)
    if treespec.is_leaf() or len(children) != treespec.num_children or context != treespec.context:
        return None
    parts = [_broadcast_to_and_flatten(c, s, is_leaf) for c, s in zip(children, treespec.children_specs)]
    return None if any(p is None for p in parts) else [x for p in parts for x in p]
