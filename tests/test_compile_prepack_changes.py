"""Weights that change between two calls, in every way that a user has: nothing that a plan keeps of them is ever stale."""

import ctypes
import gc

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn

MODULES = {"linear": (lambda: nn.Linear(128, 96), (20, 128)), "winograd": (lambda: nn.Conv2d(32, 48, 3, padding=1), (1, 32, 12, 12))}


@pytest.fixture(autouse=True)
def always_the_plan():
    mg.use_deterministic_algorithms(True)  # no trial: every call goes to the plan
    yield
    mg.use_deterministic_algorithms(False)


def pair(name):
    mg.manual_seed(0)
    make, shape = MODULES[name]
    module = make()
    return module, mg.compile(lambda v: module(v)), mg.randn(*shape)


def prepared_bytes(compiled):
    return compiled.entries[0].plan.prepared_bytes


def values(t):
    return np.array(t.detach().numpy())


def check(module, compiled, x):
    with mg.no_grad():
        assert np.array_equal(values(compiled(x)), values(module(x)))


def in_place(module):
    with mg.no_grad():
        module.weight.mul_(1.5)


def optimizer(module):
    module.weight.grad = mg.ones_like(module.weight)
    mg.optim.SGD([module.weight], lr=0.1).step()
    module.weight.grad = None


def adam(module):
    module.weight.grad = mg.ones_like(module.weight)
    mg.optim.Adam([module.weight], lr=0.1).step()
    module.weight.grad = None


def load_state_dict(module):
    module.load_state_dict({k: v + 1 for k, v in module.state_dict().items()})


def load_state_dict_assign(module):
    module.load_state_dict({k: v + 1 for k, v in module.state_dict().items()}, assign=True)


def data_swapped(module):
    for _ in range(3):  # addresses are given out again
        module.weight.data = module.weight.detach() * 1.25


def data_written(module):
    module.weight.data.add_(1)


def data_copied(module):
    module.weight.data.copy_(mg.randn_like(module.weight))


def data_view_written(module):
    module.weight.data[0].zero_()


def view_written(module):
    with mg.no_grad():
        module.weight.view(-1)[3:7].fill_(2.0)


def detached_written(module):
    module.weight.detach().zero_()


def element_written(module):
    with mg.no_grad():
        module.weight[0, 0] = 3.0


def numpy_written(module):
    module.weight.detach().numpy()[...] += 1


def storage_written(module):
    module.weight.untyped_storage()[:8] = 1


def storage_filled(module):
    module.weight.untyped_storage().fill_(0)


def dlpack_written(module):
    np.from_dlpack(module.weight.detach())  # read-only there
    other = mg.from_dlpack(module.weight.detach())
    other.mul_(2)


def address_written(module):
    ctypes.memset(module.weight.data_ptr(), 0, 64)


def set_to(module):
    with mg.no_grad():
        module.weight.set_(mg.randn_like(module.weight))


def swapped(module):
    module.weight = nn.Parameter(mg.randn_like(module.weight))


def swapped_twice(module):
    for _ in range(2):
        module.weight = nn.Parameter(mg.randn_like(module.weight))
        gc.collect()


def initialised(module):
    nn.init.normal_(module.weight)


def foreach(module):
    with mg.no_grad():
        mg._foreach_mul_([module.weight], 0.5)


def clipped(module):
    nn.utils.vector_to_parameters(nn.utils.parameters_to_vector(module.parameters()).detach() * 2, module.parameters())


def in_inference_mode(module):
    with mg.inference_mode():
        module.weight.data.mul_(3)


CHANGES = [in_place, optimizer, adam, load_state_dict, load_state_dict_assign, data_swapped, data_written, data_copied, data_view_written,
           view_written, detached_written, element_written, numpy_written, storage_written, storage_filled, dlpack_written, address_written,
           set_to, swapped, swapped_twice, initialised, foreach, clipped, in_inference_mode]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", ["linear", "winograd"])
def test_changed_weights(name, change):
    module, compiled, x = pair(name)
    before = values(module.weight)
    for turn in range(3):
        for _ in range(3):
            check(module, compiled, x)
        assert turn > 0 or prepared_bytes(compiled) > 0
        change(module)
        check(module, compiled, x)
    assert not np.array_equal(before, values(module.weight))


def test_array_that_is_kept():
    module, compiled, x = pair("linear")
    check(module, compiled, x)
    array = module.weight.detach().numpy()
    for k in range(4):
        array[k] = k
        check(module, compiled, x)
    assert prepared_bytes(compiled) == 0
    part = array[3:].reshape(-1)
    del array
    for k in range(3):
        part[k] = k
        check(module, compiled, x)
    del part
    gc.collect()
    for _ in range(3):
        check(module, compiled, x)
    assert prepared_bytes(compiled) > 0


def test_memory_of_others_is_not_prepared():
    module, compiled, x = pair("linear")
    array = np.ones((96, 128), np.float32)
    module.weight = nn.Parameter(mg.from_numpy(array))
    for k in range(5):
        array[k] = k
        check(module, compiled, x)
    assert prepared_bytes(compiled) == 0
    module.weight = nn.Parameter(mg.randn(96, 128).share_memory_())
    for _ in range(4):
        check(module, compiled, x)
    assert prepared_bytes(compiled) == 0
