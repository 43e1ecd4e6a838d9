"""Every module of the table against torch: repr, state, outputs, gradients, training, copies."""

from __future__ import annotations

import copy
import inspect
import pickle
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from nn_cases import LOSSES, MODULES, PROBABILITY_LOSSES  # noqa: E402
from twins import array, assert_close, flat, module_pair, ours, weighted_sum  # noqa: E402

import minigrad as mg  # noqa: E402

ALL = MODULES + LOSSES


def _run(case, module, reference):
    module.train(case.training)
    reference.train(case.training)
    theirs, mine = [], []
    for tensor, takes_grad in case.inputs():
        mine.append(ours(tensor, takes_grad))
        theirs.append(tensor.requires_grad_(takes_grad))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mine, theirs, case.run(module, mg, *mine), case.run(reference, torch, *theirs)


@pytest.mark.parametrize("case", ALL, ids=repr)
def test_output_and_gradients(case):
    module, reference = case.pair()
    mine, theirs, actual, expected = _run(case, module, reference)
    assert_close(actual, expected, "output")
    if not any(t.requires_grad for t in flat(expected)):
        return
    weighted_sum(actual).backward()
    weighted_sum(expected).backward()
    for i, (a, e) in enumerate(zip(mine, theirs, strict=True)):
        assert_close(a.grad, e.grad, f"gradient of input {i}", rtol=1e-4, atol=1e-5)
    for (name, a), (_, e) in zip(module.named_parameters(), reference.named_parameters(), strict=True):
        assert_close(a.grad, e.grad, f"gradient of {name}", rtol=1e-4, atol=1e-5)
    for (name, a), (_, e) in zip(module.named_buffers(), reference.named_buffers(), strict=True):
        assert_close(a, e, f"buffer {name}")


@pytest.mark.parametrize("case", ALL, ids=repr)
def test_repr_and_state_layout(case):
    module, reference = case.pair()
    assert repr(module) == repr(reference)
    mine, theirs = module.state_dict(), reference.state_dict()
    assert list(mine) == list(theirs)
    assert [tuple(v.shape) for v in mine.values()] == [tuple(v.shape) for v in theirs.values()]
    assert {k: dict(v) for k, v in mine._metadata.items()} == {k: dict(v) for k, v in theirs._metadata.items()}
    assert [n for n, _ in module.named_parameters()] == [n for n, _ in reference.named_parameters()]


def _trainable(case):
    module = case.build(torch) if case.build else getattr(torch.nn, case.name)(*case.args, **case.kwargs)
    return case.training and any(True for _ in module.parameters())


