"""nn.functional against PyTorch: ctc_loss, distances, embedding_bag, attention, linear_cross_entropy, recurrent networks."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import minigrad as mg
import minigrad.nn.functional as F

torch = pytest.importorskip("torch", reason="PyTorch is the reference of these tests")
T = torch.nn.functional
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def as_tuple(x):
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


def check(function, *arrays, tol=1e-9):
    """function(F or torch.nn.functional, module, *tensors) gives equal values and gradients."""
    results = []
    for module, namespace in ((mg, F), (torch, T)):
        tensors = [module.from_numpy(a.copy()) for a in arrays]
        leaves = [t.requires_grad_() for t, a in zip(tensors, arrays, strict=True) if a.dtype.kind == "f"]
        outs = [o for o in as_tuple(function(namespace, module, *tensors)) if o is not None]
        total = sum((o * o).sum() for o in outs if o.requires_grad)
        found = module.autograd.grad(total, leaves, allow_unused=True)
        results.append([None if x is None else x.detach().numpy() for x in (*outs, *found)])
    for ours, theirs in zip(*results, strict=True):
        shape = np.shape(theirs if theirs is not None else ours)
        ours, theirs = (np.zeros(shape) if x is None else x for x in (ours, theirs))
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=tol, atol=tol)


@pytest.mark.parametrize(("reduction", "zero_infinity"), itertools.product(("none", "mean", "sum"), (False, True)))
def test_ctc_loss(rng, reduction, zero_infinity):
    logits = rng.standard_normal((9, 4, 5))
    targets, frames, labels = rng.integers(1, 5, (4, 6)), np.array([9, 7, 9, 5]), np.array([6, 3, 0, 2])
    targets[0, :2] = 3  # a repeated label needs a blank in between

    def loss(f, m, x, t):
        return f.ctc_loss(x.log_softmax(2), t, m.from_numpy(frames), m.from_numpy(labels), 0, reduction, zero_infinity)

    check(loss, logits, targets)
    joined = np.concatenate([row[:n] for row, n in zip(targets, labels, strict=True)])
    check(loss, logits, joined)
    if reduction != "none":
        short = np.array([9, 1, 9, 5])  # one sample has too few frames: infinite, or 0 with zero_infinity
        if zero_infinity:
            check(lambda f, m, x, t: f.ctc_loss(x.log_softmax(2), t, m.from_numpy(short), m.from_numpy(labels),
                                                reduction=reduction, zero_infinity=True), logits, targets)  # fmt: skip


def test_ctc_loss_forms_and_errors(rng):
    log_probs, targets = mg.from_numpy(rng.standard_normal((5, 2, 4))).log_softmax(2), mg.tensor([[1, 2], [3, 1]])
    lists = F.ctc_loss(log_probs, targets, [5, 5], (2, 1), reduction="none")
    tensors = F.ctc_loss(log_probs, targets, mg.tensor([5, 5]), mg.tensor([2, 1]), reduction="none")
    assert lists.tolist() == tensors.tolist()
    single = F.ctc_loss(log_probs[:, 0], targets[0], mg.tensor(5), mg.tensor(2), reduction="none")
    assert single.shape == () and single.item() == lists[0].item()
    for bad in (
        lambda: F.ctc_loss(log_probs, targets, [6, 5], [2, 1]),
        lambda: F.ctc_loss(log_probs, targets, [5, 5], [3, 1]),
        lambda: F.ctc_loss(log_probs, targets, [5], [2, 1]),
        lambda: F.ctc_loss(log_probs, targets + 2, [5, 5], [2, 1]),
        lambda: F.ctc_loss(log_probs, targets, [5, 5], [2, -1]),
        lambda: F.ctc_loss(log_probs, targets, [5, 5], [2, 1], blank=4),
        lambda: F.ctc_loss(log_probs, targets.float(), [5, 5], [2, 1]),
    ):
        with pytest.raises(RuntimeError, match="ctc_loss"):
            bad()


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, math.inf])
def test_distances(rng, p):
    a, b = rng.standard_normal((2, 1, 4, 3)), rng.standard_normal((3, 5, 3))
    b[0, 0] = a[0, 0, 1]  # a distance of 0
    check(lambda f, m, a, b: m.cdist(a, b, p), a, b)
    if p >= 1:  # PyTorch's own pdist gradient at 0 differs from its cdist's below 1
        check(lambda f, m, a: f.pdist(a, p), rng.standard_normal((5, 3)))
    x, y = mg.from_numpy(a).requires_grad_(), mg.from_numpy(b).requires_grad_()
    out = mg.cdist(x, y, p)
    seed = mg.from_numpy(rng.standard_normal(tuple(out.shape)))
    fast = mg.autograd.grad(out, (x, y), seed, retain_graph=True)
    for g, h in zip(fast, mg.autograd.grad(out, (x, y), seed, create_graph=True), strict=True):
        np.testing.assert_allclose(g.numpy(), h.detach().numpy(), rtol=1e-9, atol=1e-9)


def test_distances_of_nothing_and_errors():
    assert mg.cdist(mg.ones(0, 3), mg.ones(2, 3)).shape == (0, 2)
    assert mg.cdist(mg.ones(2, 0), mg.ones(1, 0)).tolist() == [[0.0], [0.0]]
    assert mg.pdist(mg.ones(0, 3)).shape == mg.pdist(mg.ones(1, 3)).shape == (0,)
    for bad in (
        lambda: mg.cdist(mg.ones(3), mg.ones(2, 3)),
        lambda: mg.cdist(mg.ones(2, 3), mg.ones(2, 2)),
        lambda: mg.cdist(mg.ones(2, 3), mg.ones(2, 3), -1.0),
        lambda: mg.pdist(mg.ones(3)),
        lambda: mg.pdist(mg.ones(2, 2), -1),
    ):
        with pytest.raises(RuntimeError, match="dist"):
            bad()
    with pytest.raises(ValueError, match="compute_mode"):
        mg.cdist(mg.ones(2, 3), mg.ones(2, 3), compute_mode="fast")


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize(("padding_idx", "last"), [(None, False), (2, True), (-1, False)])
def test_embedding_bag(rng, mode, padding_idx, last):
    table, flat, offsets = rng.standard_normal((6, 3)), rng.integers(0, 6, 9), np.array([0, 0, 4, 9] if last else [0, 0, 4])
    options = {"mode": mode, "padding_idx": padding_idx}
    check(lambda f, m, i, o, w: f.embedding_bag(i, w, o, include_last_offset=last, **options), flat, offsets, table)
    check(lambda f, m, i, w: f.embedding_bag(i, w, **options), flat.reshape(3, 3), table)
    if mode == "sum":
        check(lambda f, m, i, w, s: f.embedding_bag(i, w, per_sample_weights=s, **options), flat.reshape(3, 3), table,
              rng.standard_normal((3, 3)))  # fmt: skip


def test_embedding_bag_scales_gradients_by_frequency():
    """A row's gradient is divided by how often it was picked; PyTorch 2.13 takes the count of another row here."""
    table = mg.ones(4, 1, requires_grad=True)
    F.embedding_bag(mg.tensor([[1, 1, 2], [1, 3, 3]]), table, mode="sum", scale_grad_by_freq=True).sum().backward()
    assert table.grad.reshape(-1).tolist() == [0.0, 1.0, 1.0, 1.0]


