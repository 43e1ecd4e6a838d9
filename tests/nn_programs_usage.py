"""Common uses of layers and functions in public code, each a function of the library; see test_nn_machinery.py."""

from __future__ import annotations

import copy


def kwargs_only(lib):
    nn = lib.nn

    class M(nn.Module):
        def forward(s, x=None, *, y=1):
            return y

    return M()(y=3), M()(None), nn.Sequential()(5)


def hooks_on_method(lib):
    nn = lib.nn
    m = nn.Linear(1, 1)
    n = []
    h = m.register_forward_pre_hook(lambda mod, inp: n.append(len(inp)))
    m(lib.ones(1, 1))
    h.remove()
    m(lib.ones(1, 1))
    return n, len(m._forward_pre_hooks)


def module_grad_fn(lib):
    nn = lib.nn
    m = nn.Linear(2, 1)
    x = lib.ones(3, 2, requires_grad=True)
    y = m(x)
    (g,) = lib.autograd.grad(y.sum(), x, create_graph=True)
    gp = ((g.norm(2, dim=1) - 1) ** 2).mean()
    gp.backward()
    return m.weight.grad is not None


def param_groups(lib):
    nn = lib.nn
    m = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    d = [p for n, p in m.named_parameters() if p.dim() >= 2]
    nd = [p for n, p in m.named_parameters() if n.endswith("bias") or "norm" in n]
    o = lib.optim.AdamW([{"params": d, "weight_decay": 0.1}, {"params": nd, "weight_decay": 0.0}], lr=1e-3)
    return len(o.param_groups), sum(p.numel() for p in m.parameters()), sum(p.numel() for p in m.parameters() if p.requires_grad)


def dunder_iter(lib):
    nn = lib.nn
    s = nn.Sequential(nn.Linear(1, 1), nn.ReLU())
    a, b = s
    return (
        type(a).__name__,
        [type(x).__name__ for x in s[:-1]],
        len(s[1:]),
        isinstance(s, nn.Module),
        list(s._modules),
        [i for i, _ in enumerate(s)],
        (s[0] in list(s)),
    )


def device_props(lib):
    nn = lib.nn
    m = nn.Linear(1, 1)
    return (
        str(next(m.parameters()).device),
        str(next(m.parameters()).dtype).split(".")[-1],
        next(m.parameters()).is_cuda,
        m.weight.ndim,
        m.weight.nelement(),
        m.weight.element_size(),
    )


def ddp_style(lib):
    nn = lib.nn
    m = nn.DataParallel(nn.Linear(1, 1))
    core = m.module if hasattr(m, "module") else m
    return list(core.state_dict()), isinstance(m, (nn.DataParallel, nn.parallel.DistributedDataParallel))


def with_device(lib):
    nn = lib.nn
    with lib.device("cpu"):
        m = nn.Linear(2, 3)
    return str(m.weight.device)


def default_dtype(lib):
    nn = lib.nn
    lib.set_default_dtype(lib.float64)
    try:
        return str(nn.Linear(1, 1).weight.dtype).split(".")[-1], str(nn.BatchNorm1d(2).running_mean.dtype).split(".")[-1]
    finally:
        lib.set_default_dtype(lib.float32)


def func_api(lib):
    nn = lib.nn
    m = nn.Linear(2, 1)
    pr = {k: v.detach() * 0 + 1 for k, v in m.named_parameters()}
    return lib.func.functional_call(m, pr, (lib.ones(1, 2),)).tolist(), nn.utils.stateless.functional_call(
        m, pr, lib.ones(1, 2)
    ).tolist()


def sdpa(lib):
    F = lib.nn.functional
    q = lib.ones(1, 2, 3, 4)
    return F.scaled_dot_product_attention(q, q, q, is_causal=True).shape == (1, 2, 3, 4), tuple(
        F.multi_head_attention_forward(
            q[0, 0][:, None],
            q[0, 0][:, None],
            q[0, 0][:, None],
            4,
            2,
            lib.ones(12, 4),
            None,
            None,
            None,
            False,
            0.0,
            lib.ones(4, 4),
            None,
        )[0].shape
    )


def onehot_etc(lib):
    F = lib.nn.functional
    return (
        F.one_hot(lib.tensor([0, 2]), 3).tolist(),
        F.pad(lib.ones(1, 2), (1, 1)).tolist(),
        F.normalize(lib.ones(1, 4)).tolist(),
        F.interpolate(lib.ones(1, 1, 2, 2), scale_factor=2, mode="bilinear", align_corners=False).shape[-1],
        F.softmax(lib.ones(2), dim=-1).tolist(),
        F.gumbel_softmax(lib.ones(1, 3), hard=True).sum().item(),
    )