@pytest.mark.parametrize("case", [c for c in MODULES if _trainable(c)], ids=repr)
def test_three_training_steps(case):
    module, reference = case.pair()
    optimizer = mg.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    other = torch.optim.SGD(reference.parameters(), lr=0.05, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        other.zero_grad()
        _, _, actual, expected = _run(case, module, reference)
        weighted_sum(actual).backward()
        weighted_sum(expected).backward()
        optimizer.step()
        other.step()
    for name, expected in reference.state_dict().items():
        assert_close(module.state_dict()[name], expected, name, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("case", MODULES, ids=repr)
def test_copies_and_round_trip(case):
    module, _ = case.pair()
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert repr(other) == repr(module)
        for (name, a), (_, b) in zip(other.state_dict().items(), module.state_dict().items(), strict=True):
            np.testing.assert_array_equal(array(a), array(b), err_msg=name)
            assert a.data_ptr() != b.data_ptr() or a.numel() == 0
        for a, b in zip(other.parameters(), module.parameters(), strict=True):
            assert isinstance(a, mg.nn.Parameter) and a.requires_grad == b.requires_grad
    fresh = case.build(mg) if case.build else getattr(mg.nn, case.name)(*case.args, **case.kwargs)
    assert str(fresh.load_state_dict(module.state_dict())) == "<All keys matched successfully>"
    for name, value in module.state_dict().items():
        np.testing.assert_array_equal(array(fresh.state_dict()[name]), array(value), err_msg=name)


@pytest.mark.parametrize("name", sorted({c.name for c in ALL + PROBABILITY_LOSSES}))
def test_constructor_parameters_are_torchs(name):
    mine = inspect.signature(getattr(mg.nn, name).__init__).parameters
    theirs = inspect.signature(getattr(torch.nn, name).__init__).parameters
    assert list(mine)[1:] == list(theirs)[1:]
    for key, parameter in theirs.items():
        default = mine[key].default
        if isinstance(parameter.default, float) or parameter.default in (None, True, False):
            assert default == parameter.default or (default is None and parameter.default == 0), key


@pytest.mark.parametrize("case", PROBABILITY_LOSSES, ids=repr)
def test_bce_of_probabilities(case):
    module, reference = case.pair()
    p = torch.tensor([[0.2, 0.9, 0.5], [0.0, 1.0, 1.0], [0.0, 1.0, 1e-20]])
    t = torch.tensor([[1.0, 0.3, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    mine = ours(p, requires_grad=True)
    p.requires_grad_(True)
    actual, expected = module(mine, ours(t)), reference(p, t)
    assert_close(actual, expected)
    weighted_sum(actual).backward()
    weighted_sum(expected).backward()
    assert_close(mine.grad, p.grad, rtol=1e-3)


def test_batchnorm_eval_uses_and_train_moves_running_statistics():
    module, reference = module_pair("BatchNorm2d", 3)
    x = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 3 + 1
    for _ in range(4):
        assert_close(module(ours(x)), reference(x))
    assert_close(module.running_mean, reference.running_mean)
    assert_close(module.running_var, reference.running_var)
    assert int(module.num_batches_tracked) == int(reference.num_batches_tracked)
    module.eval()
    reference.eval()
    assert_close(module(ours(x)), reference(x))


@pytest.mark.parametrize("name", ["Dropout", "Dropout1d", "Dropout2d", "Dropout3d"])
def test_dropout_in_training(name):
    mg.manual_seed(0)
    more = {"Dropout": (), "Dropout1d": (4,), "Dropout2d": (2, 2), "Dropout3d": (2, 2, 2)}[name]
    x = mg.ones(400, 50, *more, requires_grad=True)
    y = getattr(mg.nn, name)(0.25)(x)
    values = array(y)
    assert set(np.round(np.unique(values), 5)) == {0.0, np.float32(1.33333)}
    assert abs((values == 0).mean() - 0.25) < 0.03
    if name != "Dropout":  # whole channels
        flat = values.reshape(*values.shape[:2], -1)
        assert (flat == flat[..., :1]).all()
    y.sum().backward()
    np.testing.assert_allclose(array(x.grad), values)
    assert (array(getattr(mg.nn, name)(1.0)(x)) == 0).all()


def test_alpha_dropout_keeps_moments():
    mg.manual_seed(0)
    x = mg.randn(400, 400)
    for name in ("AlphaDropout", "FeatureAlphaDropout"):
        y = array(getattr(mg.nn, name)(0.2)(x))
        assert abs(y.mean()) < 0.05 and abs(y.std() - 1) < 0.05


def test_rrelu_in_training():
    mg.manual_seed(0)
    x = mg.full((1000,), -2.0)
    y = array(mg.nn.RReLU(0.1, 0.3)(x)) / -2
    assert y.min() >= 0.1 and y.max() <= 0.3 and abs(y.mean() - 0.2) < 0.01


@pytest.mark.parametrize("name", ["ReLU", "ELU", "SiLU", "Hardtanh", "LeakyReLU", "SELU", "Dropout", "Threshold"])
def test_inplace(name):
    args = {"Threshold": (0.1, 5.0), "Dropout": (0.0,)}.get(name, ())
    module, reference = module_pair(name, *args, inplace=True)
    assert repr(module) == repr(reference)
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    mine = ours(x)
    result = module(mine)
    assert result.data_ptr() == mine.data_ptr()
    assert_close(mine, reference(x))
    leaf = ours(x, requires_grad=True)
    copied = leaf * 1
    module(copied).sum().backward()
    assert leaf.grad is not None
