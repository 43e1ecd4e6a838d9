"""The import hook: `torch.x.y` is minigrad.x.y, the same module object.

A finder on sys.meta_path, before the file finders, so that an installed torch is not touched. Modules it serves become `Served`: looking up
an attribute that is not there is recorded. Also here: the package metadata of 'torch' (importlib.metadata.version) and spawned processes.
"""

from __future__ import annotations

import dis
import importlib
import importlib.metadata
import importlib.util
import sys
import types
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

from minigrad.compat._placeholder import PlaceholderModule, placeholder
from minigrad.compat._record import record

# Parts of PyTorch that eager programs import without using (compilers, quantization, export). Anything else that is
# missing is an ImportError,
# because programs probe for names with try/except ImportError.
ABSENT = (
    "torch._inductor", "torch._export", "torch.ao", "torch.export", "torch.quantization", "torch._functorch", "torch._prims",
    "torch._decomp", "torch._subclasses", "torch.distributed", "torch.fx", "torch._higher_order_ops", "torch._dynamo", "torch.onnx",
    "torch.utils.benchmark", "torch.utils.bundled_inputs", "torch.utils.mobile_optimizer", "torch.nn.quantized",
    "torch.nn.intrinsic", "torch.nn.qat",
    "torch.nn.quantizable", "torch.monitor", "torch._lazy", "torch.contrib", "torch._logging", "torch._refs", "torch._prims_common",
    "torch._guards",
)  # fmt: skip


def _absent(name: str) -> bool:
    """Whether the dotted name is, or lies in, one of the parts in ABSENT."""
    return any(name == tree or name.startswith(tree + ".") for tree in ABSENT)


def _has_submodule(package: types.ModuleType, name: str) -> bool:
    """Whether a submodule of that name lies in the package's folders."""
    path = package.__dict__.get("__path__")
    return path is not None and PathFinder.find_spec(f"{package.__dict__['__name__']}.{name}", path) is not None


def _is_import_from(frame: types.FrameType) -> bool:
    """Whether the frame is at `from module import name` (and not at an attribute, a getattr or hasattr)."""
    return dis.opname[frame.f_code.co_code[frame.f_lasti]] == "IMPORT_FROM"


class Served(types.ModuleType):
    """The class of minigrad's modules while they are torch's: missing attributes are recorded."""

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__["__name__"]
        torch_name = own if own.split(".")[0] == "torch" else "torch" + own.removeprefix("minigrad")
        if not name.startswith("__"):
            if _has_submodule(self, name):  # PyTorch imports most of its submodules at start, minigrad on first use
                return importlib.import_module(f"minigrad{torch_name[5:]}.{name}")
            record(f"{torch_name}.{name}", "attribute")
        if _absent(torch_name) and _is_import_from(sys._getframe(1)):
            return placeholder(f"{torch_name}.{name}")
        error = AttributeError(f"module '{torch_name}' has no attribute '{name}'")
        error.name, error.obj = name, self
        raise error


def _target(fullname: str) -> str | None:
    first, _, rest = fullname.partition(".")
    base = {"torch": "minigrad", "functorch": "minigrad.func"}.get(first)
    return None if base is None else f"{base}.{rest}" if rest else base


class Finder:
    """A meta path finder and loader for torch and everything below it."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """A spec whose module is minigrad's, a placeholder for the parts in ABSENT, None for other names.

        Raises:
            ModuleNotFoundError: a submodule of torch that minigrad has not.
        """
        if fullname.startswith("minigrad."):
            return _served_when_loaded(fullname, path)
        ours = _target(fullname)
        if ours is None:
            return None
        module = _import(ours)
        if module is None:
            record(fullname, "module")
            if not _absent(fullname):
                raise ModuleNotFoundError(f"No module named '{fullname}' (minigrad has no {ours})", name=fullname)
            module = PlaceholderModule(fullname)
        spec = ModuleSpec(fullname, self, is_package=hasattr(module, "__path__"))
        spec.loader_state = module
        return spec

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        """The module that minigrad has already imported."""
        module = spec.loader_state
        spec.loader_state = (module, getattr(module, "__spec__", None), getattr(module, "__loader__", None))
        if type(module) is types.ModuleType:
            module.__class__ = Served
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing to run; the module keeps its own spec, so that it still knows itself as minigrad's."""
        spec = module.__spec__
        if spec is not None and isinstance(spec.loader_state, tuple):
            module.__spec__ = spec.loader_state[1] or spec
            module.__loader__ = spec.loader_state[2] or spec.loader

    def find_distributions(self, context: Any = None) -> Iterator[importlib.metadata.Distribution]:
        """The distribution 'torch', for programs that ask importlib.metadata for its version."""
        if getattr(context, "name", None) in (None, "torch"):
            yield _TorchDistribution()

    def invalidate_caches(self) -> None:
        """Nothing is cached."""


class _TorchDistribution(importlib.metadata.Distribution):
    def read_text(self, filename: str) -> str | None:
        from minigrad.version import __version__

        return f"Metadata-Version: 2.1\nName: torch\nVersion: {__version__}\n" if filename == "METADATA" else None

    def locate_file(self, path: Any) -> Any:
        from pathlib import Path

        return Path(importlib.util.find_spec("minigrad").origin).parent.parent / path


def serve_loaded() -> None:
    """Make `Served` of minigrad's modules that are imported already."""
    for name, module in list(sys.modules.items()):
        if (
            name.split(".")[0] == "minigrad"
            and type(module) is types.ModuleType
            and not name.startswith("minigrad.compat")
        ):
            module.__class__ = Served


def _served_when_loaded(fullname: str, path: Any) -> ModuleSpec | None:
    """The ordinary spec of a minigrad module, whose module becomes `Served` once its code has run."""
    spec = PathFinder.find_spec(fullname, path)
    if spec is None or spec.loader is None or fullname.startswith("minigrad.compat"):
        return None
    execute = spec.loader.exec_module

    def exec_module(module: types.ModuleType) -> None:
        execute(module)
        if type(module) is types.ModuleType:
            module.__class__ = Served

    spec.loader.exec_module = exec_module  # type: ignore[method-assign]
    return spec


def _import(name: str) -> types.ModuleType | None:
    """minigrad's module of that name: a real submodule.

    Or a module known by attribute (minigrad.functional names one elsewhere); or None.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
            raise
    parent, _, last = name.rpartition(".")
    owner = _import(parent) if parent else None
    found = None if owner is None else owner.__dict__.get(last)
    return found if isinstance(found, types.ModuleType) else None


def patch_spawn() -> None:
    """Processes started by multiprocessing's spawn method install the hook before they import the program."""
    from multiprocessing import spawn

    original = spawn.get_command_line
    if getattr(original, "_minigrad", False):
        return

    def command_line(**kwargs: Any) -> list[str]:
        line = original(**kwargs)
        if any(isinstance(f, Finder) for f in sys.meta_path) and "-c" in line:
            at = line.index("-c") + 1
            line[at] = "import minigrad.compat; minigrad.compat.install(); " + line[at]
        return line

    command_line._minigrad = True  # type: ignore[attr-defined]
    spawn.get_command_line = command_line
