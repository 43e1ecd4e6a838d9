"""`python -m minigrad.io FILE …`: what checkpoints hold, without running anything in them."""

from __future__ import annotations

import argparse
import json
import pickle
import sys
from typing import Any

import minigrad as mg

from ._files import Source
from .serialization import _load, _restorer, get_unsafe_globals_in_checkpoint, read_info


def _leaves(value: Any, name: str, depth: int = 0) -> list[tuple[str, Any]]:
    """(name, value) of everything that is no container."""
    if depth > 50:
        return [(name, "…")]
    if isinstance(value, dict):
        items: Any = value.items()
    elif isinstance(value, (list, tuple)) and type(value) is not mg.Size:
        items = enumerate(value)
    else:
        return [(name, value)]
    found = []
    for key, item in items:
        found += _leaves(item, f"{name}.{key}" if name else str(key), depth + 1)
    return found


def _show(path: str, all_values: bool) -> None:
    from ._globals import TorchRules
    from ._torch_zip import safe_unpickle

    print(path)
    for key, value in read_info(path).items():
        if value not in (None, {}):
            print(f"  {key}: {value if isinstance(value, str) else json.dumps(value)}")
    with Source(path) as source:
        mapped = source.head(4) == b"PK\x03\x04" or source.head(9)[8:9] == b"{"
    with Source(path, mmap=mapped) as source:  # only descriptions are looked at: tensors are not read
        state = _load(source, _restorer(lambda storage, location: storage), safe_unpickle(TorchRules()), "utf-8")
    leaves = _leaves(state, "")
    tensors = [(name, value) for name, value in leaves if isinstance(value, mg.Tensor)]
    width = max([len(name) for name, _ in tensors], default=0)
    for name, value in tensors:
        print(f"  {name:<{width}}  {str(value.dtype).rpartition('.')[2]:<10} {tuple(value.shape)}")
    others = [(name, value) for name, value in leaves if not isinstance(value, mg.Tensor)]
    for name, value in others if all_values else others[:20]:
        text = repr(value)
        print(f"  {name} = {text if len(text) < 100 else text[:100] + '…'}")
    if len(others) > 20 and not all_values:
        print(f"  … and {len(others) - 20} other values (--all shows them)")
    elements = sum(value.numel() for _, value in tensors)
    size = sum({value.untyped_storage()._cdata: value.untyped_storage().nbytes() for _, value in tensors}.values())
    print(f"  {len(tensors)} tensors, {elements:,} elements, {size:,} bytes")


def main(arguments: list[str] | None = None) -> int:
    """Show each file; 1 when one of them cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m minigrad.io", description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE", help="PyTorch checkpoint, minigrad's .mg, or safetensors")
    parser.add_argument("--all", action="store_true", help="show all values that are no tensors, not only the first 20")
    options = parser.parse_args(arguments)
    status = 0
    for path in options.files:
        try:
            _show(path, options.all)
        except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            status = 1
            try:
                unsafe = get_unsafe_globals_in_checkpoint(path)
            except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError):
                continue
            if unsafe:
                print(f"  globals that need weights_only=False or add_safe_globals: {', '.join(unsafe)}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
