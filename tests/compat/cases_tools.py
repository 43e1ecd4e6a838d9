"""Solvers, flows, metrics, probability, meta-learning: programs rather than modules."""

from __future__ import annotations

from typing import Any

from cases import floats, ints, model, program


@program("torchdiffeq")
def ode() -> Any:
    import torch
    from torchdiffeq import odeint, odeint_adjoint

    net = torch.nn.Linear(3, 3)
    net.weight.data.copy_(floats(3, 3))
    net.bias.data.zero_()
    field = type("Field", (torch.nn.Module,), {"forward": lambda self, t, y: torch.tanh(self.net(y)) * torch.cos(t)})()
    field.net = net
    y0, t = floats(2, 3, seed=3).requires_grad_(), torch.linspace(0, 1, 4)
    a, b = odeint(field, y0, t, method="dopri5"), odeint_adjoint(field, y0, t, method="rk4")
    (a.sum() + (b**2).sum()).backward()
    return [a, b, y0.grad, net.weight.grad]


@model("torchcde", "torchdiffeq", "torchsde")
def neural_cde() -> Any:
    import torch
    import torchcde

    coeffs = torchcde.hermite_cubic_coefficients_with_backward_differences(floats(2, 8, 3).cumsum(1))
    net = torch.nn.Linear(4, 12)
    field = lambda m: lambda t, z: m(z).tanh().view(*z.shape[:-1], 4, 3)  # noqa: E731

    def call(m: Any, c: Any) -> Any:
        path = torchcde.CubicSpline(c)
        return torchcde.cdeint(
            X=path,
            func=field(m),
            z0=torch.ones(2, 4),
            t=path.interval,
            adjoint=False,
            method="rk4",
            options={"step_size": 0.5},
        )

    return net, (coeffs,), call


@program("entmax")
def entmax() -> Any:
    import entmax as e

    x = floats(4, 6).requires_grad_()
    y = [
        e.sparsemax(x, dim=-1),
        e.entmax15(x, dim=-1),
        e.entmax_bisect(x, 1.3, dim=-1),
        e.sparsemax_loss(x, ints(6, 4)),
    ]
    sum((v**2).sum() for v in y).backward()
    return [y, x.grad]


@program("higher")
def maml() -> Any:
    import higher
    import torch

    net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    for k, p in enumerate(net.parameters()):
        p.data.copy_(floats(*p.shape, seed=k + 5) * 0.5)
    inner = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    x, y = floats(10, 3), floats(10, 1, seed=2)
    with higher.innerloop_ctx(net, inner, copy_initial_weights=False) as (fast, step):
        for _ in range(3):
            step.step(((fast(x) - y) ** 2).mean())
        loss = ((fast(x) - y) ** 2).mean()
        loss.backward()
    return [loss, [p.grad for p in net.parameters()]]


@model("nflows", "umnn")
def nflows_maf() -> Any:
    from nflows.distributions import StandardNormal
    from nflows.flows import Flow
    from nflows.transforms import CompositeTransform, MaskedAffineAutoregressiveTransform, ReversePermutation

    transform = CompositeTransform([ReversePermutation(3), MaskedAffineAutoregressiveTransform(3, 8)])
    return Flow(transform, StandardNormal([3])), (floats(6, 3),), lambda m, x: m.log_prob(x)


@model("nflows", "umnn")
def nflows_spline() -> Any:
    from nflows.distributions import StandardNormal
    from nflows.flows import Flow
    from nflows.transforms import MaskedPiecewiseRationalQuadraticAutoregressiveTransform as Spline

    return (
        Flow(Spline(3, 8, tails="linear", tail_bound=3.0), StandardNormal([3])),
        (floats(6, 3),),
        lambda m, x: m.log_prob(x),
    )


@model("zuko")
def zuko_flow() -> Any:
    import zuko

    return (
        zuko.flows.NSF(3, 2, transforms=2, hidden_features=(8, 8)),
        (floats(6, 3), floats(6, 2, seed=2)),
        lambda m, x, c: m(c).log_prob(x),
    )


@model("normflows")
def normflows_realnvp() -> Any:
    import normflows as nf

    layers = []
    for _ in range(2):
        layers += [
            nf.flows.AffineCouplingBlock(nf.nets.MLP([1, 8, 2], init_zeros=False)),
            nf.flows.Permute(2, mode="swap"),
        ]
    return (
        nf.NormalizingFlow(nf.distributions.base.DiagGaussian(2), layers),
        (floats(6, 2),),
        lambda m, x: m.log_prob(x),
    )


