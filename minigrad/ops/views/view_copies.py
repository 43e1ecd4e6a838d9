"""Views as copies: `permute_copy`, `narrow_copy` and the others give what the view gives, in fresh, contiguous memory.
Also `unsafe_split`, `unsafe_chunk` (PyTorch's names for splits that make no promise to alias) and `_chunk_cat`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import minigrad as mg
from minigrad.op import composite, functions
from minigrad.ops.shared.check import into
from minigrad.ops.shared.struct_doc import card
from minigrad.ops.views.shape import _wrap


def _fresh(t: mg.Tensor) -> mg.Tensor:
    return t.clone(memory_format=mg.contiguous_format)


@composite(method=False, name="slice", samples=lambda s: [s(s.t(5, 2), 0, 1, 4, 2), s(s.t(2, 5), 1)],
           no_ref_reason="the kernel _slice has the reference")  # fmt: skip
def _sliced(input: mg.Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> mg.Tensor:
    """x[start:end:step] along one dim; the op behind slicing, under its ATen name.

    Args:
        input: at least 1 dimension.
        dim: the dimension.
        start: first position; None is the first.
        end: end, excluded; None is the last.
        step: at least 1.
    Returns:
        a view.
    Raises:
        ValueError for step < 1, IndexError for dim.
    Example:
        >>> mg.slice(mg.arange(5), 0, 1, 4)
        tensor([1, 2, 3])
    """
    return functions["_slice"](input, dim, start, end, step)


def _viewed(input: mg.Tensor, size: Any = None, *, dtype: Any = None) -> mg.Tensor:
    if dtype is not None or isinstance(size, mg.dtype):
        return input.view(size if dtype is None else dtype)
    return input.reshape(size)  # a copy need not be viewable


def _copying(
    name: str, samples: Any, example: str, *, view: Any = None, method: bool = False, why: dict[str, str] | None = None,
    **args: str,
) -> None:  # fmt: skip
    """Declares `<name>_copy`, the copy of one view or of each of several."""
    def copy(input: mg.Tensor, *positional: Any, out: Any = None, **named: Any) -> Any:
        made = (view or functions[name])(input, *positional, **named)
        if isinstance(made, mg.Tensor):
            return _fresh(made) if out is None else into(name + "_copy", made, out)
        if out is None:
            return tuple(_fresh(part) for part in made)
        if len(out) != len(made):
            raise RuntimeError(f"{name}_copy: out= must hold one tensor per piece: got {len(out)}, expected {len(made)}")
        for part, target in zip(made, out):
            into(name + "_copy", part, target)
        return out

    copy.__name__ = copy.__qualname__ = name + "_copy"
    copy.__doc__ = card(f"A copy of what `{name}` shows, in memory of its own.", example, input="any tensor.", **args,
                        out="tensor (of several: sequence of tensors) to write into.",
                        returns="a contiguous tensor, or a tuple of them.", raises=f"what `{name}` raises.",
                        grad=f"that of `{name}`.")  # fmt: skip
    composite(samples=samples, method=method, no_ref_reason="the view has the reference", **(why or {}))(copy)


_copying("alias", lambda s: [s(s.t(2, 3)), s(s.t())], "mg.alias_copy(mg.tensor([1, 2])) -> tensor([1, 2])")
_copying("detach", lambda s: [s(s.t(2, 3))], "mg.detach_copy(mg.tensor([1, 2])) -> tensor([1, 2])", view=lambda input: input.detach(),
         why=dict(no_grad_reason="detached"))  # fmt: skip
_copying("as_strided", lambda s: [s(s.t(2, 3), (3, 2), (1, 3))],
         "mg.as_strided_copy(mg.arange(4), (3,), (1,), 1) -> tensor([1, 2, 3])",
         why=dict(no_layouts_reason="reads the storage, whatever its layout"), size="sizes.", stride="steps in elements.", storage_offset="first element; None keeps the input's.")  # fmt: skip
_copying("diagonal", lambda s: [s(s.t(3, 3)), s(s.t(2, 3, 4), 1, 0, 2)],
         "mg.diagonal_copy(mg.eye(2)) -> tensor([1., 1.])", offset="0 main, positive above, negative below.",
         dim1="rows.", dim2="columns.")  # fmt: skip
_copying("expand", lambda s: [s(s.t(3, 1), (3, 4)), s(s.t(), (2,))],
         "mg.expand_copy(mg.tensor([1]), (3,)) -> tensor([1, 1, 1])", size="wanted sizes, -1 keeps one.",
         implicit="ignored.")  # fmt: skip
_copying("narrow", lambda s: [s(s.t(5, 2), 0, 1, 3), s(s.t(2, 5), -1, 3, 2)],
         "mg.narrow_copy(mg.arange(5), 0, 1, 2) -> tensor([1, 2])", method=True, dim="the dimension.",
         start="first position.", length="how many.")  # fmt: skip
_copying("permute", lambda s: [s(s.t(2, 3, 4), (2, 0, 1))],
         "mg.permute_copy(mg.zeros(2, 3), (1, 0)).shape -> minigrad.Size([3, 2])", dims="the new order.")  # fmt: skip
_copying("select", lambda s: [s(s.t(2, 3), 1, 0)], "mg.select_copy(mg.tensor([1, 2]), 0, 1) -> tensor(2)",
         dim="the dimension.", index="the position.")  # fmt: skip
_copying("slice", lambda s: [s(s.t(5, 2), 0, 1, 4, 2), s(s.t(4))],
         "mg.slice_copy(mg.arange(4), 0, 1, 3) -> tensor([1, 2])", view=_sliced, dim="the dimension.",
         start="first position.", end="end, excluded.", step="at least 1.")  # fmt: skip
_copying("split", lambda s: [s(s.t(5, 2), 2)], "mg.split_copy(mg.arange(3), 2) -> (tensor([0, 1]), tensor([2]))",
         split_size_or_sections="size of each piece, or the list of sizes.", dim="the dimension.")  # fmt: skip
_copying("split_with_sizes", lambda s: [s(s.t(5, 2), [2, 3])],
         "mg.split_with_sizes_copy(mg.arange(3), [1, 2]) -> (tensor([0]), tensor([1, 2]))",
         split_sizes="sizes of the pieces.", dim="the dimension.")  # fmt: skip
_copying("squeeze", lambda s: [s(s.t(1, 3, 1)), s(s.t(1, 3, 1), 0)],
         "mg.squeeze_copy(mg.zeros(1, 2)).shape -> minigrad.Size([2])", dim="which dimensions may go.")  # fmt: skip
_copying("t", lambda s: [s(s.t(2, 3)), s(s.t(3))], "mg.t_copy(mg.zeros(2, 3)).shape -> minigrad.Size([3, 2])")
_copying("transpose", lambda s: [s(s.t(2, 3), 0, 1)],
         "mg.transpose_copy(mg.zeros(2, 3), 0, 1).shape -> minigrad.Size([3, 2])", dim0="first dimension.",
         dim1="second dimension.")  # fmt: skip
_copying("unbind", lambda s: [s(s.t(3, 2)), s(s.t(3, 2), 1)],
         "mg.unbind_copy(mg.tensor([1, 2])) -> (tensor(1), tensor(2))", dim="the dimension.")  # fmt: skip
_copying("unfold", lambda s: [s(s.t(5), 0, 2, 1)],
         "mg.unfold_copy(mg.arange(3), 0, 2, 1).tolist() -> [[0, 1], [1, 2]]", dimension="where to slide.",
         size="window length.", step="distance of window starts.")  # fmt: skip
_copying("unsqueeze", lambda s: [s(s.t(2, 3), 0)], "mg.unsqueeze_copy(mg.tensor([1]), 0).tolist() -> [[1]]",
         dim="position of the new dimension.")  # fmt: skip
_copying("view", lambda s: [s(s.t(2, 6), (3, 4))], "mg.view_copy(mg.arange(4), (2, 2)).tolist() -> [[0, 1], [2, 3]]",
         view=_viewed, size="new sizes, or a dtype of the same element size.")  # fmt: skip


# --- splits that need not alias ---------------------------------------------------------------------------------------
@composite(samples=lambda s: [s(s.t(5, 2), 2), s(s.t(2, 5), [1, 4], 1)], no_ref_reason="split is checked")
def unsafe_split(input: mg.Tensor, split_size: int | Sequence[int], dim: int = 0) -> tuple[mg.Tensor, ...]:
    """`split`; in PyTorch the pieces are not tracked as views of the input, here they are.

    Args:
        input: at least 1 dimension.
        split_size: size of each piece.
        dim: the dimension.
    Returns:
        tuple of views.
    Raises:
        RuntimeError for sizes that do not fit.
    Example:
        >>> [p.tolist() for p in mg.unsafe_split(mg.arange(3), 2)]
        [[0, 1], [2]]
    """
    return functions["split"](input, split_size, dim)


@composite(samples=lambda s: [s(s.t(5, 2), 2), s(s.t(2, 5), 3, 1)], no_ref_reason="chunk is checked")
def unsafe_chunk(input: mg.Tensor, chunks: int, dim: int = 0) -> tuple[mg.Tensor, ...]:
    """`chunk`; in PyTorch the pieces are not tracked as views of the input, here they are.

    Args:
        input: at least 1 dimension.
        chunks: how many pieces at most.
        dim: the dimension.
    Returns:
        tuple of views.
    Raises:
        RuntimeError for chunks < 1.
    Example:
        >>> [p.tolist() for p in mg.unsafe_chunk(mg.arange(3), 2)]
        [[0, 1], [2]]
    """
    return functions["chunk"](input, chunks, dim)


@composite(method=False, samples=lambda s: [s([s.t(3, 2), s.t(5, 2)], 0, 2), s([s.t(2, 3), s.t(2, 2)], 1, 2)],
           no_ref_reason="made of pad, reshape and cat, which are checked")
def _chunk_cat(tensors: Sequence[mg.Tensor], dim: int, num_chunks: int, *, out: mg.Tensor | None = None) -> mg.Tensor:
    """Cuts each tensor into `num_chunks` equal pieces along a dimension (zeros fill up) and joins the pieces by number.

    Args:
        tensors: at least one; all of one dtype and of equal sizes in the dimensions before `dim`.
        dim: where to cut.
        num_chunks: how many pieces.
        out: tensor to write into.
    Returns:
        (…, num_chunks, elements) : sizes before dim, then the pieces, flattened and side by side.
    Raises:
        RuntimeError for an empty list, empty tensors, num_chunks < 1 or sizes that differ.
    Example:
        >>> mg._chunk_cat([mg.tensor([1, 2, 3]), mg.tensor([4])], 0, 2).tolist()
        [[1, 2, 4], [3, 0, 0]]
    """
    if not tensors:
        raise RuntimeError("_chunk_cat: expected a non-empty list of tensors")
    if num_chunks < 1:
        raise RuntimeError(f"_chunk_cat: num_chunks must be positive: got {num_chunks}")
    first = tensors[0]
    d = _wrap(dim, first.dim(), "_chunk_cat")
    rows = []
    for k, t in enumerate(tensors):
        if t.dtype != first.dtype or t.dim() <= d or tuple(t.shape[:d]) != tuple(first.shape[:d]) or t.numel() == 0:
            raise RuntimeError(
                f"_chunk_cat: tensors must be non-empty, of dtype {first.dtype} and of sizes {tuple(first.shape[:d])} before "
                f"dim {d}: got {tuple(t.shape)} of {t.dtype} at position {k}"
            )
        fill = -t.shape[d] % num_chunks
        if fill:
            gap = mg.zeros(*t.shape[:d], fill, *t.shape[d + 1 :], dtype=t.dtype, device=t.device)
            t = functions["cat"]([t, gap], d)
        rows.append(t.reshape(*t.shape[:d], num_chunks, -1))
    return into("_chunk_cat", functions["cat"](rows, d + 1), out)
