"""Run programs written for PyTorch on minigrad: `import torch` gives minigrad, and every missing name is written down.

    python -m minigrad.compat script.py args…        python -m minigrad.compat -m package.module args…
    import minigrad.compat; minigrad.compat.install(); import torch      # torch is minigrad, torch.nn is minigrad.nn

There is no list of names here: `torch.x.y` is looked up as `minigrad.x.y`. What is not there is recorded with the place that asked for it
(`report()`), and fails as it does in Python: AttributeError, ImportError. Only the subpackages in `_finder.ABSENT` import as placeholders.
"""

from __future__ import annotations

import sys
from typing import Any

from minigrad.compat._record import missing, report, report_json

__all__ = ["install", "missing", "report", "report_json", "uninstall"]

_saved: dict[str, Any] = {}


def install() -> None:
    """Serve `torch` (and `functorch`) as minigrad in this process; a second call does nothing.

    Raises:
        RuntimeError: the real torch is already imported.
    """
    if _saved:
        return
    if "torch" in sys.modules and sys.modules["torch"] is not sys.modules.get("minigrad"):
        raise RuntimeError(
            "minigrad.compat.install: torch is already imported. Try calling install() before anything imports torch."
        )
    import minigrad
    from minigrad import version
    from minigrad.compat import _finder, _names

    _saved.update(version=minigrad.__version__, finder=_finder.Finder(), names=_names.speak("torch"))
    minigrad.__version__, minigrad.torch = version.__version__, minigrad  # torch.torch is torch
    minigrad.__name__ = "torch"
    sys.meta_path.insert(0, _saved["finder"])
    _finder.serve_loaded()
    _finder.patch_spawn()


def uninstall() -> None:
    """Undo `install()`; modules that imported torch keep what they got."""
    if not _saved:
        return
    import minigrad
    from minigrad.compat import _names

    sys.meta_path.remove(_saved["finder"])
    minigrad.__version__, minigrad.__name__ = _saved["version"], "minigrad"
    del minigrad.torch
    _names.speak("minigrad")
    for name in [n for n in sys.modules if n.split(".")[0] in ("torch", "functorch")]:
        del sys.modules[name]
    _saved.clear()