def lstm_stuff(lib):
    nn = lib.nn
    m = nn.LSTM(3, 4, 2, batch_first=True, bidirectional=True, dropout=0.1)
    for n, p_ in m.named_parameters():
        if "weight" in n:
            nn.init.orthogonal_(p_)
        else:
            nn.init.constant_(p_, 0)
            p_.data[4:8].fill_(1)
    m.eval()
    o, (h, c) = m(lib.ones(2, 5, 3))
    h = h.view(2, 2, 2, 4)
    return (
        o.shape == (2, 5, 8),
        h[-1].shape == (2, 2, 4),
        m.weight_ih_l0.shape == (16, 3),
        m.bias_hh_l1_reverse.shape == (16,),
        list(dict(m.named_parameters()))[-1],
    )


def rnn_sorted(lib):
    nn = lib.nn
    L = lib.tensor([2, 3, 1])
    x = lib.arange(18.0).view(3, 3, 2) / 10
    s, i = L.sort(descending=True)
    pk = nn.utils.rnn.pack_padded_sequence(x[i], s.cpu(), batch_first=True)
    lib.manual_seed(0)
    g = nn.GRU(2, 2, batch_first=True)
    with lib.no_grad():
        [p_.fill_(0.3) for p_ in g.parameters()]
    o, h = g(pk)
    o, lengths = nn.utils.rnn.pad_packed_sequence(o, batch_first=True, total_length=4)
    return [[round(v, 4) for v in r] for r in o.flatten(1).tolist()], lengths.tolist(), [round(v, 4) for v in h.flatten().tolist()]


def getstate(lib):
    nn = lib.nn

    class M(nn.Module):
        def __init__(s):
            super().__init__()
            s.l = nn.Linear(1, 1)
            s.fn = lambda x: x

        def __getstate__(s):
            d = s.__dict__.copy()
            d.pop("fn")
            return d

        def __setstate__(s, d):
            super().__setstate__(d)
            s.fn = "back"

    m = copy.deepcopy(M())
    return m.fn, m.l is not None


def nan_bn(lib):
    nn = lib.nn
    m = nn.BatchNorm2d(2)
    try:
        m(lib.ones(1, 2, 1, 1))
    except ValueError as e:
        return str(e).replace("minigrad", "torch")


def conv_err(lib):
    nn = lib.nn
    out = []
    for f in (
        lambda: nn.Conv2d(3, 4, 3)(lib.ones(1, 2, 5, 5)),
        lambda: nn.Linear(3, 4)(lib.ones(2, 5)),
        lambda: nn.Conv2d(3, 4, 3, groups=2),
        lambda: nn.Embedding(3, 2)(lib.tensor([5])),
        lambda: nn.CrossEntropyLoss()(lib.ones(2, 3), lib.tensor([0, 3])),
        lambda: nn.Conv2d(3, 4, 7)(lib.ones(1, 3, 5, 5)),
        lambda: nn.BatchNorm2d(3)(lib.ones(2, 3)),
        lambda: nn.LayerNorm(3)(lib.ones(2, 4)),
        lambda: nn.GroupNorm(3, 4),
        lambda: nn.Dropout(2),
        lambda: nn.MaxPool2d(2)(lib.ones(2, 2)),
        lambda: nn.MSELoss()(lib.ones(2), lib.ones(3)),
        lambda: nn.BCELoss()(lib.ones(2) * 2, lib.ones(2)),
        lambda: nn.Upsample()(lib.ones(1, 1, 2)),
        lambda: nn.Softmax(5)(lib.ones(2)),
        lambda: nn.Linear(2, 2)(lib.ones(1, 2).long()),
        lambda: nn.Embedding(3, 2)(lib.ones(2)),
        lambda: nn.PixelShuffle(2)(lib.ones(1, 3, 2, 2)),
        lambda: nn.Conv1d(2, 2, 3, padding="foo"),
        lambda: nn.Flatten(3)(lib.ones(2, 2)),
        lambda: nn.BCELoss()(lib.ones(2) * 0.5, lib.ones(3)),
        lambda: nn.Conv2d(3, 4, 3)(lib.ones(5, 5)),
        lambda: nn.NLLLoss()(lib.ones(2, 3), lib.ones(2, 3)),
        lambda: nn.ConvTranspose2d(1, 1, 2, stride=2)(lib.ones(1, 1, 2, 2), output_size=[9, 9]),
        lambda: nn.Linear(2, 2)("x"),
        lambda: nn.Linear(2),
        lambda: nn.Linear(2, 2)(),
        lambda: nn.ReLU()(1, 2),
    ):
        try:
            f()
            out.append("none")
        except Exception as e:
            out.append(type(e).__name__)
    return out