@model("gpytorch", "linear_operator", "jaxtyping")
def gaussian_process() -> Any:
    import gpytorch

    class GP(gpytorch.models.ExactGP):
        def __init__(self, x: Any, y: Any, likelihood: Any) -> None:
            super().__init__(x, y, likelihood)
            self.mean, self.kernel = (
                gpytorch.means.ConstantMean(),
                gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel()),
            )

        def forward(self, x: Any) -> Any:
            return gpytorch.distributions.MultivariateNormal(self.mean(x), self.kernel(x))

    x, y = floats(10, 2), floats(10, seed=2)
    likelihood = gpytorch.likelihoods.GaussianLikelihood()
    net = GP(x, y, likelihood)
    mll = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, net)

    def call(m: Any, x: Any, y: Any) -> Any:
        m.train()
        return mll(m(x), y)

    return net, (x, y), call


@program("pytorch_metric_learning")
def metric_learning() -> Any:
    from pytorch_metric_learning import losses, miners

    x, labels = floats(12, 8).requires_grad_(), ints(3, 12)
    pairs = miners.MultiSimilarityMiner()(x, labels)
    y = [losses.TripletMarginLoss()(x, labels), losses.ContrastiveLoss()(x, labels), losses.NTXentLoss()(x, labels, pairs),
         losses.SupConLoss()(x, labels), losses.CircleLoss()(x, labels)]  # fmt: skip
    sum(y).backward()
    return [y, x.grad]


@program("torchmetrics", "lightning_utilities")
def torchmetrics_many() -> Any:
    import torchmetrics as tm

    p, t = floats(20, 4).softmax(-1), ints(4, 20)
    kinds = [tm.Accuracy(task="multiclass", num_classes=4), tm.F1Score(task="multiclass", num_classes=4, average="macro"),
             tm.AUROC(task="multiclass", num_classes=4), tm.ConfusionMatrix(task="multiclass", num_classes=4)]  # fmt: skip
    a, b = floats(20), floats(20, seed=2)
    more = [tm.MeanSquaredError(), tm.R2Score(), tm.PearsonCorrCoef(), tm.SpearmanCorrCoef()]
    return [[m(p, t) for m in kinds], [m(a, b) for m in more]]


@model("vector_quantize_pytorch", "einops", "einx")
def vector_quantize() -> Any:
    from vector_quantize_pytorch import FSQ

    return FSQ(levels=[5, 5, 3]), (floats(2, 8, 3),), lambda m, x: m(x.requires_grad_())


@model("pytorch_tabnet")
def tabnet() -> Any:
    import torch
    from pytorch_tabnet.tab_network import TabNet

    net = TabNet(6, 3, n_d=4, n_a=4, n_steps=2, virtual_batch_size=8, group_attention_matrix=torch.eye(6))
    return net, (floats(8, 6),)


@model("torch_geometric")
def gcn() -> Any:
    from torch_geometric.nn import GCN

    edges = ints(10, 2, 24)
    return GCN(6, 8, 2, out_channels=3), (floats(10, 6), edges)


@model("torch_geometric")
def gat() -> Any:
    from torch_geometric.nn import GAT

    return GAT(6, 8, 2, out_channels=3, heads=2), (floats(10, 6), ints(10, 2, 24))


@program("captum")
def captum_attributions() -> Any:
    import torch
    from captum.attr import IntegratedGradients, Saliency

    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    for k, p in enumerate(net.parameters()):
        p.data.copy_(floats(*p.shape, seed=k + 5))
    x = floats(5, 4)
    return [
        IntegratedGradients(net).attribute(x, target=1, n_steps=8),
        Saliency(net).attribute(x.requires_grad_(), target=2),
    ]


@program("pyro", "pyroapi", "opt_einsum")
def pyro_svi() -> Any:
    import pyro
    import pyro.distributions as dist
    import torch

    data = floats(20) + 2

    def log_joint() -> Any:
        z = pyro.sample("z", dist.Normal(0.0, 3.0))
        with pyro.plate("data", 20):
            pyro.sample("x", dist.Normal(z, 1.0), obs=data)

    trace = pyro.poutine.trace(pyro.poutine.condition(log_joint, data={"z": torch.tensor(1.5)})).get_trace()
    return trace.log_prob_sum()


@program("tensordict")
def tensordicts() -> Any:
    import torch
    from tensordict import TensorDict

    d = TensorDict({"a": floats(4, 3), "b": TensorDict({"c": floats(4, 2, seed=2)}, [4])}, [4])
    e = torch.stack([d, d + 1], 0)
    return [e["a"], e[:, 1:]["b", "c"], e.reshape(8)["a"]]


