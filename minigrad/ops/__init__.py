"""All op declarations. Importing this package fills `minigrad.op.registry`; each module is one family."""
import importlib, os, sys
for _name in sorted(f[:-3] for f in os.listdir(os.path.dirname(os.path.realpath(__file__))) if f.endswith(".py") and f[0] != "_"):
    try:
        importlib.import_module("minigrad.ops." + _name)
    except Exception as _e:  # TEMPORARY while the families are being written in parallel
        print(f"minigrad.ops.{_name}: {_e!r}", file=sys.stderr)