def test_embedding_bag_errors():
    table = mg.ones(3, 2)
    with pytest.raises(ValueError, match="offsets"):
        F.embedding_bag(mg.tensor([0, 1]), table)
    with pytest.raises(ValueError, match="mode"):
        F.embedding_bag(mg.tensor([[0]]), table, mode="product")
    with pytest.raises(RuntimeError, match="offsets"):
        F.embedding_bag(mg.tensor([0, 1]), table, mg.tensor([1]))
    with pytest.raises((IndexError, RuntimeError), match="out of (range|bounds)"):
        F.embedding_bag(mg.tensor([[0, 3]]), table)
    with pytest.raises((IndexError, RuntimeError), match="out of (range|bounds)"):
        F.embedding_bag(mg.tensor([[0, 3]]), table, mode="max")


def masks(rng, shape):
    some = rng.random(shape) > 0.4
    some[..., 0] = True
    return {"none": None, "bool": some, "float": rng.standard_normal(shape)}


@pytest.mark.parametrize("kind", ["none", "bool", "float", "causal", "gqa"])
def test_scaled_dot_product_attention(rng, kind):
    q, k, v = (rng.standard_normal(s) for s in ((2, 4, 5, 6), (2, 2 if kind == "gqa" else 4, 7, 6), (2, 2 if kind == "gqa" else 4, 7, 3)))
    mask = masks(rng, (2, 1, 5, 7)).get(kind)

    def attend(f, m, q, k, v):
        attn_mask = None if mask is None else m.from_numpy(mask)
        return f.scaled_dot_product_attention(q, k, v, attn_mask, is_causal=kind == "causal", scale=0.3, enable_gqa=kind == "gqa")

    check(attend, q, k, v)


