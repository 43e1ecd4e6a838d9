"""The fused recurrent layers against PyTorch and against their own step loop: values, gradients, packed sequences, projections,
second derivatives, and the same bits for any number of threads.
"""

import numpy as np
import pytest

import minigrad as mg
from minigrad.ops.layers import rnn_layer

torch = pytest.importorskip("torch")

KINDS = {"RNN_TANH": "rnn_tanh", "RNN_RELU": "rnn_relu", "LSTM": "lstm", "GRU": "gru"}
# (steps, batch, input, hidden, options): below and above one vector, several blocks of units, steps worth two threads
SHAPES = [
    (1, 1, 1, 1, {}),
    (4, 2, 5, 7, {"bias": False}),
    (5, 3, 4, 17, {"num_layers": 2, "bidirectional": True}),
    (4, 9, 33, 50, {"batch_first": True}),
    (4, 20, 64, 128, {"num_layers": 2}),
]


def pair(mode, i, h, dtype="float64", **options):
    """The same layer in both frameworks."""
    name = mode.split("_")[0]
    if name == "RNN":
        options["nonlinearity"] = mode.split("_")[1].lower()
    theirs = getattr(torch.nn, name)(i, h, dtype=getattr(torch, dtype), **options)
    ours = getattr(mg.nn, name)(i, h, dtype=getattr(mg, dtype), **options)
    ours.load_state_dict({k: mg.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    return ours, theirs


def flat(state):
    return list(state) if isinstance(state, tuple) else [state]


def run(M, layer, x, states, seed):
    """Outputs and all gradients for fixed random weights of every output."""
    x = M.tensor(x, requires_grad=True)
    hx = [M.tensor(h, requires_grad=True) for h in states]
    out, last = layer(x, tuple(hx) if len(hx) > 1 else hx[0])
    rng = np.random.default_rng(seed)
    parts = [out, *flat(last)]
    loss = sum((p * M.tensor(rng.standard_normal(tuple(p.shape)), dtype=p.dtype)).sum() for p in parts)
    loss.backward()
    grads = [x.grad, *(h.grad for h in hx), *(p.grad for p in layer.parameters())]
    return [np.asarray(t.detach().numpy()) for t in (*parts, *grads)]


def compare(found, expected, tolerance):
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def problem(mode, shape, dtype="float64"):
    t, n, i, h, options = shape
    ours, theirs = pair(mode, i, h, dtype, **options)
    rng = np.random.default_rng(t)
    x = rng.standard_normal((n, t, i) if options.get("batch_first") else (t, n, i)).astype(dtype)
    count = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    widths = [options.get("proj_size") or h, h][: 1 + (mode == "LSTM")]
    return ours, theirs, x, [rng.standard_normal((count, n, w)).astype(dtype) for w in widths]


@pytest.mark.parametrize("mode", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s[:4])))
def test_values_and_gradients_are_pytorchs(mode, shape):
    ours, theirs, x, states = problem(mode, shape)
    compare(run(mg, ours, x, states, 0), run(torch, theirs, x, states, 0), 1e-9)


@pytest.mark.parametrize("options", [{"proj_size": 3}, {"proj_size": 20, "num_layers": 2, "bidirectional": True}])
def test_projection(options):
    ours, theirs, x, states = problem("LSTM", (4, 5, 6, 33, options))
    compare(run(mg, ours, x, states, 0), run(torch, theirs, x, states, 0), 1e-9)