@model("siren_pytorch", "einops")
def siren() -> Any:
    from siren_pytorch import SirenNet

    return SirenNet(dim_in=2, dim_hidden=16, dim_out=3, num_layers=2), (floats(10, 2),)


@program("skorch", "sklearn")
def skorch_fit() -> Any:
    import torch
    from skorch import NeuralNetClassifier

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin = torch.nn.Linear(4, 3)
            self.lin.weight.data.copy_(floats(3, 4))
            self.lin.bias.data.zero_()

        def forward(self, x: Any) -> Any:
            return self.lin(x).softmax(-1)

    net = NeuralNetClassifier(Net, max_epochs=3, lr=0.1, train_split=None, iterator_train__shuffle=False, verbose=0)
    net.fit(floats(32, 4).numpy(), ints(3, 32).numpy())
    return [torch.from_numpy(net.predict_proba(floats(5, 4, seed=9).numpy())), net.history[:, "train_loss"]]


@program("ema_pytorch")
def ema() -> Any:
    import torch
    from ema_pytorch import EMA

    net = torch.nn.Linear(3, 2)
    net.weight.data.copy_(floats(2, 3))
    average = EMA(net, beta=0.9, update_after_step=0, update_every=1)
    for k in range(4):
        net.weight.data.add_(floats(2, 3, seed=k))
        average.update()
    return average.ema_model.weight


@program("einops")
def einops_layers() -> Any:
    import torch
    from einops import einsum, pack, rearrange, reduce, repeat
    from einops.layers.torch import Rearrange, Reduce

    x = floats(2, 6, 4, 4).requires_grad_()
    net = torch.nn.Sequential(Rearrange("b (c k) h w -> b c (k h) w", k=2), Reduce("b c h w -> b c", "mean"))
    y = [net(x), rearrange(x, "b c h w -> (b h) (w c)"), reduce(x, "b c (h p) w -> b h", "max", p=2), repeat(x,
    "b c h w -> b (c r) h w", r=2),
         einsum(x, x, "b c h w, b d h w -> b c d"), pack([x, x], "b * h w")[0]]  # fmt: skip
    sum((v**2).sum() for v in y).backward()
    return [y, x.grad]


@program("botorch", "gpytorch", "linear_operator", "jaxtyping")
def botorch_acquisition() -> Any:
    import torch
    from botorch.acquisition import ExpectedImprovement
    from botorch.models import SingleTaskGP

    x = floats(8, 2).sigmoid().double()
    net = SingleTaskGP(x, (x.sin().sum(-1, keepdim=True)))
    points = floats(5, 1, 2, seed=3).sigmoid().double().requires_grad_()
    value = ExpectedImprovement(net, best_f=torch.tensor(1.0, dtype=torch.float64))(points)
    value.sum().backward()
    return [value, points.grad]


@program("torchsde")
def torchsde_additive() -> Any:
    import torch
    import torchsde

    class SDE(torch.nn.Module):
        noise_type, sde_type = "diagonal", "ito"

        def f(self, t: Any, y: Any) -> Any:
            return -y

        def g(self, t: Any, y: Any) -> Any:
            return torch.zeros_like(y)

    y0 = floats(3, 2).requires_grad_()
    path = torchsde.sdeint(SDE(), y0, torch.linspace(0, 1, 5), method="euler", dt=0.05)
    path.sum().backward()
    return [path, y0.grad]


@program("fvcore", "iopath", "yacs", "portalocker", "termcolor")
def fvcore_counts() -> Any:
    import torch
    from fvcore.nn import parameter_count, sigmoid_focal_loss

    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))
    x = floats(6, 3).requires_grad_()
    loss = sigmoid_focal_loss(x, (floats(6, 3, seed=2) > 0).float(), reduction="mean")
    loss.backward()
    return [dict(parameter_count(net)), loss, x.grad]


@program("torchinfo")
def torchinfo_summary() -> Any:
    import torch
    from torchinfo import summary

    found = summary(
        torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)), input_size=(3, 4), verbose=0
    )
    return [found.total_params, found.trainable_params, found.total_mult_adds]


@model("snntorch")
def spiking() -> Any:
    import snntorch
    import torch

    cell = snntorch.Leaky(beta=0.9, init_hidden=False, learn_beta=True)

    def call(m: Any, x: Any) -> Any:
        state, spikes = m[1].init_leaky(), []
        for t in range(x.shape[0]):
            spike, state = m[1](m[0](x[t]), state)
            spikes.append(state)
        return torch.stack(spikes)

    return torch.nn.Sequential(torch.nn.Linear(4, 3), cell), (floats(5, 2, 4),), call
