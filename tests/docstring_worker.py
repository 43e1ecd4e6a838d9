"""Runs the examples of PyTorch's docstrings: `python docstring_worker.py torch|minigrad EXAMPLES.json OUTCOMES.json`.

EXAMPLES: name -> list of statements; written here from the docstrings when it does not exist yet (torch only). OUTCOMES: name -> one of
["ok", what was printed] or [class of the exception, its text] per statement. Every name runs in a child process of its own.
"""

from __future__ import annotations

import contextlib
import doctest
import importlib
import inspect
import io
import json
import os
import signal
import sys
import warnings
from pathlib import Path

SPACES = """torch torch.Tensor torch.nn torch.nn.functional torch.nn.init torch.nn.utils torch.nn.utils.rnn torch.nn.utils.parametrize
torch.nn.utils.parametrizations torch.nn.utils.prune torch.optim torch.optim.lr_scheduler torch.optim.swa_utils torch.utils.data
torch.distributions torch.linalg torch.fft torch.special torch.autograd torch.autograd.functional torch.func torch.signal.windows
torch.utils.checkpoint torch.random torch.sparse torch.amp torch.autograd.graph torch.autograd.forward_ad torch.nn.attention""".split()
PRELUDE = """import torch, math, copy
import numpy as np
import torch.nn as nn, torch.nn.functional as F
import torch.nn.utils as utils, torch.nn.utils.prune as prune, torch.nn.utils.parametrize as parametrize
from torch import Tensor, optim, autograd
from torch.utils.data import *
from torch.distributions import *
from torch.nn.utils.parametrizations import *
from torch.optim.lr_scheduler import *
from torch.func import *
torch.manual_seed(0)
"""
SECONDS = 60  # for the examples of one docstring


def collect() -> dict[str, list[str]]:
    """The examples of every public name with a docstring of its own."""
    found: dict[str, list[str]] = {}
    seen = set()
    for space in SPACES:
        home = importlib.import_module("torch").Tensor if space == "torch.Tensor" else importlib.import_module(space)
        for name in sorted(n for n in dir(home) if not n.startswith("_")):
            text = getattr(getattr(home, name, None), "__doc__", None)
            if not isinstance(text, str) or ">>>" not in text or text in seen:
                continue
            seen.add(text)
            text = inspect.cleandoc(text)
            try:
                found[f"{space}.{name}"] = [e.source for e in doctest.DocTestParser().get_examples(text)]
            except ValueError:  # not laid out as a doctest: its lines as one statement
                lines = (line.strip() for line in text.split("\n"))
                found[f"{space}.{name}"] = ["\n".join(line[4:] for line in lines if line.startswith((">>>", "...")))]
    return found


def run(name: str, statements: list[str]) -> list[list[str]]:
    space: dict = {}
    exec(PRELUDE, space)
    outcomes = []
    for source in statements:
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                try:
                    code = compile(source, name, "eval")
                except SyntaxError:
                    exec(compile(source, name, "exec"), space)
                else:
                    value = eval(code, space)
                    if value is not None:
                        print(repr(value))
            outcomes.append(["ok", printed.getvalue()])
        except Exception as error:
            outcomes.append([type(error).__name__, str(error)[:300]])
    return outcomes


def in_child(name: str, statements: list[str]) -> list[list[str]]:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(SECONDS)
        os.close(read)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        with os.fdopen(write, "w") as out:
            json.dump(run(name, statements), out)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as result:
        text = result.read()
    status = os.waitpid(pid, 0)[1]
    return json.loads(text) if status == 0 else [["Died", f"status {status}"]]


def main() -> None:
    library, examples, outcomes = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    warnings.simplefilter("ignore")
    if library == "minigrad":
        import minigrad.compat

        minigrad.compat.install()
    if not examples.exists():
        examples.write_text(json.dumps(collect()))
    importlib.import_module("torch").set_num_threads(1)
    outcomes.write_text(json.dumps({name: in_child(name, s) for name, s in json.loads(examples.read_text()).items()}))


if __name__ == "__main__":
    main()
