"""The Optimizer base class as third parties use it: hooks and their order, named parameters, groups, wrappers, names to import."""

from __future__ import annotations

import copy
import importlib
import pickle

import pytest
from by_device import device_type

torch = pytest.importorskip("torch")

import minigrad as mg  # noqa: E402

BOTH = pytest.mark.parametrize("lib", [mg, torch], ids=["minigrad", "torch"])


def base(lib):
    return importlib.import_module(lib.__name__ + ".optim.optimizer")


def one(lib, **options):
    p = lib.nn.Parameter(lib.ones(2))
    p.grad = lib.ones(2)
    return p, lib.optim.SGD([p], **{"lr": 0.5, **options})


@BOTH
def test_order_of_hooks(lib):
    p, optimizer = one(lib)
    log = []
    handles = [
        base(lib).register_optimizer_step_pre_hook(lambda o, a, k: log.append("global pre")),
        base(lib).register_optimizer_step_post_hook(lambda o, a, k: log.append("global post")),
    ]
    optimizer.register_step_pre_hook(lambda o, a, k: log.append("pre"))
    optimizer.register_step_post_hook(lambda o, a, k: log.append("post"))
    optimizer.step()
    assert log == ["global pre", "pre", "post", "global post"]
    for handle in handles:
        handle.remove()
    optimizer.step()
    assert log[4:] == ["pre", "post"]


@BOTH
def test_pre_hooks_change_arguments(lib):
    _, optimizer = one(lib)
    optimizer.register_step_pre_hook(lambda o, args, kwargs: ((o, lambda: 7.0), {}))
    assert optimizer.step() == 7.0
    optimizer.register_step_pre_hook(lambda o, args, kwargs: 3)
    with pytest.raises(RuntimeError, match="must return None or a tuple"):
        optimizer.step()


@BOTH
def test_state_dict_hooks(lib):
    _, optimizer = one(lib, momentum=0.9)
    optimizer.step()
    log = []
    optimizer.register_state_dict_pre_hook(lambda o: log.append("second"))
    optimizer.register_state_dict_pre_hook(lambda o: log.append("first"), prepend=True)
    optimizer.register_state_dict_post_hook(lambda o, state: {**state, "extra": 1})
    saved = optimizer.state_dict()
    assert log == ["first", "second"] and saved["extra"] == 1
    _, other = one(lib, lr=3.0)
    other.register_load_state_dict_pre_hook(lambda o, state: {k: v for k, v in state.items() if k != "extra"})
    other.register_load_state_dict_post_hook(lambda o: log.append("loaded"))
    other.load_state_dict(saved)
    assert log[-1] == "loaded" and other.param_groups[0]["lr"] == 0.5 and len(other.state) == 1


@BOTH
def test_named_parameters(lib):
    net = lib.nn.Linear(2, 2)
    optimizer = lib.optim.AdamW(net.named_parameters(), lr=0.1)
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    assert list(optimizer.param_groups[0])[:2] == ["params", "param_names"]
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]
    plain = lib.optim.AdamW(net.parameters())
    plain.load_state_dict(optimizer.state_dict())
    optimizer.load_state_dict(lib.optim.AdamW(net.parameters(), lr=0.2).state_dict())
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"] and optimizer.param_groups[0]["lr"] == 0.2
    w, b = net.parameters()
    for params in ([("w", w), b], [w, ("b", b)]):
        with pytest.raises(ValueError, match="Some param names are missing"):
            lib.optim.SGD(params)
    named = lib.optim.SGD([("w", w)])
    with pytest.raises(ValueError, match="without names"):
        named.add_param_group({"params": [b]})
    with pytest.warns(UserWarning, match="duplicate parameters"):
        lib.optim.SGD([w, w])


@BOTH
def test_groups_are_the_callers_own(lib):
    """SAM, Lookahead and their like build an inner optimizer on the groups of the outer one."""

    class Outer(lib.optim.Optimizer):
        def __init__(self, params, inner, **options):
            super().__init__(params, dict(rho=0.05, **options))
            self.base_optimizer = inner(self.param_groups, **options)
            self.param_groups = self.base_optimizer.param_groups
            self.defaults.update(self.base_optimizer.defaults)

        @lib.no_grad()
        def step(self, closure=None):
            closure = lib.enable_grad()(closure)
            for group in self.param_groups:
                for p in group["params"]:
                    self.state[p]["old"] = p.data.clone()
                    p.add_(p.grad, alpha=group["rho"])
            self.zero_grad()
            closure()
            for group in self.param_groups:
                for p in group["params"]:
                    p.data = self.state[p]["old"]
            self.base_optimizer.step()

    p = lib.nn.Parameter(lib.ones(2))
    outer = Outer([p], lib.optim.SGD, lr=0.1, momentum=0.9)
    given = {"params": [p], "lr": 0.3}
    assert lib.optim.SGD([given]).param_groups[0] is given
    assert outer.param_groups[0]["rho"] == 0.05 and outer.param_groups[0]["momentum"] == 0.9
    scheduler = lib.optim.lr_scheduler.StepLR(outer, 1)

    def closure():
        (p**2).sum().backward()

    closure()
    outer.step(closure)
    scheduler.step()
    assert float(p[0].detach()) == pytest.approx(1 - 0.1 * 2 * 1.1) and outer.base_optimizer.param_groups[0]["lr"] == pytest.approx(0.01)


