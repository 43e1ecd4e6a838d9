"""Habits of public model code, each a function of the library; see test_nn_machinery.py."""

from __future__ import annotations

import abc
import copy
import functools
import weakref
from dataclasses import dataclass
from typing import Generic, TypeVar


def wrapper_getattr(lib):
    nn = lib.nn

    class W(nn.Module):
        def __init__(s, m):
            super().__init__()
            s.module = m

        def __getattr__(s, n):
            try:
                return super().__getattr__(n)
            except AttributeError:
                return getattr(s.module, n)

        def forward(s, x):
            return s.module(x)

    w = W(nn.Linear(2, 3))
    return w.in_features, w(lib.ones(1, 2)).shape == (1, 3), hasattr(w, "zzz")


def class_call_patch(lib):
    nn = lib.nn
    orig = nn.Module.__call__
    seen = []

    def call(self, *a, **k):
        seen.append(type(self).__name__)
        return orig(self, *a, **k)

    nn.Module.__call__ = call
    try:
        nn.Sequential(nn.ReLU(), nn.Tanh())(lib.ones(1))
    finally:
        nn.Module.__call__ = orig
    return seen


def sub_call(lib):
    nn = lib.nn

    class M(nn.Module):
        def __call__(s, *a, **k):
            return ("c", super().__call__(*a, **k))

        def forward(s, x):
            return x + 1

    return M()(1)


def generic(lib):
    nn = lib.nn
    T = TypeVar("T")

    class M(nn.Module, Generic[T]):
        def forward(s, x: T) -> T:
            return x

    class A(nn.Module, abc.ABC):
        @abc.abstractmethod
        def f(s): ...

    try:
        A()
        r = "no"
    except TypeError:
        r = "abstract"
    return M()(3), M[int]()(4), r


def dc(lib):
    nn = lib.nn

    @dataclass(eq=False)
    class M(nn.Module):
        a: int = 3

        def __post_init__(s):
            super().__init__()
            s.l = nn.Linear(s.a, 1)

    m = M()
    return m.a, m.l.in_features, [n for n, _ in m.named_parameters()]


def dc_new(lib):
    nn = lib.nn

    @dataclass(unsafe_hash=True)
    class M(nn.Module):
        a: int = 3

        def __new__(cls, *a, **k):
            o = super().__new__(cls)
            nn.Module.__init__(o)
            return o

    m = M(4)
    return m.a


def old_super(lib):
    nn = lib.nn

    class M(nn.Module):
        def __init__(self):
            super().__init__()
            nn.Module.__init__(self)
            self.f = nn.Linear(1, 1)

    return len(list(M().parameters()))


def raw_tables(lib):
    nn = lib.nn
    m = nn.Linear(2, 2)
    m._parameters["weight"] = nn.Parameter(lib.zeros(2, 2))
    del m._parameters["bias"]
    m.register_parameter("bias", None)
    m._buffers["b"] = lib.ones(1)
    m._modules["x"] = nn.ReLU()
    return (
        m(lib.ones(1, 2)).tolist(),
        list(m.state_dict()),
        "x" in dict(m.named_modules()),
        m.b.tolist(),
        isinstance(m._parameters, dict),
    )


def object_setattr(lib):
    nn = lib.nn
    m = nn.Linear(2, 2)
    object.__setattr__(m, "hidden", nn.ReLU())
    m.__dict__["raw"] = nn.Tanh()
    return len(list(m.modules())), type(m.hidden).__name__, type(m.raw).__name__


def weak(lib):
    nn = lib.nn
    m = nn.ReLU()
    r = weakref.ref(m)
    s = {m: 1}
    return r() is m, s[m], m == nn.ReLU(), bool(m)


def weight_assign(lib):
    nn = lib.nn
    m = nn.Linear(2, 2)
    m.weight.data = lib.ones(2, 2)
    m.weight.data.fill_(2)
    m.bias.data.zero_()
    m.weight.data[0] = 0
    m.weight.data *= 3
    return m(lib.ones(1, 2)).tolist()