def test_attention_in_blocks_equals_whole(rng, monkeypatch):
    from minigrad.nn._functional import attention

    q, k, v = (mg.from_numpy(rng.standard_normal((2, 3, 37, 4))) for _ in range(3))
    mask = mg.from_numpy(rng.random((37, 37)) > 0.5)
    for options in ({}, {"is_causal": True}, {"attn_mask": mask}, {"attn_mask": mask.double()[None]}):
        whole = F.scaled_dot_product_attention(q, k, v, **options)
        monkeypatch.setattr(attention, "_BLOCK", 500)
        blocks = F.scaled_dot_product_attention(q, k, v, **options)
        monkeypatch.undo()
        np.testing.assert_allclose(blocks.numpy(), whole.numpy(), rtol=1e-12)


@pytest.mark.parametrize(("batched", "need_weights", "extra"), itertools.product((True, False), (True, False), ("plain", "bias", "zero")))
def test_multi_head_attention_forward(rng, batched, need_weights, extra):
    q, k = (rng.standard_normal((n, 2, 8) if batched else (n, 8)) for n in (3, 5))
    w_in, b_in, w_out, b_out = (rng.standard_normal(s) for s in ((24, 8), (24,), (8, 8), (8,)))
    b_k, b_v = rng.standard_normal((2, 1, 1, 8))
    padding = np.array([[False, True, False, False, True], [False] * 5]) if batched else np.array([False, True, False, False, False])
    causal = np.triu(np.ones((3, 5), dtype=bool), 1)

    def attend(f, m, q, k, w_in, b_in, w_out, b_out, b_k, b_v):
        bias = (b_k, b_v) if extra == "bias" else (None, None)
        return f.multi_head_attention_forward(
            q, k, k, 8, 4, w_in, b_in, *bias, extra == "zero", 0.0, w_out, b_out, need_weights=need_weights,
            key_padding_mask=m.from_numpy(padding), attn_mask=m.from_numpy(causal), average_attn_weights=extra == "plain",
        )  # fmt: skip

    check(attend, q, k, w_in, b_in, w_out, b_out, b_k, b_v)


@pytest.mark.parametrize("positions", [(), (3,)])
def test_linear_cross_entropy(rng, positions):
    x, w, bias = rng.standard_normal((4, 6)), rng.standard_normal((5, *positions, 6)), rng.standard_normal((5, *positions))
    target = rng.integers(0, 5, (4, *positions))
    check(lambda f, m, x, w, b, t: f.linear_cross_entropy(x, w, t, linear_bias=b, label_smoothing=0.1), x, w, bias, target)
    with pytest.raises(RuntimeError, match="linear_weight"):
        F.linear_cross_entropy(mg.ones(2, 3), mg.ones(4, 2), mg.tensor([0, 1]))


@pytest.mark.parametrize("kind", ["rnn_tanh", "rnn_relu", "gru", "lstm"])
@pytest.mark.parametrize(
    ("layers", "bidirectional", "biases", "batch_first"),
    [(1, False, True, False), (2, True, True, True), (2, True, False, False)],
)
def test_recurrent_networks(rng, kind, layers, bidirectional, biases, batch_first):
    gates, directions = {"gru": 3, "lstm": 4}.get(kind, 1), 1 + bidirectional
    hx = rng.standard_normal((1 + (kind == "lstm"), layers * directions, 2, 4))
    params = []
    for k in range(layers * directions):
        width = 3 if k < directions else 4 * directions
        params += [rng.standard_normal(s) for s in ((gates * 4, width), (gates * 4, 4), *[(gates * 4,)] * 2 * biases)]

    def run(f, m, x, *rest):
        states, weights = rest[: len(hx)], list(rest[len(hx) :])
        return getattr(m, kind)(x, states if kind == "lstm" else states[0], weights, biases, layers, 0.0, False, bidirectional, batch_first)

    check(run, rng.standard_normal((5, 2, 3) if not batch_first else (2, 5, 3)), *hx, *params)
    with pytest.raises(RuntimeError, match=kind):
        run(F, mg, mg.ones(5, 2, 3, dtype=mg.float64), *map(mg.from_numpy, (*hx, *params[:-1])))


