"""nn.utils against PyTorch: clipping, vectors, weight and spectral norm, fusion, pruning, skip_init, memory format."""

import copy
import math
import warnings

import numpy as np
import pytest

import minigrad as mg

torch = pytest.importorskip("torch")
pytest.importorskip("torch.nn.utils.prune")
warnings.filterwarnings("ignore", category=FutureWarning)
pytestmark = pytest.mark.filterwarnings("ignore")


def twins(make, seed=0):
    """The same module in both libraries, with equal parameters and buffers."""
    torch.manual_seed(seed)
    theirs = make(torch.nn)
    ours = make(mg.nn)
    ours.load_state_dict({k: mg.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    return ours, theirs


def close(a, b, tol=1e-5):
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=tol, atol=tol)


def data(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def backward_both(ours, theirs, *shape):
    x = data(*shape)
    a, b = ours(mg.tensor(x)), theirs(torch.tensor(x))
    close(a, b)
    (a * a).sum().backward(), (b * b).sum().backward()
    grads_a, grads_b = dict(ours.named_parameters()), dict(theirs.named_parameters())
    assert list(grads_a) == list(grads_b)
    for name in grads_a:
        close(grads_a[name].grad, grads_b[name].grad, 1e-4)


# --- clipping and vectors ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("norm", [1.0, 2.0, 3.5, math.inf, -math.inf, 0.0])
@pytest.mark.parametrize("limit", [0.5, 100.0])
def test_clip_grad_norm(norm, limit):
    ours, theirs = twins(lambda nn: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)))
    backward_both(ours, theirs, 3, 4)
    a = mg.nn.utils.clip_grad_norm_(ours.parameters(), limit, norm)
    b = torch.nn.utils.clip_grad_norm_(theirs.parameters(), limit, norm)
    close(a, b)
    for p, q in zip(ours.parameters(), theirs.parameters()):
        close(p.grad, q.grad)
    grads = [p.grad for p in ours.parameters()]
    close(mg.nn.utils.get_total_norm(grads, norm), torch.nn.utils.get_total_norm([q.grad for q in theirs.parameters()], norm))


def test_clip_corners():
    p = mg.nn.Parameter(mg.ones(2))
    assert mg.nn.utils.clip_grad_norm_(p, 1.0).item() == 0.0  # no gradient yet
    p.grad = mg.tensor([math.inf, 1.0])
    with pytest.raises(RuntimeError, match="non-finite"):
        mg.nn.utils.clip_grad_norm_([p], 1.0, error_if_nonfinite=True)
    p.grad = mg.tensor([-3.0, 0.5])
    mg.nn.utils.clip_grad_value_(p, 1)
    assert p.grad.tolist() == [-1.0, 0.5]
    with pytest.warns(UserWarning, match="empty generator"):
        mg.nn.utils.clip_grad_norm_((q for q in []), 1.0)


def test_parameters_vector_round_trip():
    net = mg.nn.Linear(3, 2)
    vector = mg.nn.utils.parameters_to_vector(net.parameters())
    assert vector.shape == (8,) and vector.requires_grad
    mg.nn.utils.vector_to_parameters(mg.arange(8.0), net.parameters())
    assert net.weight.tolist() == [[0, 1, 2], [3, 4, 5]] and net.bias.tolist() == [6, 7]
    with pytest.raises(TypeError, match="expected torch.Tensor"):
        mg.nn.utils.vector_to_parameters([1.0], net.parameters())


# --- weight and spectral norm --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dim", [0, 1, -1, None])
def test_weight_norm_hook(dim):
    ours, theirs = twins(lambda nn: nn.Conv1d(3, 4, 2))
    mg.nn.utils.weight_norm(ours, dim=dim), torch.nn.utils.weight_norm(theirs, dim=dim)
    assert list(ours.state_dict()) == list(theirs.state_dict()) == ["bias", "weight_g", "weight_v"]
    close(ours.weight_g, theirs.weight_g)
    backward_both(ours, theirs, 2, 3, 5)
    with pytest.raises(RuntimeError, match="two weight_norm hooks"):
        mg.nn.utils.weight_norm(ours)
    mg.nn.utils.remove_weight_norm(ours), torch.nn.utils.remove_weight_norm(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict()) == ["bias", "weight"]
    close(ours.weight, theirs.weight)
    with pytest.raises(ValueError, match="not found"):
        mg.nn.utils.remove_weight_norm(ours)


