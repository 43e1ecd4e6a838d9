"""Builds the docstrings of structured ops in the project's form (CONVENTIONS 9) from their parts."""

from __future__ import annotations


def card(summary: str, example: str, *, returns: str, raises: str = "", grad: str = "", source: str = "",
         **args: str) -> str:
    """Docstring of one op.

    Args:
        summary: one sentence.
        example: lines of Python, each followed by ` -> ` and what it prints; several are separated by newlines.
        returns: shape and dtype of the result.
        raises: error classes and when.
        grad: gradient, kinks and special values.
        source: paper or reference page.
        args: meaning of each argument by name.
    Returns:
        the docstring.
    """
    lines = [summary, "", "Args:", *(f"    {name}: {text}" for name, text in args.items()), "Returns:",
             f"    {returns}"]
    for title, text in (("Raises", raises), ("Gradient", grad), ("Source", source)):
        if text:
            lines += [f"{title}:", f"    {text}"]
    lines.append("Example:")
    for line in example.strip().splitlines():
        call, _, shown = line.strip().partition(" -> ")
        lines.append(f"    >>> {call}")
        if shown:
            lines.append(f"    {shown}")
    return "\n".join([*lines, ""])


def numpy():  # noqa: ANN201  a module; imported on use, so that `import minigrad` stays fast
    """NumPy, for the references."""
    import numpy

    return numpy
