"""Hooks of nn.Module: forward, backward, state_dict; per module and global."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from twins import assert_close, copy_state, ours  # noqa: E402

import minigrad as mg  # noqa: E402

BOTH = pytest.mark.parametrize("lib", [mg, torch], ids=["minigrad", "torch"])


@BOTH
def test_state_dict_hooks_and_extra_state(lib):
    class Extra(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.count = 0

        def get_extra_state(self):
            return {"count": self.count}

        def set_extra_state(self, state):
            self.count = state["count"]

    net = lib.nn.Sequential(Extra(), lib.nn.Linear(2, 2))
    net[0].count = 5
    events = []
    net.register_state_dict_pre_hook(lambda m, prefix, keep: events.append("pre"))
    net[1].register_state_dict_post_hook(lambda m, state, prefix, meta: state.__delitem__(prefix + "bias"))
    state = net.state_dict()
    assert list(state) == ["0._extra_state", "1.weight"] and events == ["pre"]
    other = lib.nn.Sequential(Extra(), lib.nn.Linear(2, 2))
    other[1].register_load_state_dict_pre_hook(
        lambda m, state, prefix, *rest: state.update({prefix + "bias": lib.zeros(2)})
    )
    handle = other.register_load_state_dict_post_hook(lambda m, keys: events.append(len(keys.missing_keys)))
    other.load_state_dict(state)
    assert other[0].count == 5 and events == ["pre", 0] and float(other[1].bias.abs().sum()) == 0
    handle.remove()
    other.load_state_dict(state)
    assert events == ["pre", 0]


@BOTH
def test_forward_hooks(lib):
    net = lib.nn.Linear(2, 2)
    x = lib.ones(1, 2)
    plain = net(x)
    log = []
    handles = [
        net.register_forward_pre_hook(lambda m, args: log.append("pre") or (args[0] * 2,)),
        net.register_forward_pre_hook(
            lambda m, args, kw: log.append("kw") or (args, kw), with_kwargs=True, prepend=True
        ),
        net.register_forward_hook(lambda m, args, out: log.append("post") or out + 1),
        net.register_forward_hook(lambda m, args, kw, out: log.append("post-kw"), with_kwargs=True, prepend=True),
    ]
    out = net(x)
    assert log == ["kw", "pre", "post-kw", "post"]
    assert lib.allclose(out, (plain - net.bias) * 2 + net.bias + 1)
    for handle in handles:
        handle.remove()
    assert lib.allclose(net(x), plain) and len(log) == 4

    def fail(module, args):
        raise ValueError("no")

    with net.register_forward_pre_hook(fail), pytest.raises(ValueError, match="no"):
        seen = []
        always = net.register_forward_hook(lambda m, a, o: seen.append(o), always_call=True)
        net(x)
    assert seen == [None]
    always.remove()


@BOTH
def test_global_hooks(lib):
    from importlib import import_module

    where = import_module(f"{lib.__name__}.nn.modules.module")
    seen = []
    handles = [
        where.register_module_forward_pre_hook(lambda m, args: seen.append("pre " + type(m).__name__)),
        where.register_module_forward_hook(lambda m, args, out: seen.append("post " + type(m).__name__)),
    ]
    lib.nn.Sequential(lib.nn.ReLU())(lib.ones(1))
    assert seen == ["pre Sequential", "pre ReLU", "post ReLU", "post Sequential"]
    for handle in handles:
        handle.remove()
    lib.nn.ReLU()(lib.ones(1))
    assert len(seen) == 4


def test_full_backward_hooks():
    mine, theirs = (lib.nn.Sequential(lib.nn.Linear(3, 2), lib.nn.Tanh()) for lib in (mg, torch))
    copy_state(mine, theirs)
    x_torch = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    log = {}
    for lib, net, x in ((mg, mine, ours(x_torch, True)), (torch, theirs, x_torch.requires_grad_(True))):
        seen = log[lib.__name__] = []
        net[0].register_full_backward_hook(lambda m, gi, go, seen=seen: seen.append((gi, go)))
        net[1].register_full_backward_pre_hook(lambda m, go: (go[0] * 2,))
        net.register_full_backward_hook(lambda m, gi, go: (gi[0] * 3,))
        net(x).sum().backward()
        seen.append(((x.grad,), (net[0].weight.grad,)))
    for a, e in zip(log["minigrad"], log["torch"], strict=True):
        assert_close(a, e)


@BOTH
def test_backward_hook_without_input_gradient(lib):
    net = lib.nn.Linear(3, 2)
    seen = []
    net.register_full_backward_hook(lambda m, gi, go: seen.append((gi, len(go))))
    net(lib.ones(1, 3)).sum().backward()
    assert seen == [((None,), 1)]
    with lib.no_grad():
        net(lib.ones(1, 3))
