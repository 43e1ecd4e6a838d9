"""Small programs on hooks and state_dict, each a function of the library; see test_nn_machinery.py."""

from __future__ import annotations

from collections import OrderedDict

from nn_programs import hook_calls, net, tensors


# ---- hooks ---
def forward_pre(lib):
    return hook_calls(lib, lambda m, s: m.register_forward_pre_hook(lambda mod, args: (args[0] * 2,)))


def forward_pre_kwargs(lib):
    def hook(module, args, kwargs):
        return (args[0] + 1,), kwargs

    return hook_calls(lib, lambda m, s: m.register_forward_pre_hook(hook, with_kwargs=True))


def forward_pre_bad(lib):
    return hook_calls(lib, lambda m, s: m.register_forward_pre_hook(lambda mod, a, k: 3, with_kwargs=True))


def forward_order(lib):
    def register(m, s):
        m.register_forward_hook(lambda mod, a, o: s.append("second"))
        m.register_forward_hook(lambda mod, a, o: s.append("first"), prepend=True)
        m.register_forward_hook(lambda mod, a, k, o: o * 3, with_kwargs=True)

    return hook_calls(lib, register)


def forward_removed(lib):
    def register(m, s):
        handle = m.register_forward_hook(lambda mod, a, o: o * 10)
        handle.remove()
        with m.register_forward_hook(lambda mod, a, o: o * 10):
            s.append(m(lib.ones(1, 2)).tolist())

    return hook_calls(lib, register)


def forward_always(lib):
    class Fails(lib.nn.Module):
        def forward(self, x):
            raise RuntimeError("no")

    module, seen = Fails(), []
    module.register_forward_hook(lambda m, a, o: seen.append(o), always_call=True)
    module.register_forward_hook(lambda m, a, o: seen.append("not called"))
    try:
        module(1)
    except RuntimeError as error:
        seen.append(str(error))
    return seen


def backward_full(lib):
    def register(m, s):
        m.register_full_backward_hook(lambda mod, gi, go: s.append(tensors([gi, go])))

    return hook_calls(lib, register, backward=True)


def backward_replaced(lib):
    def register(m, s):
        m.register_full_backward_hook(lambda mod, gi, go: (gi[0] * 5,))
        m.register_full_backward_pre_hook(lambda mod, go: (go[0] * 2,))

    return hook_calls(lib, register, backward=True)


def backward_wrong_count(lib):
    def register(m, s):
        m.register_full_backward_hook(lambda mod, gi, go: (gi[0], gi[0]))

    return hook_calls(lib, register, backward=True)


def global_hooks(lib):
    seen = []
    m = lib.nn.modules.module
    handles = [
        m.register_module_forward_hook(lambda mod, a, o: seen.append(type(mod).__name__)),
        m.register_module_forward_pre_hook(lambda mod, a: seen.append("before")),
        m.register_module_full_backward_hook(lambda mod, gi, go: seen.append("backward")),
    ]
    try:
        net(lib)(lib.ones(4, 2)).sum().backward()
    finally:
        for handle in handles:
            handle.remove()
    net(lib)(lib.ones(4, 2)).sum().backward()
    return seen


def registration_hooks(lib):
    seen = []
    m = lib.nn.modules.module
    handles = [
        m.register_module_parameter_registration_hook(lambda mod, n, p: seen.append(("parameter", n))),
        m.register_module_buffer_registration_hook(lambda mod, n, b: seen.append(("buffer", n))),
        m.register_module_module_registration_hook(lambda mod, n, c: seen.append(("module", n))),
    ]
    try:
        lib.nn.Sequential(lib.nn.BatchNorm1d(2), lib.nn.Linear(1, 1, bias=False))
    finally:
        for handle in handles:
            handle.remove()
    lib.nn.Linear(1, 1)
    return seen


# ---- state ---
def state_metadata(lib):
    state = net(lib).state_dict(prefix="x.")
    return list(state), {k: dict(v) for k, v in state._metadata.items()}


def state_destination(lib):
    into = OrderedDict(a=1)
    returned = net(lib).state_dict(destination=into, keep_vars=True)
    return returned is into, list(into), into["0.weight"].requires_grad


def load_missing(lib):
    state = net(lib).state_dict()
    del state["0.weight"]
    state["foo"] = state.pop("2.1.bias")
    return net(lib).load_state_dict(state)


def load_not_strict(lib):
    state = net(lib).state_dict()
    del state["0.weight"]
    state["foo"] = state.pop("2.1.bias")
    result = net(lib).load_state_dict(state, strict=False)
    return result.missing_keys, result.unexpected_keys, repr(result)


def load_sizes(lib):
    return lib.nn.Linear(2, 3).load_state_dict(lib.nn.Linear(3, 2).state_dict())


def load_wrong_kind(lib):
    return lib.nn.Linear(2, 3).load_state_dict([1])


def load_not_a_tensor(lib):
    return lib.nn.Linear(2, 3).load_state_dict({"weight": 3, "bias": lib.zeros(3)})


def load_assign(lib):
    module, given = lib.nn.Linear(2, 3), lib.nn.Linear(2, 3).double()
    module.load_state_dict(given.state_dict(), assign=True)
    return str(module.weight.dtype).split(".")[1], module.weight.requires_grad, type(module.weight).__name__, module.weight.is_leaf


def state_hooks(lib):
    module, seen = net(lib), []
    module.register_state_dict_pre_hook(lambda m, prefix, keep: seen.append(("pre", prefix, keep)))
    module.register_state_dict_post_hook(lambda m, state, prefix, meta: seen.append(("post", len(state), prefix)))
    module.register_load_state_dict_pre_hook(lambda m, state, *rest: seen.append(("load", len(state), rest[0])))
    module.register_load_state_dict_post_hook(lambda m, keys: seen.append(("loaded", keys.missing_keys)))
    module._register_state_dict_hook(lambda m, state, prefix, meta: OrderedDict(list(state.items())[:2]))
    state = module.state_dict()
    return list(state), seen, str(module.load_state_dict(net(lib).state_dict()))


def post_hook_clears(lib):
    module = net(lib)
    module.register_load_state_dict_post_hook(lambda m, keys: keys.missing_keys.clear())
    return str(module.load_state_dict({}))


def extra_state(lib):
    class WithExtra(lib.nn.Linear):
        def get_extra_state(self):
            return {"n": 3}

        def set_extra_state(self, state):
            self.n = state["n"]

    module = WithExtra(1, 1)
    other = WithExtra(1, 1)
    other.load_state_dict(module.state_dict())
    try:
        lib.nn.Linear(1, 1).load_state_dict(module.state_dict())
    except RuntimeError as error:
        return list(module.state_dict()), other.n, str(error)


def old_batchnorm_checkpoint(lib):
    state = lib.nn.BatchNorm1d(2).state_dict()
    del state["num_batches_tracked"], state._metadata
    return str(lib.nn.BatchNorm1d(2).load_state_dict(state))


def buffers(lib):
    module = lib.nn.Module()
    module.register_buffer("a", lib.ones(2))
    module.register_buffer("b", lib.zeros(1), persistent=False)
    module.register_buffer("c", None)
    module.d = lib.nn.Buffer(lib.ones(1), persistent=False)
    module.e = lib.nn.Buffer(lib.ones(1))
    module.a = lib.zeros(3)
    return list(module.state_dict()), [n for n, _ in module.named_buffers()], sorted(module._non_persistent_buffers_set)
