"""Parity with Keras for recurrent and attention layers and a training run of a model made of them.

Dense, Conv2D, BatchNormalization, LayerNormalization and longer runs of the optimizers are in test_tensorflow_parity.py.
Layouts differ: Keras kernels are (in, out), its GRU has the gates in the order z, r, n, its attention kernels have a head axis.
"""

from __future__ import annotations

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from test_tensorflow_parity import close, keras_run, ours  # noqa: E402

import minigrad as mg  # noqa: E402

keras = tf.keras
BATCH, STEPS, WIDTH, HIDDEN = 3, 5, 4, 6
RNG = [np.random.default_rng(0)]


@pytest.fixture(autouse=True)
def _same_numbers_in_any_order_of_tests():
    RNG[0] = np.random.default_rng(0)


def draw(*shape):
    return RNG[0].normal(size=shape).astype(np.float32)


def swap_gates(array, axis=-1):
    """Keras' z, r, n as r, z, n; its own inverse."""
    z, r, n = np.split(np.asarray(array), 3, axis)
    return np.concatenate([r, z, n], axis)


def recurrent_weights(kind):
    gates = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}[kind]
    bias = draw(2, gates * HIDDEN) if kind == "GRU" else draw(gates * HIDDEN)
    return [0.5 * draw(WIDTH, gates * HIDDEN), 0.5 * draw(HIDDEN, gates * HIDDEN), bias]


def as_torch_layout(kind, kernel, recurrent, bias):
    """weight_ih, weight_hh, bias_ih, bias_hh; Keras has one bias, except in GRU."""
    kernel, recurrent, bias = (np.asarray(a) for a in (kernel, recurrent, bias))
    if kind == "GRU":
        kernel, recurrent, bias = swap_gates(kernel), swap_gates(recurrent), swap_gates(bias)
        return kernel.T, recurrent.T, bias[0], bias[1]
    return kernel.T, recurrent.T, bias, np.zeros_like(bias)


def our_layer(kind, weights, **options):
    layer = getattr(mg.nn, {"SimpleRNN": "RNN"}.get(kind, kind))(WIDTH, HIDDEN, batch_first=True, **options)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    state = {}
    for suffix, own in zip(("_l0", "_l0_reverse"), weights, strict=False):
        state |= {name + suffix: ours(a) for name, a in zip(names, as_torch_layout(kind, *own), strict=True)}
    layer.load_state_dict(state)
    return layer


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
def test_recurrent_layers(kind):
    x, weights, c = draw(BATCH, STEPS, WIDTH), recurrent_weights(kind), draw(BATCH, STEPS, HIDDEN)
    y, dx, gradients = keras_run(getattr(keras.layers, kind)(HIDDEN, return_sequences=True), x, weights, c)
    layer = our_layer(kind, [weights])
    mine = ours(x, True)
    out, last = layer(mine)
    (out * ours(c)).sum().backward()
    close(out, y)
    close((last[0] if kind == "LSTM" else last)[0], y[:, -1])
    close(mine.grad, dx)
    expected = as_torch_layout(kind, *gradients)
    close(layer.weight_ih_l0.grad, expected[0])
    close(layer.weight_hh_l0.grad, expected[1])
    close(layer.bias_ih_l0.grad, expected[2])
    close(layer.bias_hh_l0.grad, expected[3] if kind == "GRU" else expected[2])


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_bidirectional(kind):
    x, forward, backward = draw(BATCH, STEPS, WIDTH), recurrent_weights(kind), recurrent_weights(kind)
    layer = keras.layers.Bidirectional(getattr(keras.layers, kind)(HIDDEN, return_sequences=True))
    layer.build(x.shape)
    layer.set_weights([*forward, *backward])
    close(our_layer(kind, [forward, backward], bidirectional=True)(ours(x))[0], layer(x))


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_masked_steps_equal_packed_sequences(kind):
    """Keras skips masked steps (and repeats the last output); a packed sequence has none."""
    x, weights, lengths = draw(BATCH, STEPS, WIDTH), recurrent_weights(kind), [3, 5, 1]
    layer = getattr(keras.layers, kind)(HIDDEN)
    layer.build(x.shape)
    layer.set_weights(weights)
    mask = np.arange(STEPS)[None] < np.array(lengths)[:, None]
    expected = layer(x, mask=tf.constant(mask))
    packed = mg.nn.utils.rnn.pack_padded_sequence(ours(x), lengths, batch_first=True, enforce_sorted=False)
    last = our_layer(kind, [weights])(packed)[1]
    close((last[0] if kind == "LSTM" else last)[0], expected)


