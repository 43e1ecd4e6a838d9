"""nn.utils.parametrize and parametrizations against PyTorch."""

import copy

import numpy as np
import pytest

import minigrad as mg

torch = pytest.importorskip("torch")


def close(a, b, tol=1e-4):
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=tol, atol=tol)


def copied(theirs, ours):
    ours.load_state_dict({k: mg.tensor(v.numpy()) for k, v in theirs.state_dict().items()})


def parts(lib):
    class Symmetric(lib.nn.Module):
        def forward(self, x):
            return x.triu() + x.triu(1).transpose(-1, -2)

        def right_inverse(self, a):
            return a.triu()

    class Double(lib.nn.Module):
        def forward(self, x):
            return 2 * x

    class Rank1(lib.nn.Module):
        def forward(self, x, y):
            return x.unsqueeze(-1) @ y.unsqueeze(-2)

        def right_inverse(self, z):
            return z[:, 0].clone(), z[0].clone()

    return Symmetric, Double, Rank1


def test_chain_names_repr_values_gradients():
    nets, start = [], None
    for lib in (torch, mg):
        symmetric, double, _ = parts(lib)
        net = lib.nn.Linear(4, 4)
        if lib is mg:
            copied(start, net)
        else:
            start = copy.deepcopy(net)
        weight = net.weight
        lib.nn.utils.parametrize.register_parametrization(net, "weight", symmetric())
        lib.nn.utils.parametrize.register_parametrization(net, "weight", double())
        assert net.parametrizations.weight.original is weight
        nets.append(net)
    theirs, ours = nets
    assert repr(ours) == repr(theirs) and type(ours).__name__ == type(theirs).__name__ == "ParametrizedLinear"
    assert list(ours.state_dict()) == list(theirs.state_dict()) == ["bias", "parametrizations.weight.original"]
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    close(ours.weight, theirs.weight)
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    ours(mg.tensor(x)).sum().backward(), theirs(torch.tensor(x)).sum().backward()
    close(ours.parametrizations.weight.original.grad, theirs.parametrizations.weight.original.grad)
    assert mg.nn.utils.parametrize.type_before_parametrizations(ours) is mg.nn.Linear
    assert isinstance(ours, mg.nn.Linear)
    twin = copy.deepcopy(ours)
    close(twin.weight, theirs.weight)
    assert twin.parametrizations.weight.original is not ours.parametrizations.weight.original
    with pytest.raises(RuntimeError, match="state_dict"):
        import pickle

        pickle.dumps(ours)
    for lib, net in ((mg, ours), (torch, theirs)):
        lib.nn.utils.parametrize.remove_parametrizations(net, "weight")
    assert type(ours) is mg.nn.Linear and isinstance(ours.weight, mg.nn.Parameter) and not hasattr(ours, "parametrizations")
    close(ours.weight, theirs.weight)
    assert list(ours.state_dict()) == list(theirs.state_dict())


def test_assignment_caching_and_leaving():
    symmetric, double, _ = parts(mg)
    p = mg.nn.utils.parametrize
    net = p.register_parametrization(mg.nn.Linear(3, 3), "weight", symmetric())
    assert p.is_parametrized(net) and p.is_parametrized(net, "weight") and not p.is_parametrized(net, "bias")
    net.weight = mg.ones(3, 3)
    assert net.weight.tolist() == mg.ones(3, 3).tolist()
    assert net.weight is not net.weight
    with p.cached():
        first = net.weight
        assert first is net.weight
    assert first is not net.weight
    p.register_parametrization(net, "weight", double())
    with pytest.raises(RuntimeError, match="right_inverse"):
        net.weight = mg.ones(3, 3)
    original = net.parametrizations.weight.original
    p.remove_parametrizations(net, "weight", leave_parametrized=False)
    assert net.weight is original


def test_several_originals_and_buffers():
    for lib in (torch, mg):
        _, double, rank1 = parts(lib)
        p = lib.nn.utils.parametrize
        net = lib.nn.Linear(4, 3)
        p.register_parametrization(net, "weight", rank1())
        assert list(net.state_dict()) == ["bias", "parametrizations.weight.original0", "parametrizations.weight.original1"]
        assert tuple(net.weight.shape) == (3, 4)
        assert isinstance(net.parametrizations.weight.original0, lib.nn.Parameter)
        with pytest.raises(ValueError, match="leave_parametrized=False"):
            p.remove_parametrizations(net, "weight", leave_parametrized=False)
        norm = lib.nn.BatchNorm1d(2)
        p.register_parametrization(norm, "running_mean", double())
        assert "parametrizations.running_mean.original" in dict(norm.named_buffers())
        p.remove_parametrizations(norm, "running_mean")
        assert "running_mean" in norm._buffers


