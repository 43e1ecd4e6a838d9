"""`python -m minigrad.compat.coverage`: which of PyTorch's documented public names minigrad has, and docs/name_coverage.md.

The only place of ours, apart from the tests, that imports torch: it asks the installed one for its names. Absent
names are listed with their
reasons in absent_names.txt beside this file; the list may only shrink (tests/test_name_coverage.py).
"""

from __future__ import annotations

import argparse
import importlib
import inspect
from pathlib import Path
from typing import Any

NAMESPACES = (
    "torch", "torch.Tensor", "torch.nn", "torch.nn.functional", "torch.nn.init", "torch.nn.utils", "torch.nn.utils.rnn",
    "torch.nn.utils.parametrize", "torch.nn.utils.parametrizations", "torch.nn.utils.prune",
    "torch.nn.utils.stateless", "torch.nn.attention",
    "torch.optim", "torch.optim.lr_scheduler", "torch.optim.swa_utils", "torch.utils.data", "torch.utils.checkpoint", "torch.utils.dlpack",
    "torch.distributions", "torch.distributions.constraints", "torch.distributions.transforms", "torch.distributions.kl", "torch.linalg",
    "torch.fft", "torch.special", "torch.signal.windows", "torch.masked", "torch.sparse", "torch.autograd", "torch.autograd.functional",
    "torch.autograd.graph", "torch.func", "torch.amp", "torch.random", "torch.jit", "torch.cuda", "torch.cpu",
    "torch.mps", "torch.accelerator",
    "torch.backends.cudnn", "torch.backends.cuda", "torch.backends.mps", "torch.backends.mkldnn",
    "torch.backends.opt_einsum", "torch.distributed",
    "torch.library", "torch.overrides", "torch.compiler", "torch.hub", "torch.profiler", "torch.futures", "torch.multiprocessing",
    "torch.serialization", "torch.utils.hooks", "torch.utils.cpp_extension", "torch.utils.model_zoo",
    "torch.utils.tensorboard", "torch.onnx",
    "torch.fx", "torch.types", "torch.testing",
)  # fmt: skip
ABSENT_FILE = Path(__file__).with_name("absent_names.txt")
# Where the target of issue 4 is 97 %.
TARGETS = (
    "torch.nn", "torch.nn.functional", "torch.nn.init", "torch.nn.utils", "torch.optim", "torch.optim.lr_scheduler", "torch.utils.data",
    "torch.distributions",
)  # fmt: skip


def public_names(owner: Any) -> list[str]:
    """A namespace's public names: `__all__` where it has one, with what else is defined in that very package; else dir()."""
    listed = set(getattr(owner, "__all__", ()))
    if inspect.isclass(owner):
        listed = set(dir(owner))
    listed = {name for name in listed if not inspect.ismodule(getattr(owner, name, None)) or owner.__name__ == "torch.optim"}
    builtins: set[str] = set()
    for name, value in vars(owner).items():
        home = getattr(value, "__module__", "") or ""
        if inspect.ismodule(value) or name in listed or name[:1].isupper() and home in ("typing", "enum", "abc"):
            continue
        if not listed and not inspect.isclass(owner) and inspect.isbuiltin(value):
            builtins.add(name)  # torch.linalg: C functions, no __all__
        if home == owner.__name__ or (home.startswith(owner.__name__ + ".") and owner.__name__ != "torch"):
            listed.add(name)
    return sorted(name for name in listed | builtins if not name.startswith("_"))


def ours(namespace: str) -> Any:
    """minigrad's counterpart of a torch namespace, or None."""
    import minigrad

    if namespace == "torch.Tensor":
        return minigrad.Tensor
    try:
        return importlib.import_module("minigrad" + namespace.removeprefix("torch"))
    except ModuleNotFoundError:
        return None


def theirs(namespace: str) -> Any:
    """torch's namespace."""
    torch = importlib.import_module("torch")
    return torch.Tensor if namespace == "torch.Tensor" else importlib.import_module(namespace)


def has(owner: Any, name: str) -> bool:
    """Whether minigrad has the name; a property may raise on the class, so ask the class first."""
    try:
        return hasattr(owner, name)
    except Exception:
        return True


def measure() -> dict[str, tuple[list[str], list[str]]]:
    """{namespace: (present names, absent names)}."""
    found = {}
    for namespace in NAMESPACES:
        try:
            names = public_names(theirs(namespace))
        except ModuleNotFoundError:
            continue
        mine = ours(namespace)
        present = [n for n in names if mine is not None and has(mine, n)]
        found[namespace] = (present, [n for n in names if n not in set(present)])
    return found


def absent_reasons() -> list[tuple[str, str]]:
    """The lines of absent_names.txt: (pattern, reason), e.g. ('torch.quantize_*', 'quantization is not here')."""
    lines = [line.split("#")[0].rstrip() for line in ABSENT_FILE.read_text().splitlines()]
    return [(pattern.strip(), reason.strip()) for pattern, _, reason in (line.partition(":") for line in lines if line)]


def reason_of(name: str, reasons: list[tuple[str, str]]) -> str | None:
    """The reason of the first pattern that fits."""
    from fnmatch import fnmatchcase

    return next((reason for pattern, reason in reasons if fnmatchcase(name, pattern)), None)


def page(found: dict[str, tuple[list[str], list[str]]]) -> str:
    """docs/name_coverage.md."""
    torch = importlib.import_module("torch")
    version = torch.__version__.split("+")[0]
    lines = [
        "# Names of PyTorch that are here", "",
        f"Generated by `python -m minigrad.compat.coverage` from the public names (`__all__`, `dir`) of torch {version}.",
        "Absent names carry the reason of their line in `minigrad/compat/absent_names.txt`, which may only shrink.", "",
        "| namespace | names | present | |", "|---|---|---|---|",
    ]  # fmt: skip
    for namespace, (present, absent) in found.items():
        total = len(present) + len(absent)
        lines.append(f"| {namespace} | {total} | {len(present)} | {100 * len(present) / max(total, 1):.1f} % |")
    total = sum(len(p) + len(a) for p, a in found.values())
    held = sum(len(p) for p, _ in found.values())
    lines += [f"| **all** | {total} | {held} | {100 * held / total:.1f} % |", "", "## Absent", ""]
    reasons = absent_reasons()
    for namespace, (_, absent) in found.items():
        groups: dict[str, list[str]] = {}
        for name in absent:
            groups.setdefault(reason_of(f"{namespace}.{name}", reasons) or "no reason given yet", []).append(name)
        if groups:
            lines += [f"**{namespace}**", ""]
            lines += [f"- {reason}: {', '.join(f'`{n}`' for n in names)}" for reason, names in groups.items()]
            lines.append("")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Write the page, or print the absent names without a reason."""
    parser = argparse.ArgumentParser(prog="python -m minigrad.compat.coverage", description="Which of PyTorch's names minigrad has.")
    parser.add_argument("--out", default=None, help="write docs/name_coverage.md (or another file)")
    parser.add_argument("--unexplained", action="store_true", help="print the absent names that have no reason")
    options = parser.parse_args(argv)
    found = measure()
    if options.unexplained:
        reasons = absent_reasons()
        for namespace, (_, absent) in found.items():
            left = [n for n in absent if reason_of(f"{namespace}.{n}", reasons) is None]
            if left:
                print(f"{namespace}: {' '.join(left)}")
        return 0
    text = page(found)
    if options.out:
        Path(options.out).write_text(text)
    for namespace, (present, absent) in found.items():
        total = len(present) + len(absent)
        print(f"{namespace:34} {len(present):5} / {total:<5} {100 * len(present) / max(total, 1):6.1f} %")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
