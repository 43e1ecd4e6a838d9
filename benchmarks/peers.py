"""What other frameworks make of the same work, when asked for with `--also`: torch.compile on every case, numpy, jax and tensorflow on ops
that are one call everywhere, jax also on the MLP's training step. Functions are jitted, sizes are the same, results are not compared."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import cpu_kernels, models

NAMES = ("compile", "numpy", "jax", "tensorflow")


def calls(name: str, libs: dict[str, Any], also: list[str], threads: int) -> dict[str, Callable[[], Any]]:
    """The calls of the asked frameworks that are installed and have this case."""
    found = {}
    for peer in also:
        call = _compiled(name, libs) if peer == "compile" else _framework(name, peer, threads)
        if call is not None:
            found[peer] = call
    return found


def _compiled(name: str, libs: dict[str, Any]) -> Callable[[], Any] | None:
    """torch.compile of the model's loss or of the op; backward and optimizer are then run as usual."""
    if "torch" not in libs:
        return None
    torch = libs["torch"]
    if name in models.MODELS:
        work = models.MODELS[name](torch, False)
        work.loss = torch.compile(work.loss)
        return lambda: models.step(torch, work)
    return torch.compile(cpu_kernels.CASES[name].make(torch))


def _framework(name: str, peer: str, threads: int) -> Callable[[], Any] | None:
    try:
        library = importlib.import_module(peer)
    except ImportError:
        return None
    if name == "mlp":
        return _jax_mlp(library) if peer == "jax" else None
    group, _, what = name.partition("/")
    x = np.random.default_rng(0).standard_normal(cpu_kernels.LARGE, dtype=np.float32)
    if group == "gemm" and what.isdigit():
        x = x.ravel()[: int(what) ** 2].reshape(int(what), int(what))
        forms: dict[str, Callable[[Any], Any]] = dict.fromkeys(("numpy", "jax", "tensorflow"), lambda a: a @ a)
    elif group == "mem" and what in ("add", "exp", "tanh"):
        own = {"add": lambda m, a: a + a, "exp": lambda m, a: m.exp(a), "tanh": lambda m, a: m.tanh(a)}[what]
        module = {"jax": getattr(library, "numpy", None), "tensorflow": getattr(library, "math", None)}.get(peer, library)
        forms = {peer: lambda a: own(module, a)}
    else:
        return None
    call = forms[peer]
    if peer == "jax":
        a, jitted = library.numpy.asarray(x), library.jit(call)
        return lambda: jitted(a).block_until_ready()
    if peer == "tensorflow":
        _tensorflow_threads(library, threads)
        a, graph = library.constant(x), library.function(call)
        return lambda: graph(a).numpy().flags  # numpy() waits and does not copy
    return lambda: call(x)


def _tensorflow_threads(tensorflow: Any, threads: int) -> None:
    try:
        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
    except RuntimeError:
        pass  # already running with the number of the first case, which is the same


def _jax_mlp(jax: Any) -> Callable[[], Any]:
    """The training step of models.mlp with Adam written out, under jit with donated state."""
    jnp = jax.numpy
    rng = np.random.default_rng(0)
    sizes = {"w1": (784, 128), "b1": (128,), "w2": (128, 10), "b2": (10,)}
    params = {k: jnp.asarray(rng.standard_normal(s, dtype=np.float32) * 0.05) for k, s in sizes.items()}
    x, y = jnp.asarray(rng.standard_normal((64, 784), dtype=np.float32)), jnp.asarray(rng.integers(0, 10, 64))
    tree = jax.tree_util.tree_map
    state = [params, tree(jnp.zeros_like, params), tree(jnp.zeros_like, params), jnp.zeros(())]

    def loss(p):
        logits = jax.nn.relu(x @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"]
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1).mean()

    def update(p, m, v, t):
        value, g = jax.value_and_grad(loss)(p)
        t = t + 1
        m, v = tree(lambda m, g: 0.9 * m + 0.1 * g, m, g), tree(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        p = tree(lambda p, m, v: p - 1e-3 * (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8), p, m, v)
        return p, m, v, t, value

    jitted = jax.jit(update)

    def run():
        *state[:], value = jitted(*state)
        return value.block_until_ready()

    return run
