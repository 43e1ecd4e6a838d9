"""All op declarations. Importing this package fills `minigrad.op.registry`; each module is one family."""
import importlib, os
for _name in sorted(f[:-3] for f in os.listdir(os.path.dirname(os.path.realpath(__file__))) if f.endswith(".py") and f[0] != "_"):
    importlib.import_module("minigrad.ops." + _name)