def test_lstm_projection(rng):
    hx, cx = rng.standard_normal((1, 2, 2)), rng.standard_normal((1, 2, 4))
    params = [rng.standard_normal(s) for s in ((16, 3), (16, 2), (16,), (16,), (2, 4))]
    x = rng.standard_normal((5, 2, 3))
    check(lambda f, m, x, h, c, *w: m.lstm(x, (h, c), list(w), True, 1, 0.0, False, False, False), x, hx, cx, *params)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize(
    "options",
    [{}, {"num_layers": 2, "bidirectional": True, "batch_first": True}, {"bias": False}, {"relu": True}, {"proj_size": 2}],
)
def test_recurrent_layers(kind, options):
    options = dict(options)
    if options.pop("relu", False):
        options = {"nonlinearity": "relu"}
    if (kind != "RNN" and "nonlinearity" in options) or (kind != "LSTM" and "proj_size" in options):
        pytest.skip("not an option of this layer")
    reference = getattr(torch.nn, kind)(3, 4, **options)
    layer = getattr(mg.nn, kind)(3, 4, **options)
    assert repr(layer) == repr(reference)
    assert [n for n, _ in layer.named_parameters()] == [n for n, _ in reference.named_parameters()]
    layer.load_state_dict({n: mg.from_numpy(v.numpy().copy()) for n, v in reference.state_dict().items()})
    for shape in ((2, 5, 3), (5, 3)):
        x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        results = []
        for module, net in ((mg, layer), (torch, reference)):
            net.zero_grad()
            out, state = net(module.from_numpy(x.copy()))
            (out * out).sum().backward()
            parts = [out, *(state if kind == "LSTM" else (state,))]
            results.append([t.detach().numpy() for t in parts] + [p.grad.numpy() for p in net.parameters()])
        for ours, theirs in zip(*results, strict=True):
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_recurrent_layers_refuse_what_does_not_fit():
    layer = mg.nn.LSTM(3, 4)
    with pytest.raises(RuntimeError, match="input_size"):
        layer(mg.ones(5, 2, 4))
    with pytest.raises(ValueError, match="2D or 3D"):
        layer(mg.ones(3))
    with pytest.raises(RuntimeError, match="hidden.0. size"):
        layer(mg.ones(5, 2, 3), (mg.zeros(1, 1, 4), mg.zeros(1, 2, 4)))
    with pytest.raises(ValueError):
        mg.nn.GRU(3, 0)
    with pytest.raises(ValueError, match="nonlinearity"):
        mg.nn.RNN(3, 4, nonlinearity="sine")


def test_ctc_loss_module(rng):
    log_probs, targets = mg.from_numpy(rng.standard_normal((5, 2, 4))).log_softmax(2), mg.tensor([[1, 2], [3, 1]])
    loss = mg.nn.CTCLoss(reduction="sum")(log_probs, targets, mg.tensor([5, 5]), mg.tensor([2, 1]))
    assert loss.item() == F.ctc_loss(log_probs, targets, [5, 5], [2, 1], reduction="sum").item()


def test_bce_with_logits_keeps_small_losses():
    """A sure and right answer has a small loss, not none; PyTorch's form of the sum cancels to 0 in float32 from logits of about -17 on."""
    logits = mg.tensor([-20.0, -40.0, 20.0, 40.0])
    target = mg.tensor([0.0, 0.0, 1.0, 1.0])
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    np.testing.assert_allclose(loss.numpy(), np.log1p(np.exp(-np.abs(logits.numpy().astype(np.float64)))), rtol=1e-6)
