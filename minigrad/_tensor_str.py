"""torch._tensor_str: print options as attributes, and a tensor's text, for libraries that print with them."""

from __future__ import annotations

from typing import Any

from minigrad import _core, printing

__all__ = ["PRINT_OPTS", "set_printoptions"]

set_printoptions = printing.set_printoptions


class _Options:
    """`PRINT_OPTS.precision` reads the options in force, and setting it changes them."""

    def __getattr__(self, name: str) -> Any:
        options = printing.get_printoptions()
        if name not in options:
            raise AttributeError(name)
        return options[name]

    def __setattr__(self, name: str, value: Any) -> None:
        printing.set_printoptions(**{name: value})


PRINT_OPTS = _Options()


def _tensor_str(self: _core.Tensor, indent: int) -> str:
    """The nested brackets of `repr(x)`, without `tensor(...)` around them."""
    text = printing.tensor_text(self.detach())
    body = text[text.index("(") + 1 : text.rindex("]") + 1] if "]" in text else text[text.index("(") + 1 : text.rindex(")")]
    return body.replace("\n" + " " * len("tensor("), "\n" + " " * indent)


def _str(self: _core.Tensor, *, tensor_contents: Any = None) -> str:
    """`repr(x)`."""
    return printing.tensor_text(self)
