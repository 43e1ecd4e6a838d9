"""nn.Module itself: registration, attributes, traversal, state_dict, conversion, hooks; errors as torch words them."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict

import pytest

torch = pytest.importorskip("torch")


import minigrad as mg  # noqa: E402

BOTH = pytest.mark.parametrize("lib", [mg, torch], ids=["minigrad", "torch"])


def net_of(lib):
    """A small net with shared parts, buffers and a None child."""

    class Block(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = lib.nn.Linear(3, 3)
            self.register_buffer("scale", lib.ones(3))
            self.register_buffer("hidden", lib.zeros(2), persistent=False)
            self.register_parameter("nothing", None)

        def forward(self, x):
            return self.lin(x) * self.scale

    class Net(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = lib.nn.ModuleList([Block(), Block()])
            self.tied = self.blocks[0]
            self.weight = lib.nn.Parameter(lib.ones(3))
            self.empty = None
            self.register_module("absent", None)
            self.head = lib.nn.Sequential(OrderedDict(a=lib.nn.Linear(3, 2), b=lib.nn.ReLU()))

        def forward(self, x):
            for block in self.blocks:
                x = block(x) * self.weight
            return self.head(x)

    return Net()


def outcome(fn):
    """What a call does, comparable between the libraries: the class and text of its error, or its result."""
    try:
        return "returned", fn()
    except Exception as error:
        return type(error).__name__, str(error).replace("minigrad", "torch")


def test_traversal_matches_torch():
    mine, theirs = net_of(mg), net_of(torch)
    for name in ("named_modules", "named_children", "named_parameters", "named_buffers"):
        assert [n for n, _ in getattr(mine, name)()] == [n for n, _ in getattr(theirs, name)()], name
    for options in ({"recurse": False}, {"prefix": "p"}, {"remove_duplicate": False}):
        assert [n for n, _ in mine.named_parameters(**options)] == [n for n, _ in theirs.named_parameters(**options)]
    assert len(list(mine.modules())) == len(list(theirs.modules()))
    assert len(list(mine.children())) == len(list(theirs.children()))
    assert repr(mine) == repr(theirs)
    assert list(mine.state_dict()) == list(theirs.state_dict())
    assert list(mine.state_dict(prefix="x.")) == list(theirs.state_dict(prefix="x."))
    assert set(dir(theirs)) >= {"weight", "blocks", "head"} <= set(dir(mine))


def before_init(lib, action):
    """What happens when a constructor acts before Module.__init__."""
    return type("Early", (lib.nn.Module,), {"__init__": action})()


ERRORS = {
    "parameter before init": lambda lib: before_init(lib, lambda s: setattr(s, "w", lib.nn.Parameter(lib.ones(1)))),
    "module before init": lambda lib: before_init(lib, lambda s: setattr(s, "w", lib.nn.ReLU())),
    "buffer before init": lambda lib: before_init(lib, lambda s: s.register_buffer("w", None)),
    "tensor over parameter": lambda lib: setattr(net_of(lib), "weight", lib.ones(3)),
    "number over module": lambda lib: setattr(net_of(lib), "head", 3),
    "number over buffer": lambda lib: setattr(net_of(lib).tied, "scale", 3),
    "buffer name taken": lambda lib: net_of(lib).register_buffer("weight", lib.ones(1)),
    "parameter name taken": lambda lib: net_of(lib).register_parameter("head", None),
    "module name taken": lambda lib: net_of(lib).add_module("weight", lib.nn.ReLU()),
    "dotted buffer": lambda lib: net_of(lib).register_buffer("a.b", None),
    "dotted parameter": lambda lib: net_of(lib).register_parameter("a.b", None),
    "dotted module": lambda lib: net_of(lib).add_module("a.b", None),
    "empty buffer": lambda lib: net_of(lib).register_buffer("", None),
    "empty module": lambda lib: net_of(lib).add_module("", None),
    "no module": lambda lib: net_of(lib).add_module("x", 3),
    "no buffer": lambda lib: net_of(lib).register_buffer("x", 3),
    "no parameter": lambda lib: net_of(lib).register_parameter("x", lib.ones(1)),
    "no leaf": lambda lib: net_of(lib).register_parameter("x", lib.nn.Parameter(lib.ones(1)) * 1),
    "missing attribute": lambda lib: net_of(lib).nope,
    "missing delattr": lambda lib: delattr(net_of(lib), "nope"),
    "train with an int": lambda lib: net_of(lib).train(1),
    "no forward": lambda lib: lib.nn.Module()(1),
    "init with arguments": lambda lib: lib.nn.Module(1),
    "init with keywords": lambda lib: lib.nn.Module(a=1),
    "get_submodule": lambda lib: net_of(lib).get_submodule("head.zzz"),
    "get_submodule no module": lambda lib: net_of(lib).get_submodule("weight"),
    "get_parameter": lambda lib: net_of(lib).get_parameter("head.a.zzz"),
    "get_parameter no parameter": lambda lib: net_of(lib).get_parameter("head"),
    "get_buffer no buffer": lambda lib: net_of(lib).get_buffer("weight"),
    "load no dict": lambda lib: net_of(lib).load_state_dict([]),
    "sequential index": lambda lib: lib.nn.Sequential(lib.nn.ReLU())[3],
    "modulelist index": lambda lib: lib.nn.ModuleList()[0],
    "moduledict key": lambda lib: lib.nn.ModuleDict()["a"],
    "parameterlist call": lambda lib: lib.nn.ParameterList()(1),
    "dropout p": lambda lib: lib.nn.Dropout(1.5),
    "conv groups": lambda lib: lib.nn.Conv2d(3, 4, 1, groups=2),
    "conv groups out": lambda lib: lib.nn.Conv2d(4, 3, 1, groups=2),
    "conv stride same": lambda lib: lib.nn.Conv2d(4, 4, 1, stride=2, padding="same"),
    "batchnorm dims": lambda lib: lib.nn.BatchNorm2d(3)(lib.zeros(2, 3)),
    "batchnorm one value": lambda lib: lib.nn.BatchNorm1d(3)(lib.zeros(1, 3)),
    "embedding padding": lambda lib: lib.nn.Embedding(3, 2, padding_idx=3),
    "to int": lambda lib: net_of(lib).to(lib.int64),
    "bce size": lambda lib: lib.nn.BCEWithLogitsLoss()(lib.zeros(2), lib.zeros(3)),
    "triplet margin": lambda lib: lib.nn.TripletMarginLoss(margin=-1),
    "groupnorm": lambda lib: lib.nn.GroupNorm(2, 3),
    "reduction": lambda lib: lib.nn.functional.huber_loss(lib.zeros(2), lib.zeros(2), reduction="nope"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_torchs(name):
    mine, theirs = outcome(lambda: ERRORS[name](mg)), outcome(lambda: ERRORS[name](torch))
    assert mine[0] == theirs[0] != "returned"
    assert mine[1] == theirs[1]


@BOTH
def test_attribute_rules(lib):
    net = net_of(lib)
    assert net.absent is None and net.tied is net.blocks[0]
    net.weight = None
    assert net.weight is None and "weight" in net._parameters
    net.head = None
    assert net.head is None and "head" in net._modules
    net.tied.scale = lib.zeros(3)
    assert "scale" in net.tied._buffers and "scale" not in net.tied.__dict__
    net.extra = 3
    net.extra = lib.nn.Parameter(lib.ones(2))  # a plain attribute gives way to a parameter
    assert "extra" not in net.__dict__ and "extra" in net._parameters
    with pytest.raises(TypeError, match="as parameter 'extra'"):
        net.extra = lib.nn.ReLU()
    del net.extra
    net.extra = lib.nn.ReLU()
    assert "extra" in net._modules and "extra" not in net._parameters
    del net.extra
    assert not hasattr(net, "extra")
    net.buf = lib.nn.Buffer(lib.ones(1), persistent=False)
    assert "buf" in net._buffers and "buf" not in net.state_dict()
    assert net.get_submodule("blocks.1.lin") is net.blocks[1].lin
    assert net.get_parameter("blocks.0.lin.weight") is net.tied.lin.weight
    assert net.get_buffer("tied.scale") is net.tied.scale
    net.set_submodule("blocks.1.lin", lib.nn.Identity())
    assert isinstance(net.blocks[1].lin, lib.nn.Identity)


@BOTH
def test_modes_and_gradients(lib):
    net = net_of(lib)
    assert net.eval() is net and not any(m.training for m in net.modules())
    assert net.train() is net and all(m.training for m in net.modules())
    net(lib.ones(2, 3)).sum().backward()
    net.zero_grad(set_to_none=False)
    assert all(p.grad is not None and float(p.grad.abs().sum()) == 0 for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    net.requires_grad_(False)
    assert not net(lib.ones(2, 3)).requires_grad
    seen = []
    assert net.apply(lambda m: seen.append(type(m).__name__)) is net and seen[-1] == "Net"


@BOTH
def test_conversion(lib):
    net = net_of(lib)
    net(lib.ones(2, 3)).sum().backward()
    first = net.weight
    assert net.double() is net and net.weight is first
    assert all(t.dtype == lib.float64 for t in [*net.parameters(), *net.buffers()])
    assert net.weight.grad.dtype == lib.float64
    for convert, dtype in ((net.half, lib.float16), (net.bfloat16, lib.bfloat16), (net.float, lib.float32)):
        assert convert().weight.dtype == dtype
    assert net.to(lib.float64).weight.dtype == lib.float64
    assert net.to("cpu", lib.float32).weight.dtype == lib.float32
    assert net.to(dtype=lib.float64, non_blocking=True).weight.dtype == lib.float64
    assert net.to(lib.ones(1, dtype=lib.float32)).weight.dtype == lib.float32
    norm = lib.nn.BatchNorm1d(3).double()
    assert norm.num_batches_tracked.dtype == lib.int64 and norm.running_mean.dtype == lib.float64


def test_load_state_dict_errors_are_torchs():
    def results(lib):
        net = net_of(lib)
        state = net.state_dict()
        wrong = OrderedDict(state, weight=lib.ones(4), extra=lib.ones(1))
        wrong["blocks.0.zzz.w"] = lib.ones(1)
        del wrong["head.a.bias"]
        yield outcome(lambda: net.load_state_dict(wrong))
        yield outcome(lambda: net.load_state_dict(OrderedDict(state, weight=3)))
        del wrong["weight"]
        yield outcome(lambda: repr(net.load_state_dict(wrong, strict=False)))
        yield outcome(lambda: repr(net.load_state_dict(state)))

    for mine, theirs in zip(results(mg), results(torch), strict=True):
        assert mine == theirs


@BOTH
def test_load_assign_and_sharing(lib):
    net = net_of(lib)
    state = {k: v.clone() + 1 for k, v in net.state_dict().items()}
    before = net.weight
    net.load_state_dict(state)
    assert net.weight is before and float(net.weight[0]) == 2.0
    net.load_state_dict(state, assign=True)
    assert net.weight is not before and net.weight.data_ptr() == state["weight"].data_ptr()
    assert isinstance(net.weight, lib.nn.Parameter) and net.weight.requires_grad
    assert net.state_dict()["weight"].data_ptr() == net.weight.data_ptr()
    assert net.state_dict(keep_vars=True)["weight"] is net.weight
    assert not net.state_dict()["weight"].requires_grad


@BOTH
def test_containers(lib):
    nn = lib.nn
    seq = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    assert len(seq[:2]) == 2 and isinstance(seq[-1], nn.Linear) and list(seq[1:].state_dict()) == ["2.weight", "2.bias"]
    seq.append(nn.Sigmoid()).insert(1, nn.Tanh())
    assert [type(m).__name__ for m in seq] == ["Linear", "Tanh", "ReLU", "Linear", "Sigmoid"]
    del seq[1]
    seq[0] = nn.Identity()
    assert [n for n, _ in seq.named_children()] == ["0", "1", "2", "3"]
    assert isinstance(seq.pop(3), nn.Sigmoid) and len(seq + seq) == 6 and len(seq * 2) == 6
    items = nn.ModuleList([nn.Linear(1, 1) for _ in range(3)])
    items.insert(1, nn.ReLU())
    items += [nn.ReLU(), nn.ReLU()]
    assert len(items) == 6 and isinstance(items[1:3], nn.ModuleList)
    named = nn.ModuleDict({"a": nn.ReLU()})
    named.update([("b", nn.Tanh())])
    assert list(named) == ["a", "b"] and "b" in named and type(named.pop("b")).__name__ == "Tanh"
    plist = nn.ParameterList([lib.ones(2), nn.Parameter(lib.zeros(1))])
    plist.append(lib.ones(3))
    assert [n for n, _ in plist.named_parameters()] == ["0", "1", "2"] and len(plist[1:]) == 2
    pdict = nn.ParameterDict({"w": lib.ones(2)})
    pdict["v"] = lib.zeros(1)
    assert list(pdict.keys()) == ["w", "v"] and [n for n, _ in pdict.named_parameters()] == ["w", "v"]


def test_container_reprs():
    def text(lib):
        nn = lib.nn
        return [
            repr(module)
            for module in (
                nn.Sequential(),
                nn.ModuleList([nn.Linear(1, 2), nn.Linear(1, 2), nn.ReLU(), nn.Sequential(nn.Linear(1, 2), nn.ReLU())]),
                nn.ModuleDict({"x": nn.ModuleList([nn.Sequential(nn.ReLU()), nn.Sequential(nn.ReLU())])}),
                nn.ParameterList([lib.ones(2, 3), nn.Parameter(lib.zeros(1, dtype=lib.float64)), 3]),
                nn.ParameterDict({"w": lib.ones(2), "n": 3}),
            )
        ]

    for mine, theirs in zip(text(mg), text(torch), strict=True):
        assert mine.replace("minigrad.", "torch.") == theirs


@BOTH
def test_parameter(lib):
    p = lib.nn.Parameter(lib.ones(2))
    assert p.requires_grad and p.is_leaf and isinstance(p, lib.Tensor) and isinstance(p, lib.nn.Parameter)
    assert not isinstance(lib.ones(2), lib.nn.Parameter) and type(p * 1) is lib.Tensor
    assert repr(p).startswith("Parameter containing:\ntensor([1., 1.]") and repr(p).endswith("requires_grad=True)")
    frozen = lib.nn.Parameter(p, requires_grad=False)
    assert not frozen.requires_grad and frozen.data_ptr() == p.data_ptr()
    for other in (copy.deepcopy(p), pickle.loads(pickle.dumps(p))):
        assert isinstance(other, lib.nn.Parameter) and other.requires_grad and other.data_ptr() != p.data_ptr()
    assert lib.nn.Parameter().numel() == 0
    base = lib.ones(2)
    shared = lib.nn.Parameter(base)
    base[0] = 5
    assert float(shared[0]) == 5.0


@BOTH
def test_deepcopy_keeps_ties(lib):
    net = net_of(lib)
    net(lib.ones(1, 3)).sum().backward()
    other = copy.deepcopy(net)
    assert other.tied is other.blocks[0] and other.tied is not net.tied
    assert other.weight.grad is None


def test_initialisation_distributions():
    torch.manual_seed(0)
    mg.manual_seed(0)
    table = {"Linear": (300, 400), "Conv2d": (30, 400, 5), "Embedding": (300, 50), "Bilinear": (20, 30, 400)}
    for name, args in table.items():
        mine, theirs = getattr(mg.nn, name)(*args), getattr(torch.nn, name)(*args)
        for key, expected in theirs.state_dict().items():
            actual = mine.state_dict()[key]
            spread = float(expected.std())
            assert abs(float(actual.std()) - spread) < 0.12 * spread, (name, key)
            off = abs(float(actual.mean()) - float(expected.mean()))
            assert off < 6 * spread / expected.numel() ** 0.5, (name, key)
            if name != "Embedding":  # uniform: the ends are the bounds
                assert abs(float(actual.max()) - float(expected.max())) < 0.3 * spread, (name, key)
