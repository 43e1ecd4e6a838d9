"""Optimizers by others, on a small network: losses and parameters after a few steps."""

from __future__ import annotations

from typing import Any

from cases import floats, program


def _train(make: Any, steps: int = 5) -> Any:
    """Losses and parameters of a small network after a few steps of an optimizer."""
    import torch

    net = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    for k, p in enumerate(net.parameters()):
        p.data.copy_(floats(*p.shape, seed=k + 5) * 0.3)
    x, y, optimizer, losses = floats(16, 6), floats(16, 3, seed=2), make(net.parameters()), []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(net(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss)
    return [losses, list(net.parameters())]


@program("lion_pytorch")
def lion() -> Any:
    from lion_pytorch import Lion

    return _train(lambda p: Lion(p, lr=1e-2, weight_decay=0.1))


@program("adabelief_pytorch", "colorama", "tabulate")
def adabelief() -> Any:
    from adabelief_pytorch import AdaBelief

    return _train(lambda p: AdaBelief(p, lr=1e-2, print_change_log=False))


@program("torch_optimizer", "pytorch_ranger")
def torch_optimizer_family() -> Any:
    import torch_optimizer as extra

    kinds = (
        extra.AdaBound,
        extra.DiffGrad,
        extra.Lamb,
        extra.QHAdam,
        extra.Yogi,
        extra.RAdam,
        extra.NovoGrad,
        extra.SGDW,
        extra.Adahessian,
    )
    return [_train(lambda p, kind=kind: kind(p, lr=1e-2)) for kind in kinds[:-1]]


@program("pytorch_optimizer")
def pytorch_optimizer_family() -> Any:
    import pytorch_optimizer as extra

    names = (
        "AdaBelief",
        "AdaBound",
        "AdaFactor",
        "AdamP",
        "Adan",
        "DiffGrad",
        "Lamb",
        "Lion",
        "MADGRAD",
        "RAdam",
        "Ranger",
        "SGDP",
        "Tiger",
    )
    return {name: _train(lambda p, kind=getattr(extra, name): kind(p, lr=1e-2)) for name in names}


@program("madgrad")
def madgrad() -> Any:
    from madgrad import MADGRAD

    return _train(lambda p: MADGRAD(p, lr=1e-2))


@program("prodigyopt")
def prodigy() -> Any:
    from prodigyopt import Prodigy

    return _train(lambda p: Prodigy(p, lr=1.0))


@program("dadaptation")
def dadapt() -> Any:
    from dadaptation import DAdaptAdam

    return _train(lambda p: DAdaptAdam(p, lr=1.0))


@program("schedulefree")
def schedulefree() -> Any:
    from schedulefree import AdamWScheduleFree

    def make(p: Any) -> Any:
        optimizer = AdamWScheduleFree(p, lr=1e-2)
        optimizer.train()
        return optimizer

    return _train(make)


@program("pytorch_warmup")
def warmup() -> Any:
    import pytorch_warmup
    import torch

    p = torch.nn.Parameter(floats(3))
    optimizer = torch.optim.AdamW([p], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
    ramp, rates = pytorch_warmup.UntunedLinearWarmup(optimizer), []
    for _ in range(8):
        (p**2).sum().backward()
        optimizer.step()
        with ramp.dampening():
            schedule.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return [rates, p]
