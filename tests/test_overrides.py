"""__torch_function__: subclasses of Tensor, foreign classes, modes; every case also run on PyTorch, with equal outcome."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# Each case runs in a fresh process, once per library: overriding classes change how a process calls from then on.
CASES = {
    "a plain subclass spreads": """
class Sub(torch.Tensor): pass
s = torch.ones(2, 3).as_subclass(Sub)
for y in (s + 1, 1 + s, s * s, -s, s[0], s.T, s.sum(), s.view(3, 2), s.std(), s == 1, torch.add(s, 1), torch.relu(s), F.relu(s),
          s.float(),
          torch.stack([s, s]), torch.cat([torch.ones(1, 3), s]), s.unbind(0)[0], torch.std(s), s.detach(), s.clone(), s.data,
          F.linear(s, s),
          s.max(0).values, F.softmax(s, -1), s.to(torch.float64), torch.ones(2, 3) + s, torch.ones(2, 3) - s, s.add_(1)):
    print(type(y).__name__, tuple(y.shape))
print(type(s.shape).__name__, type(s.tolist()).__name__, isinstance(s, torch.Tensor))
""",
    "history goes on": """
class Sub(torch.Tensor): pass
x = torch.ones(3, requires_grad=True)
s = x.as_subclass(Sub)
(s * 2).sum().backward()
print(x.grad.tolist(), s.is_leaf, s.requires_grad)
""",
    "a class sees what is called": """
class Logged(torch.Tensor):
    seen = []
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        Logged.seen.append(func.__name__)
        return super().__torch_function__(func, types, args, kwargs or {})
s = torch.ones(2).as_subclass(Logged)
y = torch.add(s, 1); z = y.mul(2); torch.stack([z, z])
print(Logged.seen, type(z).__name__)
""",
    "metadata travels": """
class Meta(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        result = super().__torch_function__(func, types, args, kwargs or {})
        found = [a for a in args if isinstance(a, Meta)]
        if isinstance(result, Meta) and found: result.label = getattr(found[0], 'label', None)
        return result
s = torch.ones(2).as_subclass(Meta); s.label = 'm'
print((s + 1).label, torch.relu(s).label, s[0].label)
""",
    "a foreign class with a table": """
HANDLED = {}
def implements(f):
    def put(g):
        HANDLED[f] = g
        return g
    return put
class Diagonal:
    def __init__(self, n, v): self.n, self.v = n, v
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func not in HANDLED: return NotImplemented
        return HANDLED[func](*args, **(kwargs or {}))
@implements(torch.matmul)
def _(a, b): return ('matmul', a.v)
@implements(torch.mean)
def _(a): return a.v / a.n
d = Diagonal(4, 2.0)
print(torch.matmul(d, torch.ones(4)), torch.mean(d))
try: torch.add(d, 1)
except TypeError as e: print('TypeError', 'Multiple dispatch failed' in str(e))
""",
    "a disabled class takes no part": """
class Off(torch.Tensor):
    __torch_function__ = torch._C._disabled_torch_function_impl
s = torch.ones(2).as_subclass(Off)
print(type(s + 1).__name__, type(torch.add(s, 1)).__name__, type(torch.nn.Parameter(torch.ones(1)) * 2).__name__)
""",
    "off inside a context": """
class Sub(torch.Tensor): pass
s = torch.ones(2).as_subclass(Sub)
with torch._C.DisableTorchFunctionSubclass():
    print(type(s + 1).__name__, type(torch.add(s, 1)).__name__)
print(type(s + 1).__name__)
""",
    "a mode sees every call": """
TorchFunctionMode = torch.overrides.TorchFunctionMode
class Count(TorchFunctionMode):
    n = 0
    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.n += 1
        return func(*args, **(kwargs or {}))
x = torch.ones(2)
with Count() as c:
    y = torch.add(x, 1); y = torch.relu(y)
torch.add(x, 1)
print(c.n, y.tolist())
""",
    "autocast begins after the first such class": """
class Sub(torch.Tensor): pass
with torch.autocast('cpu', dtype=torch.bfloat16):
    x = torch.ones(2, 3)
    print(F.linear(x, x).dtype == torch.bfloat16, F.mse_loss(x.bfloat16(), x.bfloat16()).dtype == torch.float32,
          (x @ x.T).dtype == torch.bfloat16)
""",
    "modules keep working": """
class Sub(torch.Tensor): pass
s = torch.ones(2, 3).as_subclass(Sub)
m = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.LayerNorm(4))
y = m(s); y.sum().backward()
print(type(y).__name__, type(m[0].weight.grad).__name__ in ('Tensor', 'Sub'), type(m[0].weight).__name__)
""",
}


def run(code: str, library: str) -> str:
    program = f"import warnings; warnings.simplefilter('ignore')\nimport {library} as torch\nF = torch.nn.functional\n{code}"
    root = Path(importlib.import_module("minigrad").__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", CASES)
def test_as_pytorch(name: str) -> None:
    pytest.importorskip("torch")
    assert run(CASES[name], "minigrad") == run(CASES[name], "torch")


def test_nothing_is_wrapped_before_the_first_such_class() -> None:
    code = "print(torch._core.overrides_enabled(), type(torch.std).__name__)"
    assert run(code, "minigrad").split()[0] == "False"


def test_overridable_functions_stand_for_what_they_wrap() -> None:
    code = """
before = torch.std
class Sub(torch.Tensor): pass
print(torch.std == before, hash(torch.std) == hash(before), before == torch.std, {before: 1}[torch.std], torch.std.__name__)
import pickle
print(*(pickle.loads(pickle.dumps(f)) is f for f in (torch.std, F.l1_loss)))
"""
    assert run(code, "minigrad").split() == ["True", "True", "True", "1", "std", "True", "True"]


def test_a_call_that_fails_for_another_reason_keeps_its_error() -> None:
    class NotATensor:
        pass

    import minigrad as mg

    value: Any = NotATensor()
    with pytest.raises(TypeError, match="NotATensor"):
        mg.matmul(value, mg.ones(2))


@pytest.mark.parametrize("first", ["", "class Sub(torch.Tensor): pass"])
def test_public_functions_pickle_to_themselves(first: str) -> None:
    code = f"""
{first}
import pickle
for space in (torch, F, torch.linalg, torch.fft, torch.special, torch.signal.windows):
    for name in dir(space):
        function = getattr(space, name)
        if name[0] != "_" and callable(function) and not isinstance(function, type):
            assert pickle.loads(pickle.dumps(function)) is function, name
"""
    run(code, "minigrad")
