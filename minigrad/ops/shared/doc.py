"""Builds the docstrings of pointwise ops: the parts that follow from the meta family are written here once
(CONVENTIONS 9).
"""

from __future__ import annotations

# What the main operands may be, by family: (accepted, returned, raised).
_FAMILIES = {
    "unary": ("any shape and dtype", "a tensor of the same shape and dtype", ""),
    "unary_no_bool": (
        "any shape, any dtype but bool",
        "a tensor of the same shape and dtype",
        "RuntimeError for bool.",
    ),
    "unary_float": (
        "any shape and dtype; integers and bools are computed in the default float dtype",
        "a floating tensor of the same shape",
        "",
    ),
    "unary_float_only": (
        "any shape, a floating dtype",
        "a tensor of the same shape and dtype",
        "RuntimeError for integers and bools.",
    ),
    "unary_bool": ("any shape and dtype", "a bool tensor of the same shape", ""),
    "binary": ("tensor or number; any dtype", "the broadcast shape in the promoted dtype", ""),
    "binary_num": (
        "tensor or number; any dtype",
        "the broadcast shape in the promoted dtype",
        "RuntimeError when the promoted dtype is bool.",
    ),
    "binary_no_bool": (
        "tensor or number; any dtype but bool",
        "the broadcast shape in the promoted dtype",
        "RuntimeError for bool tensors.",
    ),
    "binary_float": (
        "tensor or number; integers are computed in the default float dtype",
        "the broadcast shape in the promoted floating dtype",
        "",
    ),
    "binary_float_only": (
        "tensors whose promoted dtype is floating",
        "the broadcast shape in the promoted dtype",
        "RuntimeError for integers.",
    ),
    "compare": ("tensor or number; any dtype", "a bool tensor of the broadcast shape", ""),
    "logical": ("any dtype; nonzero means true", "a bool tensor of the broadcast shape", ""),
    "bitwise": (
        "integer or bool tensor or number",
        "the broadcast shape in the promoted dtype",
        "RuntimeError for floats.",
    ),
    "shift": (
        "integer tensor or number",
        "the broadcast shape in the promoted dtype",
        "RuntimeError for floats and bools.",
    ),
    "ternary": ("tensors or numbers; any dtype", "the broadcast shape in the promoted dtype", ""),
    "ternary_num": (
        "tensors; any dtype but bool",
        "the broadcast shape in the promoted dtype",
        "RuntimeError when the promoted dtype is bool.",
    ),
    "ternary_float_only": (
        "tensors whose promoted dtype is floating",
        "the broadcast shape in the promoted dtype",
        "RuntimeError for integers.",
    ),
}


def doc(family: str, summary: str, example: str, *, args: str = "", grad: str = "", source: str = "") -> str:
    """Docstring of a pointwise op.

    Args:
        family: meta family of the op; decides the sentences on operands, result and errors.
        summary: one sentence.
        example: one line `call -> what it prints`, where `mg` is minigrad.
        args: extra "name: meaning" lines, separated by ";;".
        grad: gradient, kinks and special values.
        source: paper or reference page.
    Returns:
        the docstring in the project's form.
    """
    accepted, returned, raised = _FAMILIES[family]
    operands = "input" if family.startswith("unary") else "operands"
    lines = [summary, "", "Args:", f"    {operands}: {accepted}."]
    lines += [f"    {extra.strip()}" for extra in args.split(";;") if extra.strip()]
    lines += ["Returns:", f"    {returned}."]
    if raised:
        lines += ["Raises:", f"    {raised}"]
    if grad:
        lines += ["Gradient:", f"    {grad}"]
    if source:
        lines += ["Source:", f"    {source}"]
    call, shown = example.split(" -> ")
    lines += ["Example:", f"    >>> {call.strip()}", f"    {shown.strip()}", ""]
    return "\n".join(lines)
