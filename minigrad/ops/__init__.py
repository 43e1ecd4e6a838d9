"""All op declarations. Importing this package fills `minigrad.op.registry`; each module is one family."""
import importlib
for _name in """activation activation_grad binary compare conv create index join loss matmul norm pool random reduce scan softmax sort ternary transcendental unary view""".split():
    try:
        importlib.import_module("minigrad.ops." + _name)
    except ModuleNotFoundError as _e:
        if "minigrad.ops." not in str(_e): raise
