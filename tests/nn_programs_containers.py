"""Small programs on containers, parameters, lazy modules and wrappers; see test_nn_machinery.py."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections import OrderedDict

from nn_programs import names, net


# ---- containers ---
def sequential(lib):
    nn = lib.nn
    s = nn.Sequential(nn.Linear(1, 2), nn.ReLU())
    s.append(nn.Tanh()).insert(1, nn.Identity())
    s.extend(nn.Sequential(nn.Sigmoid()))
    popped = s.pop(0)
    other = s + nn.Sequential(nn.GELU())
    s *= 2
    s += nn.Sequential(nn.ELU())
    return repr(s), repr(other), type(popped).__name__, len(s), repr(s[1:3]), repr(s[-1]), repr(s * 2)[:30]


def sequential_index(lib):
    return net(lib)[9]


def sequential_add_wrong(lib):
    return lib.nn.Sequential() + 3


def sequential_multiply_wrong(lib):
    return lib.nn.Sequential(lib.nn.ReLU()) * 0


def sequential_insert_wrong(lib):
    return lib.nn.Sequential().insert(0, 3)


def module_list(lib):
    nn = lib.nn
    items = nn.ModuleList([nn.Linear(1, 1), nn.ReLU()])
    items += [nn.Tanh()]
    items.insert(0, nn.Identity())
    items[1] = nn.GELU()
    del items[0]
    longer = repr(items + nn.ModuleList([nn.ELU()]))
    return repr(items), repr(items[:2]), len(items), type(items.pop(-1)).__name__, longer, [type(m).__name__ for m in items]


def module_list_wrong(lib):
    return lib.nn.ModuleList([3])


def module_list_extend_wrong(lib):
    return lib.nn.ModuleList().extend(3)


def module_list_index(lib):
    return lib.nn.ModuleList()[0]


def module_list_called(lib):
    return lib.nn.ModuleList()(1)


def module_dict(lib):
    nn = lib.nn
    d = nn.ModuleDict(OrderedDict(b=nn.ReLU(), a=nn.Tanh()))
    d.update({"z": nn.ELU(), "c": nn.GELU()})
    d.update([("y", nn.Identity())])
    d["n"] = nn.Linear(1, 1)
    del d["b"]
    before = repr(d), list(d), "a" in d, len(d), list(d.keys())
    return before, type(d.pop("a")).__name__, [k for k, _ in d.items()], len(list(d.values())), d.clear(), len(d)


def module_dict_wrong(lib):
    return lib.nn.ModuleDict(3)


def module_dict_pairs_wrong(lib):
    return lib.nn.ModuleDict([("a",)])


def module_dict_key_wrong(lib):
    return lib.nn.ModuleDict({"forward": lib.nn.ReLU()})


def module_dict_missing(lib):
    return lib.nn.ModuleDict()["x"]


def parameter_list(lib):
    p = lib.nn.ParameterList([lib.nn.Parameter(lib.ones(2)), lib.zeros(1)])
    p.append(lib.ones(3, 3))
    p += [lib.nn.Parameter(lib.ones(1))]
    p[0] = lib.nn.Parameter(lib.zeros(4))
    values = p.pop(-1) if hasattr(p, "pop") else None
    return repr(p), len(p), names(p), list(p.state_dict()), tuple(p[-1].shape), len(p[1:]), values is None, "0" in dir(p)


def parameter_list_index(lib):
    return lib.nn.ParameterList()[1]


def parameter_list_called(lib):
    return lib.nn.ParameterList()(1)


def parameter_list_wrong(lib):
    return lib.nn.ParameterList().extend(3)


def parameter_dict(lib):
    p = lib.nn.ParameterDict({"b": lib.ones(2), "a": lib.nn.Parameter(lib.zeros(1))})
    p["s"] = "text"
    p.update({"z": lib.ones(1)})
    got = p.setdefault("q", lib.ones(2))
    return (
        repr(p), list(p), names(p), len(p), "a" in p, tuple(got.shape), p.get("nope"), list(reversed(p)), p.popitem()[0], list(p.copy()),
        list(p | lib.nn.ParameterDict({"k": lib.ones(1)})), p.pop("s"), list(p.keys()), len(list(p.items())), len(list(p.values())),
        list(p.fromkeys(["u", "v"], lib.ones(1))),
    )  # fmt: skip


def parameter_dict_key(lib):
    return lib.nn.ParameterDict()[3]


def parameter_dict_missing(lib):
    return lib.nn.ParameterDict()["x"]


def container(lib):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return repr(lib.nn.Container(a=lib.nn.ReLU(), b=lib.nn.Linear(1, 1)))


# ---- parameters ---
def parameters(lib):
    P = lib.nn.Parameter
    p = P(lib.ones(2))
    p.note = "kept"
    return (
        repr(p), P().shape == (0,),
        P(lib.ones(1), requires_grad=False).requires_grad, isinstance(p, lib.Tensor), isinstance(lib.ones(1), P),
        type(p + 1).__name__, type(p.data).__name__, type(p.detach()).__name__, type(copy.deepcopy(p)).__name__, p.is_leaf,
        pickle.loads(pickle.dumps(p)).note, hash(p) == id(p) or hash(p) == hash(p),
    )  # fmt: skip


# ---- lazy modules ---
def _quiet(build):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return build()


def lazy_repr(lib):
    nn = lib.nn
    module = _quiet(lambda: nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(2)))
    before = repr(module), repr(module[0].weight), list(module.state_dict()), module[3].has_uninitialized_params()
    module(lib.ones(2, 3, 5, 5))
    return before, repr(module), [tuple(v.shape) for v in module.state_dict().values()], sorted(vars(module[3]))[-2:], names(module)


def lazy_loads_ready(lib):
    lazy = _quiet(lambda: lib.nn.LazyLinear(3))
    result = lazy.load_state_dict(lib.nn.Linear(4, 3).state_dict())
    return str(result), tuple(lazy.weight.shape), type(lazy).__name__, tuple(lazy(lib.ones(1, 4)).shape), repr(lazy)


def lazy_into_ready(lib):
    return lib.nn.Linear(4, 3).load_state_dict(_quiet(lambda: lib.nn.LazyLinear(3)).state_dict())


def lazy_copies(lib):
    lazy = _quiet(lambda: lib.nn.LazyLinear(3))
    results = []
    for twin in (copy.deepcopy(lazy), pickle.loads(pickle.dumps(lazy))):
        twin(lib.ones(1, 2))
        results.append((repr(twin), repr(lazy)))
    return results


def lazy_shape(lib):
    return _quiet(lambda: lib.nn.LazyLinear(3)).weight.shape


def lazy_wrong_input(lib):
    return _quiet(lambda: lib.nn.LazyConv2d(4, 3))(lib.ones(3))


def lazy_double(lib):
    lazy = _quiet(lambda: lib.nn.LazyLinear(3)).double()
    return str(lazy.weight.dtype).split(".")[1], str(lazy(lib.ones(2, 2, dtype=lib.float64)).dtype).split(".")[1]


def lazy_batchnorm_input(lib):
    return _quiet(lambda: lib.nn.LazyBatchNorm2d())(lib.ones(3, 4))


# ---- wrappers and helpers ---
def data_parallel(lib):
    module = lib.nn.DataParallel(net(lib))
    state = module.state_dict()
    before = list(state)[:2]
    lib.nn.modules.utils.consume_prefix_in_state_dict_if_present(state, "module.")
    return before, list(state)[:2], dict(state._metadata[""]), sorted(state._metadata), repr(module)


def tuples(lib):
    u = lib.nn.modules.utils
    several = u._pair(3), u._triple([1, 2, 3]), u._single("x"), u._ntuple(4)(2)
    return several, u._reverse_repeat_tuple((1, 2), 2), u._list_with_default([None, 3], [5, 6, 7])


def factory(lib):
    return lib.nn.factory_kwargs({"a": 3})


def factory_twice(lib):
    return lib.nn.factory_kwargs({"device": "cpu", "factory_kwargs": {"device": "cpu"}})


def sync_converted(lib):
    module = lib.nn.SyncBatchNorm.convert_sync_batchnorm(net(lib))
    return repr(module), list(module.state_dict())


def conv_gradients(lib):
    x, w = lib.arange(50.0).reshape(1, 2, 5, 5), lib.arange(54.0).reshape(3, 2, 3, 3)
    g = lib.ones(1, 3, 3, 3)
    return lib.nn.grad.conv2d_input(x.shape, w, g).sum().item(), lib.nn.grad.conv2d_weight(x, w.shape, g).sum().item()


def parameter_containers_of_one(lib):
    nn = lib.nn
    nested = nn.Sequential(nn.ParameterList([lib.ones(2)]), nn.ParameterDict({"a": lib.ones(1)}), nn.ParameterList())
    return repr(nn.ParameterList([lib.ones(2)])), repr(nested)