@pytest.mark.parametrize("kind", ["Linear", "Conv2d", "ConvTranspose2d"])
def test_spectral_norm_hook(kind):
    def make(nn):
        return nn.Linear(3, 4) if kind == "Linear" else getattr(nn, kind)(3, 4, 2)

    ours, theirs = twins(make)
    mg.nn.utils.spectral_norm(ours, n_power_iterations=2), torch.nn.utils.spectral_norm(theirs, n_power_iterations=2)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert ours.state_dict()._metadata == theirs.state_dict()._metadata
    ours.load_state_dict({k: mg.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    shape = (2, 3) if kind == "Linear" else (2, 3, 4, 4)
    backward_both(ours, theirs, *shape)
    close(ours.weight_u, theirs.weight_u), close(ours.weight_v, theirs.weight_v)
    ours.eval(), theirs.eval()
    close(ours(mg.tensor(data(*shape))), theirs(torch.tensor(data(*shape))))
    mg.nn.utils.remove_spectral_norm(ours)
    assert sorted(ours.state_dict()) == ["bias", "weight"] and not ours._state_dict_hooks


# --- fusion --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("affine", [True, False])
def test_fuse(affine):
    for make, shape, transpose in (
        (lambda nn: nn.Sequential(nn.Conv2d(2, 3, 2, bias=affine), nn.BatchNorm2d(3, affine=affine)), (4, 2, 5, 5), False),
        (lambda nn: nn.Sequential(nn.ConvTranspose2d(2, 3, 2), nn.BatchNorm2d(3)), (4, 2, 5, 5), True),
        (lambda nn: nn.Sequential(nn.Linear(2, 3, bias=affine), nn.BatchNorm1d(3)), (6, 2), None),
    ):
        net = make(mg.nn)
        net(mg.tensor(data(*shape))), net.eval()
        if transpose is None:
            fused = mg.nn.utils.fuse_linear_bn_eval(*net)
        else:
            fused = mg.nn.utils.fuse_conv_bn_eval(*net, transpose=transpose)
        x = mg.tensor(data(*shape, seed=3))
        np.testing.assert_allclose(fused(x).detach().numpy(), net(x).detach().numpy(), rtol=1e-4, atol=1e-5)
        net.train()
        with pytest.raises(AssertionError, match="eval"):
            mg.nn.utils.fuse_conv_bn_eval(*net)


# --- pruning -------------------------------------------------------------------------------------------------------------
def test_prune_l1_and_structured_like_torch():
    ours, theirs = twins(lambda nn: nn.Linear(6, 5))
    for lib, m in ((mg, ours), (torch, theirs)):
        prune = lib.nn.utils.prune
        prune.l1_unstructured(m, "weight", amount=0.3)
        prune.ln_structured(m, "weight", amount=2, n=2, dim=0)
        prune.l1_unstructured(m, "weight", amount=3)
        prune.l1_unstructured(m, "bias", amount=1, importance_scores=lib.tensor([3.0, 1.0, 2.0, 5.0, 4.0]))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, value in theirs.state_dict().items():
        close(ours.state_dict()[name], value)
    backward_both(ours, theirs, 3, 6)
    hook = next(iter(ours._forward_pre_hooks.values()))
    assert isinstance(hook, mg.nn.utils.prune.PruningContainer) and len(hook) == 3
    assert mg.nn.utils.prune.is_pruned(ours)
    for lib, m in ((mg, ours), (torch, theirs)):
        lib.nn.utils.prune.remove(m, "weight"), lib.nn.utils.prune.remove(m, "bias")
    assert list(ours.state_dict()) == list(theirs.state_dict()) == ["weight", "bias"]
    close(ours.weight, theirs.weight)
    assert not mg.nn.utils.prune.is_pruned(ours)
    with pytest.raises(ValueError, match="has to be pruned"):
        mg.nn.utils.prune.remove(ours, "weight")


def test_prune_global_and_masks():
    ours, theirs = twins(lambda nn: nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)))
    for lib, m in ((mg, ours), (torch, theirs)):
        prune = lib.nn.utils.prune
        prune.custom_from_mask(m[0], "bias", lib.tensor([1, 0, 1, 0]))
        prune.identity(m[1], "bias")
        prune.global_unstructured([(m[0], "weight"), (m[1], "weight")], prune.L1Unstructured, amount=0.5)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, value in theirs.state_dict().items():
        close(ours.state_dict()[name], value)


