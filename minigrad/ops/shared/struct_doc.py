"""Builds the docstrings of structured ops in the project's form (CONVENTIONS 9) from their parts."""

from __future__ import annotations

import textwrap
from collections.abc import Callable


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


def shared_args(**args: str) -> Callable[[Callable], Callable]:
    """Adds the arguments that a family of functions has in common to a function's docstring, after its own ones."""
    lines = "".join(f"    {name}: {text}\n" for name, text in args.items())

    def attach(function: Callable) -> Callable:
        if function.__doc__ is None:  # python -OO
            return function
        summary, _, rest = function.__doc__.partition("\n")
        own, returns, behind = textwrap.dedent(rest).partition("Returns:\n")
        own += "" if "Args:\n" in own else "Args:\n"
        function.__doc__ = f"{summary}\n{own}{lines}{returns}{behind}"
        return function

    return attach


def numpy():  # noqa: ANN201  a module; imported on use, so that `import minigrad` stays fast
    """NumPy, for the references."""
    import numpy

    return numpy
