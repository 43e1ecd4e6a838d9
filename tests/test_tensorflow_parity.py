"""Parity with Keras for a representative set of layers, losses and optimizers, and one small training run.

Layouts differ: Keras kernels are (in, out) and (h, w, in, out), images are channels-last; the tests transpose.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
tf = pytest.importorskip("tensorflow")

import minigrad as mg  # noqa: E402

keras = tf.keras
RNG = np.random.default_rng(0)


def draw(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def ours(array, requires_grad=False):
    return mg.from_numpy(np.array(array, copy=True)).requires_grad_(requires_grad)


def close(actual, expected, rtol=2e-4, atol=2e-5, what=""):
    actual = actual.detach().numpy() if isinstance(actual, mg.Tensor) else actual
    expected = expected.numpy() if hasattr(expected, "numpy") else expected
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol, err_msg=what)


def keras_run(layer, x, weights, cotangent, **call):
    """Output, input gradient and weight gradients of a Keras layer."""
    layer.build(x.shape)
    layer.set_weights(weights)
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, **call)
        total = tf.reduce_sum(y * cotangent)
    gradients = tape.gradient(total, [x, *layer.trainable_weights])
    return y, gradients[0], gradients[1:]


def test_dense():
    x, kernel, bias, c = draw(5, 4), draw(4, 3), draw(3), draw(5, 3)
    y, dx, (dk, db) = keras_run(keras.layers.Dense(3), x, [kernel, bias], c)
    layer = mg.nn.Linear(4, 3)
    layer.load_state_dict({"weight": ours(kernel.T), "bias": ours(bias)})
    mine = ours(x, True)
    out = layer(mine)
    (out * ours(c)).sum().backward()
    for a, e in ((out, y), (mine.grad, dx), (layer.weight.grad, dk.numpy().T), (layer.bias.grad, db)):
        close(a, e)


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"), [(1, 0, 1, 1), (2, 0, 1, 1), (1, "same", 1, 2), (1, 0, 2, 1)]
)
def test_conv2d(stride, padding, dilation, groups):
    x, kernel, bias = draw(2, 7, 8, 4), draw(3, 3, 4 // groups, 6), draw(6)
    layer_k = keras.layers.Conv2D(
        6, 3, strides=stride, padding=padding or "valid", dilation_rate=dilation, groups=groups
    )
    c = draw(*layer_k.compute_output_shape(x.shape))
    if groups > 1:  # TensorFlow has no gradient of grouped convolutions on the CPU
        layer_k.build(x.shape)
        kernels = np.split(kernel, groups, -1)
        inputs = np.split(x, groups, -1)
        y = tf.concat([tf.nn.conv2d(i, k, 1, "SAME") for i, k in zip(inputs, kernels, strict=True)], -1) + bias
        dx = dk = db = None
    else:
        y, dx, (dk, db) = keras_run(layer_k, x, [kernel, bias], c)
    layer = mg.nn.Conv2d(4, 6, 3, stride, padding, dilation, groups)
    layer.load_state_dict({"weight": ours(kernel.transpose(3, 2, 0, 1)), "bias": ours(bias)})
    mine = ours(x.transpose(0, 3, 1, 2), True)
    out = layer(mine)
    close(out, y.numpy().transpose(0, 3, 1, 2))
    if dx is None:
        return
    (out * ours(c.transpose(0, 3, 1, 2))).sum().backward()
    close(mine.grad, dx.numpy().transpose(0, 3, 1, 2))
    close(layer.weight.grad, dk.numpy().transpose(3, 2, 0, 1))
    close(layer.bias.grad, db)


@pytest.mark.parametrize("training", [True, False])
def test_batch_normalization(training):
    x, gamma, beta, mean, var, c = draw(4, 5, 6, 3), draw(3), draw(3), draw(3), draw(3) ** 2 + 0.5, draw(4, 5, 6, 3)
    layer_k = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3)
    y, dx, (dg, db) = keras_run(layer_k, x, [gamma, beta, mean, var], c, training=training)
    layer = mg.nn.BatchNorm2d(3, eps=1e-3, momentum=0.1)
    state = {"weight": gamma, "bias": beta, "running_mean": mean, "running_var": var}
    layer.load_state_dict({k: ours(v) for k, v in state.items()} | {"num_batches_tracked": mg.tensor(0)})
    layer.train(training)
    mine = ours(x.transpose(0, 3, 1, 2), True)
    out = layer(mine)
    (out * ours(c.transpose(0, 3, 1, 2))).sum().backward()
    close(out, y.numpy().transpose(0, 3, 1, 2))
    close(mine.grad, dx.numpy().transpose(0, 3, 1, 2))
    close(layer.weight.grad, dg, rtol=1e-3, atol=1e-4)
    close(layer.bias.grad, db, rtol=1e-3, atol=1e-4)
    close(layer.running_mean, layer_k.moving_mean)
    n = 4 * 5 * 6  # Keras folds in the biased variance, torch (and we) the unbiased one
    batch = x.reshape(-1, 3).var(0)
    expected = 0.9 * var + 0.1 * batch * n / (n - 1) if training else var
    close(layer.running_var, expected)


def test_layer_normalization():
    x, gamma, beta, c = draw(4, 5, 6), draw(6), draw(6), draw(4, 5, 6)
    y, dx, (dg, db) = keras_run(keras.layers.LayerNormalization(epsilon=1e-5), x, [gamma, beta], c)
    layer = mg.nn.LayerNorm(6)
    layer.load_state_dict({"weight": ours(gamma), "bias": ours(beta)})
    mine = ours(x, True)
    out = layer(mine)
    (out * ours(c)).sum().backward()
    for a, e in ((out, y), (mine.grad, dx), (layer.weight.grad, dg), (layer.bias.grad, db)):
        close(a, e)


def test_embedding():
    table, index, c = draw(7, 3), np.array([[0, 6, 2], [2, 2, 1]]), draw(2, 3, 3)
    layer_k = keras.layers.Embedding(7, 3)
    layer_k.build(index.shape)
    layer_k.set_weights([table])
    with tf.GradientTape() as tape:
        y = layer_k(tf.constant(index))
        total = tf.reduce_sum(y * c)
    expected = tf.convert_to_tensor(tape.gradient(total, layer_k.trainable_weights[0]))
    layer = mg.nn.Embedding(7, 3)
    layer.load_state_dict({"weight": ours(table)})
    out = layer(ours(index.astype(np.int64)))
    (out * ours(c)).sum().backward()
    close(out, y)
    close(layer.weight.grad, expected)


@pytest.mark.parametrize("pool", ["MaxPool2D", "AveragePooling2D"])
def test_pooling(pool):
    x = draw(2, 6, 8, 3)
    y, dx, _ = keras_run(getattr(keras.layers, pool)(2), x, [], c := draw(2, 3, 4, 3))
    mine = ours(x.transpose(0, 3, 1, 2), True)
    out = (mg.nn.MaxPool2d if pool == "MaxPool2D" else mg.nn.AvgPool2d)(2)(mine)
    (out * ours(c.transpose(0, 3, 1, 2))).sum().backward()
    close(out, y.numpy().transpose(0, 3, 1, 2))
    close(mine.grad, dx.numpy().transpose(0, 3, 1, 2))


ACTIVATIONS = {
    "relu": mg.nn.ReLU, "elu": mg.nn.ELU, "selu": mg.nn.SELU, "silu": mg.nn.SiLU, "softplus": mg.nn.Softplus,
    "softsign": mg.nn.Softsign, "tanh": mg.nn.Tanh, "sigmoid": mg.nn.Sigmoid, "mish": mg.nn.Mish,
}  # fmt: skip


@pytest.mark.parametrize("name", [*ACTIVATIONS, "gelu", "gelu_tanh", "softmax", "log_softmax"])
def test_activations(name):
    x, c = draw(4, 6) * 2, draw(4, 6)
    functions = keras.activations
    both = {
        "gelu": (mg.nn.GELU(), lambda t: functions.gelu(t, approximate=False)),
        "gelu_tanh": (mg.nn.GELU("tanh"), lambda t: functions.gelu(t, approximate=True)),
        "softmax": (mg.nn.Softmax(-1), functions.softmax),
        "log_softmax": (mg.nn.LogSoftmax(-1), tf.nn.log_softmax),
    }
    module, function = both[name] if name in both else (ACTIVATIONS[name](), getattr(functions, name))
    theirs = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(theirs)
        y = function(theirs)
        total = tf.reduce_sum(y * c)
    mine = ours(x, True)
    out = module(mine)
    (out * ours(c)).sum().backward()
    close(out, y)
    close(mine.grad, tape.gradient(total, theirs))


def test_losses():
    logits, target, p = draw(5, 4), draw(5, 4), np.clip(RNG.uniform(size=(5, 4)), 0.05, 0.95).astype(np.float32)
    classes = np.array([0, 3, 1, 1, 2])
    binary = (p > 0.5).astype(np.float32)
    from_logits = {"from_logits": True}
    sparse = keras.losses.SparseCategoricalCrossentropy(**from_logits)
    table = {
        "mse": (mg.nn.MSELoss(), target, keras.losses.MeanSquaredError(), target),
        "mae": (mg.nn.L1Loss(), target, keras.losses.MeanAbsoluteError(), target),
        "huber": (mg.nn.HuberLoss(delta=0.7), target, keras.losses.Huber(delta=0.7), target),
        "classes": (mg.nn.CrossEntropyLoss(), classes, sparse, classes),
        "bce": (mg.nn.BCEWithLogitsLoss(), binary, keras.losses.BinaryCrossentropy(**from_logits), binary),
    }  # fmt: skip
    for name, (module, mine_target, loss_k, their_target) in table.items():
        theirs = tf.constant(logits)
        with tf.GradientTape() as tape:
            tape.watch(theirs)
            expected = loss_k(their_target, theirs)
        mine = ours(logits, True)
        actual = module(mine, ours(mine_target))
        actual.backward()
        close(actual, expected, what=name)
        close(mine.grad, tape.gradient(expected, theirs), what=name)


OPTIMIZERS = {
    "SGD": ({}, {}),
    "momentum": ({"momentum": 0.9}, {"momentum": 0.9}),
    "nesterov": ({"momentum": 0.9, "nesterov": True}, {"momentum": 0.9, "nesterov": True}),
    # Keras adds epsilon before the bias correction: eps * sqrt(1 - b2^t) in our terms; tiny values hide that.
    "Adam": ({"eps": 1e-12}, {"epsilon": 1e-12}),
    "AdamW": ({"eps": 1e-12, "weight_decay": 0.02}, {"epsilon": 1e-12, "weight_decay": 0.02}),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_steps(name):
    options, options_k = OPTIMIZERS[name]
    kind = name if name.startswith("Adam") else "SGD"
    start, gradients = draw(3, 4), [draw(3, 4) for _ in range(5)]
    p = mg.nn.Parameter(ours(start))
    optimizer = getattr(mg.optim, kind)([p], lr=0.05, **options)
    v = tf.Variable(start)
    optimizer_k = getattr(keras.optimizers, kind)(0.05, **options_k)
    for g in gradients:
        p.grad = ours(g)
        optimizer.step()
        optimizer_k.apply([tf.constant(g)], [v])
    close(p, v, rtol=1e-4, atol=1e-5)


def test_training_run():
    """Thirty Adam steps of a small classifier follow Keras's loss curve."""
    centres = draw(3, 8) * 2
    labels = RNG.integers(0, 3, 90)
    x = (centres[labels] + draw(90, 8)).astype(np.float32)
    weights = [draw(8, 16) * 0.3, np.zeros(16, np.float32), draw(16, 3) * 0.3, np.zeros(3, np.float32)]
    model_k = keras.Sequential([keras.layers.Dense(16, activation="tanh"), keras.layers.Dense(3)])
    model_k.build(x.shape)
    model_k.set_weights(weights)
    model = mg.nn.Sequential(mg.nn.Linear(8, 16), mg.nn.Tanh(), mg.nn.Linear(16, 3))
    state = {"0.weight": weights[0].T, "0.bias": weights[1], "2.weight": weights[2].T, "2.bias": weights[3]}
    model.load_state_dict({k: ours(v) for k, v in state.items()})
    optimizer = mg.optim.Adam(model.parameters(), lr=0.02, eps=1e-7)
    optimizer_k = keras.optimizers.Adam(0.02)
    loss_k = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    mine, theirs = [], []
    for _ in range(30):
        with tf.GradientTape() as tape:
            value = loss_k(labels, model_k(x))
        variables = model_k.trainable_variables
        optimizer_k.apply_gradients(zip(tape.gradient(value, variables), variables, strict=True))
        theirs.append(float(value))
        optimizer.zero_grad()
        loss = mg.nn.functional.cross_entropy(model(ours(x)), ours(labels))
        loss.backward()
        optimizer.step()
        mine.append(loss.item())
    np.testing.assert_allclose(mine, theirs, rtol=2e-3, atol=1e-4)
    assert mine[-1] < 0.2 * mine[0]
