"""minigrad.compat: the import hook, the report of missing names, placeholders, spawned processes."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest


def run(tmp_path: Path, program: str, *options: str) -> subprocess.CompletedProcess:
    """The program as a script under `python -m minigrad.compat`."""
    script = tmp_path / "program.py"
    script.write_text(textwrap.dedent(program))
    command = [sys.executable, "-W", "ignore", "-m", "minigrad.compat", *options, str(script)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_torch_is_minigrad(tmp_path: Path) -> None:
    done = run(tmp_path, """
        import torch, torch.nn as nn, torch.nn.functional as F, torch.utils.data
        from torch.optim.lr_scheduler import StepLR
        from torch import Tensor, device
        import minigrad, minigrad.nn
        assert torch is minigrad and torch.nn is minigrad.nn and F is minigrad.nn.functional
        assert torch.__version__ == "2.13.0+minigrad" and torch.__version__ >= (2, 1) and torch.__version__ < "2.14"
        assert isinstance(torch.__version__, str) and torch.__name__ == "torch" and torch.torch is torch
        assert str(torch.float32) == "torch.float32" and torch.ones(1).type() == "torch.FloatTensor"
        assert repr(torch.ones(2, 3).shape) == "torch.Size([2, 3])"
        import importlib.metadata
        assert importlib.metadata.version("torch") == torch.__version__
        x = torch.ones(3, requires_grad=True)
        nn.Linear(3, 2)(x).sum().backward()
        print("sum", x.grad.shape)
        """)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "sum torch.Size([3])\n"
    assert "every name" in done.stderr


def test_missing_names_are_reported(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    done = run(tmp_path, """
        import torch
        for _ in range(3):
            hasattr(torch, "no_such_name")
        try:
            from torch._six import inf
        except ImportError:
            inf = float("inf")
        try:
            from torch.nn import NoSuchLayer
        except ImportError:
            print("no layer")
        from torch.ao.quantization import QuantStub
        class Mine(QuantStub): pass
        try:
            QuantStub()
        except NotImplementedError as error:
            print(error)
        torch.ones(2).no_such_method()
        """, "--report", str(report))  # fmt: skip
    assert done.returncode == 1 and "no_such_method" in done.stderr
    assert done.stdout.splitlines()[0] == "no layer" and "torch.ao.quantization.QuantStub" in done.stdout
    rows = {row["name"]: row for row in json.loads(report.read_text())}
    assert rows["torch.no_such_name"]["count"] == 3 and rows["torch.no_such_name"]["where"].endswith("program.py:4")
    assert rows["torch._six"]["kind"] == "module" and "torch.nn.NoSuchLayer" in rows and "Tensor.no_such_method" in rows


def test_exit_status_and_arguments(tmp_path: Path) -> None:
    script = tmp_path / "status.py"
    script.write_text("import sys, torch\nprint(sys.argv[1:], __name__)\nsys.exit(3)\n")
    done = subprocess.run(
        [sys.executable, "-m", "minigrad.compat", str(script), "--epochs", "2"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3 and done.stdout.strip() == "['--epochs', '2'] __main__"


def test_spawned_processes(tmp_path: Path) -> None:
    done = run(tmp_path, """
        import torch, multiprocessing
        def work(queue): queue.put(torch.__version__)
        if __name__ == "__main__":
            context = multiprocessing.get_context("spawn")
            queue = context.Queue()
            process = context.Process(target=work, args=(queue,))
            process.start()
            print(queue.get(timeout=60))
            process.join()
        """)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "2.13.0+minigrad"


def test_refused_after_torch(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    code = "import torch, minigrad.compat as c\ntry: c.install()\nexcept RuntimeError as e: print('refused')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "refused", done.stderr


def test_install_and_uninstall() -> None:
    code = """
        import minigrad as mg, minigrad.compat as c, sys
        c.install(); c.install()
        import torch
        assert torch is mg
        c.uninstall()
        assert "torch" not in sys.modules and mg.__name__ == "minigrad" and mg.__version__ != "2.13.0+minigrad"
        assert str(mg.float32) == "minigrad.float32"
        """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=60)