def test_prune_random_custom_and_errors():
    prune = mg.nn.utils.prune
    m = mg.nn.Linear(10, 10)
    prune.random_unstructured(m, "weight", 0.25)
    assert (m.weight == 0).sum() == 25
    prune.random_structured(m, "weight", 3, dim=1)
    assert ((m.weight == 0).all(0)).sum() >= 3

    class Odd(prune.BasePruningMethod):
        PRUNING_TYPE = "unstructured"

        def compute_mask(self, t, default_mask):
            mask = default_mask.clone()
            mask.view(-1)[::2] = 0
            return mask

    Odd.apply(m, "bias")
    assert m.bias_mask.tolist() == [0, 1] * 5
    assert Odd().prune(mg.ones(4)).tolist() == [0, 1, 0, 1]
    for call, error in (
        (lambda: prune.l1_unstructured(m, "weight", amount=1.5), ValueError),
        (lambda: prune.l1_unstructured(m, "weight", amount="x"), TypeError),
        (lambda: prune.l1_unstructured(mg.nn.Linear(2, 2), "weight", amount=7), ValueError),
        (lambda: prune.ln_structured(mg.nn.Linear(2, 2), "bias", 1, 2, 0), ValueError),
    ):
        with pytest.raises(error):
            call()
    clean = mg.nn.Linear(2, 2)
    with pytest.raises(ValueError):
        prune.l1_unstructured(clean, "weight", amount=7)
    assert list(clean.state_dict()) == ["bias", "weight"] or list(clean.state_dict()) == ["weight", "bias"]
    again = copy.deepcopy(mg.nn.Linear(2, 2))
    assert not prune.is_pruned(again)


# --- the rest ------------------------------------------------------------------------------------------------------------
def test_skip_init_and_memory_format():
    state = mg.get_rng_state()
    layer = mg.nn.utils.skip_init(mg.nn.Linear, 3, 4, dtype=mg.float64)
    assert layer.weight.shape == (4, 3) and layer.weight.dtype == mg.float64 and layer.weight.requires_grad
    assert (mg.get_rng_state() == state).all()  # nothing was drawn
    with pytest.raises(RuntimeError, match="device"):
        mg.nn.utils.skip_init(mg.nn.ReLU)
    net = mg.nn.Sequential(mg.nn.Conv2d(2, 3, 2))
    want = net[0].weight.detach().clone()
    assert mg.nn.utils.convert_conv2d_weight_memory_format(net, mg.channels_last) is net
    assert net[0].weight.is_contiguous(memory_format=mg.channels_last) and mg.equal(net[0].weight, want)


def test_stateless_names():
    layer = mg.nn.Linear(1, 1)
    values = {"weight": mg.ones(1, 1), "bias": mg.zeros(1)}
    with pytest.warns(FutureWarning):
        assert mg.nn.utils.stateless.functional_call(layer, values, mg.ones(1, 1)).tolist() == [[1.0]]
    assert set(torch.nn.utils.__all__) <= set(mg.nn.utils.__all__)


def test_named_member_accessor():
    for lib in (mg, torch):
        import importlib

        module = importlib.import_module(lib.__name__ + ".nn.utils._named_member_accessor")
        net = lib.nn.Sequential(lib.nn.Linear(2, 2), lib.nn.BatchNorm1d(2))
        access = module.NamedMemberAccessor(net)
        before = net[0].weight
        assert access.get_tensor("0.weight") is before and access.get_submodule("1") is net[1]
        assert access.swap_tensor("0.weight", lib.ones(2, 2)) is before
        assert net[0].weight.tolist() == [[1, 1], [1, 1]]
        access.set_tensors_dict({"0.bias": lib.zeros(2), "1.running_mean": lib.ones(2)})
        assert net[1].running_mean.tolist() == [1, 1]
        missing, unexpected = access.check_keys(["0.weight", "nothing"])
        assert unexpected == ["nothing"] and "0.bias" in missing
        with pytest.raises(AttributeError):
            access.get_tensor("0.nothing")