@pytest.mark.parametrize("mode", KINDS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("lengths", [[5, 3, 3, 1], [2, 2], [4], [7, 1]])
def test_packed(mode, bidirectional, lengths):
    options = {"bidirectional": bidirectional, "num_layers": 2, **({"proj_size": 4} if mode == "LSTM" and bidirectional else {})}
    ours, theirs, x, states = problem(mode, (max(lengths), len(lengths), 3, 18, options))

    def packed(M, layer):
        pack = M.nn.utils.rnn.pack_padded_sequence

        class Packed:
            def __call__(self, x, hx):
                out, last = layer(pack(x, lengths), hx)
                return out.data, last

            parameters = layer.parameters

        return Packed()

    compare(run(mg, packed(mg, ours), x, states, 0), run(torch, packed(torch, theirs), x, states, 0), 1e-9)


@pytest.mark.parametrize("kind", KINDS.values())
def test_pytorchs_function_for_packed_sequences(kind):
    rng = np.random.default_rng(0)
    gates = rnn_layer.STEPS[kind][1]
    data, h, params = rng.standard_normal((6, 4)), rng.standard_normal((1, 3, 5)), [rng.standard_normal((gates * 5, w)) for w in (4, 5)]
    found = []
    for M in (mg, torch):
        hx = M.tensor(h)
        state = (hx, hx * 2) if kind == "lstm" else hx
        weights = [M.tensor(w) for w in params]
        found.append(getattr(M, kind)(M.tensor(data), M.tensor([3, 2, 1]), state, weights, False, 1, 0.0, False, False))
    compare([t.numpy() for t in found[0]], [t.numpy() for t in found[1]], 1e-10)


def one_layer(kind, sizes=None, dtype=mg.float64, reverse=False, projected=False):
    """Arguments of rnn_layer.layer()."""
    mg.manual_seed(0)
    n, i, h = (3 if sizes is None else sizes[0]), 4, 6
    p, gates = (2 if projected else h), rnn_layer.STEPS[kind][1]

    def made(*shape):
        return mg.randn(*shape, dtype=dtype, requires_grad=True)

    x = made(5, n, i) if sizes is None else made(sum(sizes), i)
    state = (made(n, p), made(n, h)) if kind == "lstm" else (made(n, p),)
    params = [made(gates * h, i), made(gates * h, p), made(gates * h), made(gates * h), made(p, h) if projected else None]
    return [kind, x, state, params, reverse, None if sizes is None else mg.tensor(sizes)]


@pytest.mark.parametrize("kind", rnn_layer.STEPS)
@pytest.mark.parametrize("sizes", [None, [3, 3, 2, 1]])
@pytest.mark.parametrize("reverse", [False, True])
def test_first_and_second_derivatives_are_those_of_the_step_loop(kind, sizes, reverse, monkeypatch):
    def derivatives():
        args = one_layer(kind, sizes, reverse=reverse, projected=kind == "lstm" and reverse)
        leaves = [t for t in (args[1], *args[2], *args[3]) if t is not None]
        out, last = rnn_layer.layer(*args)
        loss = out.square().sum() + sum(h.sin().sum() for h in last)
        first = mg.autograd.grad(loss, leaves, retain_graph=True)
        graph = mg.autograd.grad(loss, leaves, create_graph=True)
        second = mg.autograd.grad(sum((g * g).sum() for g in graph), leaves)
        return [out, *last, *first, *graph, *second]

    fused = derivatives()
    monkeypatch.setattr(rnn_layer, "_native", lambda tensors, steps: False)
    for a, b in zip(fused, derivatives(), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", rnn_layer.STEPS)
def test_an_argument_computed_from_another_has_its_own_part_of_the_gradient(kind):
    def graph_gradient(create_graph):
        kind_, x, state, params, reverse, _ = one_layer(kind)
        tied = tuple(x[0, :, :1].expand(-1, h.shape[1]) + h for h in state)
        loss = rnn_layer.layer(kind_, x, tied, params, reverse)[0].square().sum()
        return mg.autograd.grad(loss, x, create_graph=create_graph)[0].detach().numpy()

    np.testing.assert_allclose(graph_gradient(False), graph_gradient(True), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("mode", ["LSTM", "GRU"])
def test_same_bits_for_one_and_two_threads(mode):
    ours, _, x, states = problem(mode, (6, 32, 96, 192, {"num_layers": 2}), "float32")
    before, found = mg.get_num_threads(), []
    try:
        for threads in (1, 2):
            mg.set_num_threads(threads)
            ours.zero_grad()
            found.append(run(mg, ours, x, states, 0))
    finally:
        mg.set_num_threads(before)
    for a, b in zip(*found):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("mode", KINDS)
def test_error_of_float32_is_no_worse_than_pytorchs(mode):
    shape = (20, 16, 40, 70, {})
    exact = problem(mode, shape)
    wanted = run(torch, exact[1], exact[2], exact[3], 0)
    ours, theirs, x, states = problem(mode, shape, "float32")
    for layer, source in ((ours, mg), (theirs, torch)):
        layer.load_state_dict({k: source.tensor(v.numpy()).float() for k, v in exact[1].state_dict().items()})
    x, states = exact[2].astype("float32"), [h.astype("float32") for h in exact[3]]
    errors = []
    for M, layer in ((mg, ours), (torch, theirs)):
        errors.append([np.abs(a - b).max() / np.abs(b).max() for a, b in zip(run(M, layer, x, states, 0), wanted)])
    assert max(errors[0]) < 2 * max(errors[1]) + 1e-6, errors


def test_one_sequence_loses_no_more_than_pytorch():
    """The product of all inputs and the state's product of a single row are sums of short chains."""
    errors = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        w = [rng.uniform(-1 / 16, 1 / 16, shape).astype("float32") for shape in ((256, 256), (256, 256), (256,), (256,))]
        x, h = (rng.uniform(-1, 1, (steps, 1, 256)).astype("float32") for steps in (16, 1))
        results = []
        for M, kind in ((mg, mg.float32), (torch, torch.float32), (torch, torch.float64)):
            layer = M.nn.RNN(256, 256, dtype=kind)
            layer.load_state_dict(dict(zip(layer.state_dict(), (M.tensor(v, dtype=kind) for v in w))))
            results.append(layer(M.tensor(x, dtype=kind), M.tensor(h, dtype=kind))[0].detach().numpy())
        errors.append([np.linalg.norm(r - results[2]) for r in results[:2]])
    ours, theirs = np.median(errors, axis=0)
    assert ours <= 1.1 * theirs


def test_nan_and_inf_stay_in_their_sequence():
    layer = mg.nn.LSTM(3, 4)
    x = mg.zeros(4, 3, 3)
    x[0, 1] = float("nan")
    x[0, 2] = float("inf")
    out, _ = layer(x)
    assert bool(out[:, 0].isfinite().all()) and bool(out[:, 1].isnan().all())


@pytest.mark.parametrize("bad", ["hx", "cx", "w_ih", "w_hh", "b_ih", "w_hr", "batch_sizes", "kind", "dtype"])
def test_bad_arguments_raise(bad):
    kind, x, (hx, cx), (w_ih, w_hh, b_ih, b_hh, _), reverse, _ = one_layer("lstm")
    given = {"input": x, "hx": hx, "cx": cx, "w_ih": w_ih, "w_hh": w_hh, "b_ih": b_ih, "b_hh": b_hh, "w_hr": None, "batch_sizes": None}
    given |= {"kind": kind, "reverse": reverse}
    wrong = {"kind": "gnu", "batch_sizes": mg.tensor([2, 3])}
    if bad == "dtype":
        given["hx"] = hx.float()
    else:
        given[bad] = wrong.get(bad, mg.ones(3, 7, dtype=mg.float64))
    with pytest.raises((RuntimeError, ValueError)):
        mg.op.functions["_rnn_layer"](**given)


def test_vmap_takes_the_step_loop():
    kind, x, state, params, reverse, _ = one_layer("gru")
    xs = mg.stack([x.detach(), x.detach() * 2])
    together = mg.func.vmap(lambda one: rnn_layer.layer(kind, one, state, params, reverse)[0])(xs)
    for k in range(2):
        expected = rnn_layer.layer(kind, xs[k], state, params, reverse)[0]
        np.testing.assert_allclose(together[k].detach().numpy(), expected.detach().numpy(), rtol=1e-10, atol=1e-10)