def test_refusals():
    for lib in (torch, mg):
        symmetric, double, _ = parts(lib)
        p = lib.nn.utils.parametrize

        class Shape(lib.nn.Module):
            def forward(self, x):
                return x[:1]

        class Type(lib.nn.Module):
            def forward(self, x):
                return x.double()

        for bad in (Shape(), Type()):
            net = lib.nn.Linear(3, 3)
            with pytest.raises(ValueError, match="unsafe"):
                p.register_parametrization(net, "weight", bad)
            assert type(net) is lib.nn.Linear and "weight" in net._parameters
            p.register_parametrization(net, "weight", bad, unsafe=True)
        with pytest.raises(ValueError, match="does not have"):
            p.register_parametrization(lib.nn.Linear(2, 2), "nothing", double())
        with pytest.raises(ValueError, match="does not have a parametrization"):
            p.remove_parametrizations(lib.nn.Linear(2, 2), "weight")


def test_transfer():
    symmetric, double, _ = parts(mg)
    p = mg.nn.utils.parametrize
    a = p.register_parametrization(mg.nn.Linear(3, 3), "weight", symmetric())
    b = p.transfer_parametrizations_and_params(a, mg.nn.Linear(3, 3))
    assert mg.equal(a.weight, b.weight) and p.is_parametrized(b, "weight")


@pytest.mark.parametrize("dim", [0, 1, None])
def test_weight_norm(dim):
    theirs, ours = torch.nn.Linear(4, 3), mg.nn.Linear(4, 3)
    copied(theirs, ours)
    old = copy.deepcopy(ours)
    torch.nn.utils.parametrizations.weight_norm(theirs, dim=dim), mg.nn.utils.parametrizations.weight_norm(ours, dim=dim)
    assert list(ours.state_dict()) == list(theirs.state_dict()) and repr(ours) == repr(theirs)
    close(ours.weight, theirs.weight), close(ours.parametrizations.weight.original0, theirs.parametrizations.weight.original0)
    if dim == 0:
        with pytest.warns(FutureWarning):
            mg.nn.utils.weight_norm(old)
        fresh = mg.nn.utils.parametrizations.weight_norm(mg.nn.Linear(4, 3))
        fresh.load_state_dict(old.state_dict())
        close(fresh.weight, theirs.weight)


@pytest.mark.parametrize("make", [lambda nn: nn.Linear(4, 3), lambda nn: nn.Conv2d(2, 3, 3), lambda nn: nn.ConvTranspose2d(2, 3, 3)])
def test_spectral_norm(make):
    theirs, ours = make(torch.nn), make(mg.nn)
    torch.nn.utils.parametrizations.spectral_norm(theirs), mg.nn.utils.parametrizations.spectral_norm(ours)
    assert list(ours.state_dict()) == list(theirs.state_dict()) and repr(ours) == repr(theirs)
    copied(theirs, ours)
    for _ in range(2):
        a, b = ours.weight, theirs.weight
        close(a, b)
        (a**2).sum().backward(), (b**2).sum().backward()
    close(ours.parametrizations.weight.original.grad, theirs.parametrizations.weight.original.grad)
    close(ours.parametrizations.weight[0]._u, theirs.parametrizations.weight[0]._u)
    ours.eval(), theirs.eval()
    close(ours.weight, theirs.weight)


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5)])
@pytest.mark.parametrize("which", [None, "matrix_exp", "cayley", "householder"])
@pytest.mark.parametrize("trivialization", [True, False])
def test_orthogonal(shape, which, trivialization):
    theirs, ours = torch.nn.Linear(*shape[::-1]).double(), mg.nn.Linear(*shape[::-1]).double()
    if not trivialization and which in ("matrix_exp", "cayley") or (which is None and shape == (4, 4) and not trivialization):
        ours = mg.nn.utils.parametrizations.orthogonal(ours, orthogonal_map=which, use_trivialization=trivialization)
        with pytest.raises(NotImplementedError):
            ours.weight = mg.eye(*shape).double()
        return
    torch.nn.utils.parametrizations.orthogonal(theirs, "weight", which, use_trivialization=trivialization)
    mg.nn.utils.parametrizations.orthogonal(ours, "weight", which, use_trivialization=trivialization)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    q = ours.weight if shape[0] >= shape[1] else ours.weight.mT
    np.testing.assert_allclose((q.mT @ q).detach().numpy(), np.eye(min(shape)), atol=1e-9)
    copied(theirs, ours)
    close(ours.weight, theirs.weight, 1e-9)
    seed = np.random.default_rng(0).normal(size=shape)
    (ours.weight * mg.tensor(seed)).sum().backward(), (theirs.weight * torch.tensor(seed)).sum().backward()
    close(ours.parametrizations.weight.original.grad, theirs.parametrizations.weight.original.grad, 1e-8)