@pytest.mark.parametrize("causal", [False, True])
def test_multi_head_attention(causal):
    heads, width = 2, 8
    each = width // heads
    x, c = draw(BATCH, STEPS, width), draw(BATCH, STEPS, width)
    kernels = [0.5 * draw(width, heads, each) for _ in range(3)]
    biases = [draw(heads, each) for _ in range(3)]
    out_kernel, out_bias = 0.5 * draw(heads, each, width), draw(width)
    layer_k = keras.layers.MultiHeadAttention(heads, each)
    layer_k.build(x.shape, x.shape)
    layer_k.set_weights([w for pair in zip(kernels, biases, strict=True) for w in pair] + [out_kernel, out_bias])
    inputs = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        y, scores = layer_k(inputs, inputs, return_attention_scores=True, use_causal_mask=causal)
        total = tf.reduce_sum(y * c)
    dx, *gradients = tape.gradient(total, [inputs, *layer_k.trainable_weights])
    layer = mg.nn.MultiheadAttention(width, heads, batch_first=True)
    layer.load_state_dict({
        "in_proj_weight": ours(np.concatenate([k.reshape(width, width).T for k in kernels])),
        "in_proj_bias": ours(np.concatenate([b.ravel() for b in biases])),
        "out_proj.weight": ours(out_kernel.reshape(width, width).T),
        "out_proj.bias": ours(out_bias),
    })  # fmt: skip
    mine = ours(x, True)
    mask = mg.ones(STEPS, STEPS, dtype=mg.bool).triu(1) if causal else None
    out, weights = layer(mine, mine, mine, attn_mask=mask, average_attn_weights=False)
    (out * ours(c)).sum().backward()
    close(out, y)
    close(weights, scores)
    close(mine.grad, dx)
    close(layer.in_proj_weight.grad, np.concatenate([g.numpy().reshape(width, width).T for g in gradients[0:6:2]]))
    close(layer.in_proj_bias.grad, np.concatenate([g.numpy().ravel() for g in gradients[1:6:2]]), atol=1e-4)
    close(layer.out_proj.weight.grad, gradients[6].numpy().reshape(width, width).T)
    close(layer.out_proj.bias.grad, gradients[7])


@pytest.mark.parametrize("name", ["Adam", "SGD", "RMSprop"])
def test_three_steps_of_an_lstm_classifier(name):
    x, labels = draw(8, STEPS, WIDTH), np.arange(8) % 3
    weights = [*recurrent_weights("LSTM"), draw(HIDDEN, 3), draw(3)]
    model = keras.Sequential([keras.layers.Input((STEPS, WIDTH)), keras.layers.LSTM(HIDDEN), keras.layers.Dense(3)])
    model.set_weights(weights)
    theirs = {  # epsilon: too small to matter, since Keras adds it at another place than PyTorch
        "Adam": lambda: keras.optimizers.Adam(0.05, epsilon=1e-14),
        "SGD": lambda: keras.optimizers.SGD(0.05, momentum=0.9),
        "RMSprop": lambda: keras.optimizers.RMSprop(0.01, rho=0.9, epsilon=1e-14),
    }[name]()
    recurrent, head = our_layer("LSTM", [weights[:3]]), mg.nn.Linear(HIDDEN, 3)
    recurrent.bias_hh_l0.requires_grad_(False)  # Keras has one bias
    head.load_state_dict({"weight": ours(weights[3].T), "bias": ours(weights[4])})
    parameters = [p for p in [*recurrent.parameters(), *head.parameters()] if p.requires_grad]
    optimizer = {
        "Adam": lambda: mg.optim.Adam(parameters, 0.05, eps=1e-14),
        "SGD": lambda: mg.optim.SGD(parameters, 0.05, momentum=0.9),
        "RMSprop": lambda: mg.optim.RMSprop(parameters, 0.01, alpha=0.9, eps=1e-14),
    }[name]()
    for _ in range(3):
        with tf.GradientTape() as tape:
            loss_k = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(labels, model(x), from_logits=True))
        theirs.apply_gradients(zip(tape.gradient(loss_k, model.trainable_weights), model.trainable_weights, strict=True))
        optimizer.zero_grad()
        loss = mg.nn.functional.cross_entropy(head(recurrent(ours(x))[1][0][0]), mg.tensor(labels.tolist()))
        loss.backward()
        optimizer.step()
        close(loss, loss_k, rtol=2e-3, atol=1e-4)
    expected = model.get_weights()
    for actual, wanted in ((recurrent.weight_ih_l0, expected[0].T), (recurrent.weight_hh_l0, expected[1].T), (head.weight, expected[3].T)):
        close(actual, wanted, rtol=5e-3, atol=5e-4)