def tied(lib):
    nn = lib.nn
    e = nn.Embedding(5, 3)
    head = nn.Linear(3, 5, bias=False)
    head.weight = e.weight

    class M(nn.Module):
        def __init__(s):
            super().__init__()
            s.e = e
            s.l = head

    m = M()
    m2 = copy.deepcopy(m)
    return len(list(m.parameters())), list(m.state_dict()), m2.e.weight is m2.l.weight, m.double().e.weight is m.l.weight


def partial_init(lib):
    nn = lib.nn
    m = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), nn.Embedding(3, 3), nn.Conv2d(3, 3, 3))

    def init(mod, std):
        if isinstance(mod, (nn.Linear, nn.Embedding)):
            nn.init.normal_(mod.weight, 0, std)
        elif isinstance(mod, nn.LayerNorm):
            nn.init.constant_(mod.bias, 0)
            nn.init.constant_(mod.weight, 1.0)
        cls = mod.__class__.__name__
        if cls.find("Conv") != -1:
            mod.weight.data.normal_(0.0, 0.02)
        if hasattr(mod, "bias") and mod.bias is not None:
            mod.bias.data.fill_(0)

    m.apply(functools.partial(init, std=0.02))
    return float(m[3].bias.sum())


def feature_hooks(lib):
    nn = lib.nn
    m = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    act = {}

    def get(name):
        def hook(model, input, output):
            act[name] = output.detach()

        return hook

    hs = [mod.register_forward_hook(get(n)) for n, mod in m.named_modules()]
    m(lib.ones(1, 2))
    [h.remove() for h in hs]
    return sorted(act)


def gradcam(lib):
    nn = lib.nn
    m = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    g = []
    m[0].register_full_backward_hook(lambda mod, gi, go: g.append((gi[0] is None, go[0].shape == (1, 2, 3, 3))))
    m[1].register_backward_hook(lambda mod, gi, go: g.append(go[0].shape == (1, 2, 3, 3)))
    m(lib.ones(1, 1, 5, 5))[0, 0].backward()
    return g


def ema(lib):
    nn = lib.nn
    m = nn.BatchNorm1d(2)
    e = copy.deepcopy(m).eval().requires_grad_(False)
    with lib.no_grad():
        for a, b in zip(e.parameters(), m.parameters()):
            a.mul_(0.9).add_(b.data, alpha=0.1)
            a.copy_(b)
        for (_k, a), (_k2, b) in zip(e.state_dict().items(), m.state_dict().items()):
            a.copy_(b)
    return all(not x.requires_grad for x in e.parameters())


def filt_load(lib):
    nn = lib.nn
    m = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 3))
    sd = {k: v for k, v in nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 4)).state_dict().items()}
    own = m.state_dict()
    sd = {k: v for k, v in sd.items() if k in own and v.shape == own[k].shape}
    own.update(sd)
    m.load_state_dict(own)
    r = m.load_state_dict(sd, strict=False)
    return r.missing_keys, tuple(r), r == r


def training_prop(lib):
    nn = lib.nn
    m = nn.Dropout(0.5)
    m.train(False)
    return m.training, m(lib.ones(3)).tolist()


def cached_buf(lib):
    nn = lib.nn

    class M(nn.Module):
        def __init__(s):
            super().__init__()
            s.register_buffer("mask", lib.tril(lib.ones(3, 3)).view(1, 1, 3, 3), persistent=False)
            s.register_buffer("pe", lib.zeros(1))
            s.scale = nn.Parameter(lib.tensor(2.0))
            s.cfg = {"a": 1}
            s.layers = [nn.ReLU()]
            s.opt = None

    m = M()
    m.pe = m.pe + 1
    m.opt = nn.ReLU()
    m.opt = None
    copy.copy(m)
    return list(m.state_dict()), m.mask.shape == (1, 1, 3, 3), m.scale.item(), repr(m), m.float().mask.dtype == lib.float32


def init_subclass(lib):
    nn = lib.nn
    reg = {}

    class Base(nn.Module):
        def __init_subclass__(cls, name=None, **k):
            super().__init_subclass__(**k)
            reg[name] = cls.__name__

    class A(Base, name="a"):
        pass

    return reg