@BOTH
def test_required_and_differentiable_defaults(lib):
    required = base(lib).required
    p = lib.nn.Parameter(lib.ones(2))
    assert repr(required) == "<required parameter>"
    with pytest.raises(ValueError, match="required optimization parameter lr"):
        lib.optim.Optimizer([p], {"lr": required})

    class Own(lib.optim.Optimizer):
        def __init__(self, params, lr=0.1, differentiable=False):
            super().__init__(params, dict(lr=lr, differentiable=differentiable))

        @base(lib)._use_grad_for_differentiable
        def step(self, closure=None):
            return lib.is_grad_enabled()

    assert Own([p]).step() is False and Own([p], differentiable=True).step() is True
    assert lib.is_grad_enabled()
    with pytest.raises(NotImplementedError):
        lib.optim.Optimizer([p], {}).step()


@BOTH
def test_copies_and_pickles(lib):
    p, optimizer = one(lib, momentum=0.9)
    optimizer.register_step_post_hook(lambda *a: None)
    lib.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    optimizer.step()
    for other in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        q = other.param_groups[0]["params"][0]
        assert q is not p and list(other.state) == [q]
        q.grad = lib.ones(2)
        other.step()
        assert float(q[0].detach()) == pytest.approx(0.5 - 0.5 * 1.9)
        assert repr(other) == repr(optimizer)


def test_names_that_others_import():
    missing = [name for name in dir(base(torch)) if not hasattr(base(mg), name) and not name.startswith("__")]
    stays = {"torch", "functools", "warnings", "hooks", "cast", "chain", "deepcopy", "defaultdict", "deprecated", "overload", "ParamSpec",
             "Self", "Sequence", "TypeAlias", "TypeVar", "Hashable", "OrderedDict", "Any", "Callable", "Iterable",
             "T", "R", "_P", "_T", "Indices", "TensorListList", "DeviceDict", "DeviceDtypeDict"}  # fmt: skip  its own imports and types
    assert [name for name in missing if name not in stays and not name.startswith("_single_tensor")] == []


@BOTH
def test_helpers(lib):
    o = base(lib)
    p = lib.nn.Parameter(lib.ones(2))
    assert o._get_value(lib.tensor(2.0)) == 2.0 and o._get_value(3) == 3
    assert o._get_scalar_dtype() == lib.float32
    assert o._default_to_fused_or_foreach([p], True) == (False, False)
    assert o._to_scalar(lib.ones(1)).dim() == 0
    assert o._default_to_fused_or_foreach([p], False, use_fused=True)[0] is True
    with pytest.raises(RuntimeError, match="floating point Tensors of supported devices"):
        o._device_dtype_check_for_fused(lib.ones(2).int())
    for options, error in (({"fused": True, "foreach": True}, "cannot be `True` together"),
                           ({"fused": True, "differentiable": True}, "does not support `differentiable`")):  # fmt: skip
        for name in ("SGD", "Adam", "AdamW", "Adagrad"):
            with pytest.raises(RuntimeError, match=error):
                getattr(lib.optim, name)([p], **options)
    p.grad = lib.ones(2)
    with pytest.raises(AssertionError, match="don't support autograd"):
        lib.optim.Adam([p], foreach=True, differentiable=True).step()
    if device_type(lib) == "cpu":
        with pytest.raises(AssertionError, match="If capturable=True, params and state_steps must be on supported devices"):
            lib.optim.Adam([p], capturable=True).step()
    with pytest.raises(ValueError, match="lr as a Tensor is not supported"):
        lib.optim.Adam([p], lr=lib.tensor(0.1), foreach=True)
    with pytest.raises(ValueError, match="either both floats or both Tensors"):
        lib.optim.Adam([p], betas=(lib.tensor(0.9), 0.99))
