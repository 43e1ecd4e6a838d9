"""Docstrings and named result tuples shared by the reduction families (CONVENTIONS 9)."""

from __future__ import annotations

from collections import namedtuple


def returned(op: str, *fields: str) -> type:
    """Class of an op's several results: a named tuple that prints as `minigrad.return_types.<op>(...)` (torch's under minigrad.compat)."""
    cls = namedtuple(op, fields, module="minigrad.return_types")
    cls.__doc__ = f"Results of minigrad.{op}: {', '.join(fields)}."

    def show(self: tuple) -> str:
        from minigrad._tensor import TYPE_PREFIX

        body = ",\n".join(f"{name}={value!r}" for name, value in zip(fields, self))
        return f"{TYPE_PREFIX}return_types.{op}(\n{body})"

    cls.__repr__ = show  # type: ignore[method-assign]
    cls.__reduce__ = lambda self: (tuple, (tuple(self),))  # type: ignore[method-assign]
    return cls


def doc(
    summary: str,
    accepted: str,
    example: str,
    *,
    dtype: bool = False,
    grad: str = "",
    raises: str = "",
    source: str = "",
) -> str:
    """Docstring of a reduction.

    Args:
        summary: one sentence.
        accepted: dtypes of the input.
        example: `call -> what it prints`.
        dtype: the op has a dtype argument.
        grad: the gradient, with kinks.
        raises: errors beyond a bad dim.
        source: paper or reference page.
    Returns:
        the text.
    """
    lines = [summary, "", "Args:", f"    input: any shape; {accepted}."]
    lines.append("    dim: int (where the op allows it, a list of ints) in [-ndim, ndim); None means all dims.")
    lines.append("    keepdim: keep reduced dims with size 1.")
    if dtype:
        lines.append("    dtype: dtype of the result; the input is converted first.")
    lines += ["Returns:", "    tensor of the input's shape without the reduced dims."]
    lines += ["Raises:", f"    IndexError for a dim out of range. {raises}".rstrip()]
    if grad:
        lines += ["Gradient:", f"    {grad}"]
    if source:
        lines += ["Source:", f"    {source}"]
    call, shown = example.split(" -> ")
    lines += ["Example:", f"    >>> {call.strip()}", f"    {shown.strip()}", ""]
    return "\n".join(lines)
