"""`mg.export(f, args)`: a function as a program that runs, and is saved and loaded, without its Python source. torch.export's names.

    program = mg.export(model, (x,))            # or mg.export.export(model, (x,)), as in torch
    mg.export.save(program, "model.mg")         # one file: the graph and the weights
    program = mg.export.load("model.mg")
    y = program(x)
    mg.export(model, (x,), path="model.c", format="c")   # C11 source without dependencies

docs/compiler.md, "Ahead of time". The work is in minigrad/compiler/export.py, program.py, program_file.py and csource*.py.
"""

from __future__ import annotations

import sys
import types
from typing import Any

from minigrad.compiler.export import export
from minigrad.compiler.program import ExportedProgram
from minigrad.compiler.program_file import load, save

__all__ = ["ExportedProgram", "export", "load", "save"]


class _CallableModule(types.ModuleType):
    """The module is the function as well."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return export(*args, **kwargs)


_CallableModule.__call__.__doc__ = export.__doc__
sys.modules[__name__].__class__ = _CallableModule
