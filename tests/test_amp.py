"""minigrad.amp: autocast's dtypes, gradients and cache, and custom Functions, against torch on the CPU."""

from __future__ import annotations

import gc
import inspect
import pickle
import threading

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from by_device import device_type  # noqa: E402
from twins import array, ours  # noqa: E402

import minigrad as mg  # noqa: E402

BOTH = pytest.mark.parametrize("lib", [mg, torch], ids=["minigrad", "torch"])


def name_of(dtype):
    return str(dtype).rpartition(".")[2]


def bf16_region(lib, **options):
    """autocast to bfloat16, CUDA's default being float16."""
    return lib.autocast(device_type(lib), dtype=lib.bfloat16, **options)


# What runs inside the region, by (library, its nn, its functional, a float32 input of shape (2, 3, 8, 8)).
CALLS = {
    "matmul": lambda t, nn, F, x: x @ x,
    "linear": lambda t, nn, F, x: nn.Linear(8, 4)(x),
    "conv2d": lambda t, nn, F, x: nn.Conv2d(3, 4, 3)(x),
    "conv1d": lambda t, nn, F, x: nn.Conv1d(8, 4, 3)(x[0]),
    "conv_transpose2d": lambda t, nn, F, x: nn.ConvTranspose2d(3, 4, 3)(x),
    "batch_norm": lambda t, nn, F, x: nn.BatchNorm2d(4)(nn.Conv2d(3, 4, 3)(x)),
    "layer_norm": lambda t, nn, F, x: nn.LayerNorm(4)(nn.Linear(8, 4)(x)),
    "group_norm": lambda t, nn, F, x: nn.GroupNorm(2, 4)(nn.Conv2d(3, 4, 3)(x)),
    "instance_norm": lambda t, nn, F, x: nn.InstanceNorm2d(4, affine=True)(nn.Conv2d(3, 4, 3)(x)),
    "softmax": lambda t, nn, F, x: nn.Linear(8, 4)(x).softmax(-1),
    "gelu": lambda t, nn, F, x: F.gelu(nn.Linear(8, 4)(x)),
    "cross_entropy": lambda t, nn, F, x: F.cross_entropy(nn.Linear(8, 4)(x[0, 0]), t.tensor([1, 2, 0, 1, 2, 3, 0, 1])),
    "lstm": lambda t, nn, F, x: nn.LSTM(8, 4)(x[0])[0],
    "lstm after linear": lambda t, nn, F, x: nn.LSTM(4, 4)(nn.Linear(8, 4)(x[0]))[0],
    "gru": lambda t, nn, F, x: nn.GRU(8, 4)(x[0])[0],
    "rnn": lambda t, nn, F, x: nn.RNN(8, 4)(x[0])[0],
    "lstm_cell": lambda t, nn, F, x: nn.LSTMCell(8, 4)(x[0, 0])[0],
    "gru_cell": lambda t, nn, F, x: nn.GRUCell(8, 4)(x[0, 0]),
    "mha": lambda t, nn, F, x: nn.MultiheadAttention(8, 2)(x[0], x[0], x[0])[0],
    "encoder": lambda t, nn, F, x: nn.TransformerEncoderLayer(8, 2, 16)(x[0]),
    "sdpa": lambda t, nn, F, x: F.scaled_dot_product_attention(x, x, x),
    "embedding": lambda t, nn, F, x: nn.Embedding(4, 3)(t.tensor([1])),
    "max_pool": lambda t, nn, F, x: F.max_pool2d(nn.Conv2d(3, 4, 3)(x), 2),
    "interpolate": lambda t, nn, F, x: F.interpolate(nn.Conv2d(3, 4, 3)(x), scale_factor=2),
    "add": lambda t, nn, F, x: nn.Linear(8, 4)(x) + t.ones(4),
    "sum": lambda t, nn, F, x: nn.Linear(8, 4)(x).sum(),
    "einsum": lambda t, nn, F, x: t.einsum("bchw,bcwv->bchv", x, x),
    "tensordot": lambda t, nn, F, x: t.tensordot(x[0, 0], x[0, 0], 1),
    "bilinear": lambda t, nn, F, x: nn.Bilinear(8, 8, 2)(x[0, 0], x[0, 0]),
    "float64": lambda t, nn, F, x: x.double() @ x.double(),
    "float16": lambda t, nn, F, x: x.half() @ x.half(),
    "int32": lambda t, nn, F, x: x.int() @ x.int(),
    "cat": lambda t, nn, F, x: t.cat([x, x.bfloat16()]),
    "cat64": lambda t, nn, F, x: t.cat([x.double(), x.bfloat16()]),
    "cat16": lambda t, nn, F, x: t.cat([x.bfloat16(), x.bfloat16()]),
    "stack": lambda t, nn, F, x: t.stack([x, x.bfloat16()]),
    "bce": lambda t, nn, F, x: F.binary_cross_entropy(x.bfloat16().sigmoid(), t.ones_like(x)),
    "bce_with_logits": lambda t, nn, F, x: F.binary_cross_entropy_with_logits(x.bfloat16(), t.ones_like(x)),
    "mse": lambda t, nn, F, x: F.mse_loss(x.bfloat16(), x.bfloat16() * 2),
    "l1": lambda t, nn, F, x: F.l1_loss(x.bfloat16(), x.bfloat16() * 2),
    "smooth_l1": lambda t, nn, F, x: F.smooth_l1_loss(x.bfloat16(), x.bfloat16() * 2),
    "huber": lambda t, nn, F, x: nn.HuberLoss()(x.bfloat16(), x.bfloat16() * 2),
    "kl_div": lambda t, nn, F, x: F.kl_div(x.bfloat16().log_softmax(-1), x.softmax(-1), reduction="batchmean"),
    "nll": lambda t, nn, F, x: F.nll_loss(x[0, 0].bfloat16().log_softmax(-1), t.tensor([0] * 8)),
    "out": lambda t, nn, F, x: t.mm(x[0, 0], x[0, 0], out=t.empty(8, 8)),
    "inplace": lambda t, nn, F, x: t.ones(8, 8).addmm_(x[0, 0], x[0, 0]),
    "mv": lambda t, nn, F, x: t.mv(x[0, 0], x[0, 0, 0]),
    "outer": lambda t, nn, F, x: t.outer(x[0, 0, 0], x[0, 0, 0]),
    "pad": lambda t, nn, F, x: F.pad(x.bfloat16(), (1, 1)),
    "prelu": lambda t, nn, F, x: nn.PReLU()(x),
    "norm": lambda t, nn, F, x: x.bfloat16().norm(),
    "prod": lambda t, nn, F, x: x.bfloat16().prod(),
    "cdist": lambda t, nn, F, x: t.cdist(x, x),
    "cosine": lambda t, nn, F, x: F.cosine_similarity(x.bfloat16(), x.bfloat16()),
    "multi_dot": lambda t, nn, F, x: t.linalg.multi_dot([x[0, 0]] * 3),
    "rms_norm": lambda t, nn, F, x: nn.RMSNorm(4)(nn.Linear(8, 4)(x)),
    "inv": lambda t, nn, F, x: t.linalg.inv((x[0, 0] + 5 * t.eye(8)).bfloat16()),
    "fft": lambda t, nn, F, x: t.fft.fft(x.bfloat16()).real,
}
# No random weights in them: values can be compared.
FUNCTIONAL_ONLY = {
    "matmul", "sdpa", "einsum", "tensordot", "float64", "float16", "cat", "cat64", "cat16", "stack", "bce", "bce_with_logits",
    "mse", "l1", "smooth_l1", "huber", "kl_div", "nll", "out", "inplace", "mv", "outer", "pad", "prelu", "norm", "cdist",
    "cosine", "multi_dot", "inv", "fft",
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("half", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", CALLS)
def test_dtype_of_results(name, half):
    values = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    if half == "float16" and name in ("lstm", "lstm after linear", "cat64", "cat16", "pad"):
        pytest.skip("torch has no float16 LSTM on this CPU, and refuses or keeps mixtures of bfloat16 and float16")
    out = {}
    for lib, x in ((mg, mg.from_numpy(values)), (torch, torch.from_numpy(values))):
        with lib.autocast("cpu", dtype=getattr(lib, half)):
            out[lib] = CALLS[name](lib, lib.nn, lib.nn.functional, x)
    assert name_of(out[mg].dtype) == name_of(out[torch].dtype)
    if name in FUNCTIONAL_ONLY:
        np.testing.assert_allclose(array(out[mg].float()), array(out[torch].float()), rtol=3e-2, atol=3e-2)


@BOTH
def test_states_nest_and_are_restored(lib):
    here = device_type(lib)
    half, other = (lib.bfloat16, lib.float16) if here == "cpu" else (lib.float16, lib.bfloat16)
    assert not lib.is_autocast_enabled(here) and not lib.is_autocast_enabled()
    with lib.autocast(here):
        assert lib.is_autocast_enabled(here) and lib.get_autocast_dtype(here) == half
        with lib.autocast(here, enabled=False):
            assert not lib.is_autocast_enabled(here)
            assert (lib.ones(2, 2) @ lib.ones(2, 2)).dtype == lib.float32
        with lib.autocast(here, dtype=other):
            assert (lib.ones(2, 2) @ lib.ones(2, 2)).dtype == other
        assert (lib.ones(2, 2) @ lib.ones(2, 2)).dtype == half
    assert lib.get_autocast_dtype("cpu") == lib.bfloat16 and lib.get_autocast_dtype("cuda") == lib.float16
    with pytest.raises(ZeroDivisionError), lib.autocast(here):
        raise ZeroDivisionError
    assert not lib.is_autocast_enabled(here)
    lib.set_autocast_enabled(here, True)
    lib.set_autocast_dtype(here, other)
    assert (lib.ones(2, 2) @ lib.ones(2, 2)).dtype == other
    lib.set_autocast_enabled(here, False)
    lib.set_autocast_dtype(here, half)
    assert lib.amp.is_autocast_available(here) and lib.is_autocast_cache_enabled()


@BOTH
def test_decorator_and_threads(lib):
    @bf16_region(lib)
    def product(x, depth=2 if lib is mg else 0):  # torch's state leaks out of a recursion
        inner = product(x, depth - 1).float() if depth else x
        return inner @ x

    assert product(lib.ones(2, 2)).dtype == lib.bfloat16 and product.__name__ == "product"
    seen = []
    with bf16_region(lib):
        thread = threading.Thread(target=lambda: seen.append((lib.ones(2, 2) @ lib.ones(2, 2)).dtype))
        thread.start()
        thread.join()
    assert seen == [lib.float32]  # a region belongs to its thread


@BOTH
def test_errors_and_warnings(lib):
    with pytest.raises(ValueError, match="Expected `device_type` of type `str`"):
        lib.autocast(3)
    with pytest.raises(RuntimeError, match="Expected one of cpu, cuda"):
        lib.autocast("nonsense")
    with pytest.warns(UserWarning, match="target dtype is not supported. Disabling"):
        region = lib.autocast("cpu", dtype=lib.float64)
    with region:
        assert (lib.ones(2, 2) @ lib.ones(2, 2)).dtype == lib.float32
    if not torch.cuda.is_available():
        with pytest.warns(UserWarning, match="CUDA is not available"), lib.autocast("cuda"):
            assert (lib.ones(2, 2) @ lib.ones(2, 2)).dtype == lib.float32


def test_gradients_match_torch():
    torch.manual_seed(0)
    theirs = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.LayerNorm(8), torch.nn.GELU(), torch.nn.Linear(8, 3))
    mine = mg.nn.Sequential(mg.nn.Linear(6, 8), mg.nn.LayerNorm(8), mg.nn.GELU(), mg.nn.Linear(8, 3))
    mine.load_state_dict({k: ours(v) for k, v in theirs.state_dict().items()})
    x = torch.randn(5, 6)
    losses = []
    for lib, net, data in ((mg, mine, ours(x)), (torch, theirs, x)):
        with bf16_region(lib):
            out = net(data)
            loss = lib.nn.functional.cross_entropy(out, lib.tensor([0, 1, 2, 1, 0]))
        assert out.dtype == lib.bfloat16 and loss.dtype == lib.float32
        loss.backward()
        losses.append(float(loss))
    assert losses[0] == pytest.approx(losses[1], rel=2e-2)
    for p, q in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert p.grad.dtype == mg.float32
        np.testing.assert_allclose(array(p.grad), array(q.grad), rtol=6e-2, atol=6e-3)


def test_weight_casts_are_kept_until_the_region_ends():
    linear = mg.nn.Linear(4, 4, bias=False)
    x = mg.ones(2, 4)
    before = mg._core.handlers_alive()  # of failed tests, whose tracebacks pytest keeps
    with bf16_region(mg):
        a, b = mg._core.autocast.argument(linear.weight, mg.bfloat16), mg._core.autocast.argument(linear.weight, mg.bfloat16)
        assert a is b
        first = linear(linear(x))
        first.sum().backward()
        linear.weight.grad = None
        linear(x).sum().backward()  # the kept cast serves a second graph
        assert linear.weight.grad is not None
        with mg.no_grad():
            linear.weight.zero_()  # an optimizer's step inside the region
            assert float(linear(x).abs().sum()) == 0.0
        assert float(linear(x).abs().sum()) == 0.0
        with mg.no_grad():
            linear(x)
        linear(x).sum().backward()
    with bf16_region(mg, cache_enabled=False):
        assert mg._core.autocast.argument(linear.weight, mg.bfloat16) is not mg._core.autocast.argument(linear.weight, mg.bfloat16)
    assert mg._core.handlers_alive() == before
    ref = mg._core.autocast
    assert ref.nesting(0) == 0


@BOTH
def test_casts_do_not_keep_parameters_alive(lib):
    import weakref

    linear = lib.nn.Linear(4, 4)
    with bf16_region(lib):
        linear(lib.ones(2, 4))
    ref = weakref.ref(linear.weight)
    del linear
    gc.collect()
    assert ref() is None


@BOTH
def test_custom_functions(lib):
    seen = {}

    class Product(lib.autograd.Function):
        @staticmethod
        @lib.amp.custom_fwd(device_type=device_type(lib))
        def forward(ctx, a, b):
            ctx.save_for_backward(a, b)
            seen["forward"] = (a @ b).dtype
            return a @ b

        @staticmethod
        @lib.amp.custom_bwd(device_type=device_type(lib))
        def backward(ctx, g):
            a, b = ctx.saved_tensors
            seen["backward"] = (a @ b).dtype
            return (g @ b.T.to(g.dtype)).to(a.dtype), (a.T.to(g.dtype) @ g).to(b.dtype)

    class Full(lib.autograd.Function):
        @staticmethod
        @lib.amp.custom_fwd(device_type=device_type(lib), cast_inputs=lib.float32)
        def forward(ctx, a):
            seen["full"] = (a.dtype, (a @ a).dtype)
            return a * 2

        @staticmethod
        @lib.amp.custom_bwd(device_type=device_type(lib))
        def backward(ctx, g):
            return g * 2

    a = lib.ones(2, 2, requires_grad=True)
    with bf16_region(lib):
        out = Product.apply(a, a)
        Full.apply(out)
    out.float().sum().backward()
    assert seen["forward"] == seen["backward"] == lib.bfloat16
    assert seen["full"] == (lib.float32, lib.float32)


def test_functions_keep_their_identity():
    before = mg.nn.functional.l1_loss
    with bf16_region(mg):
        assert before(mg.ones(2).bfloat16(), mg.zeros(2).bfloat16()).dtype == mg.float32  # imported before the first region
    assert before is mg.nn.functional.l1_loss
    assert list(inspect.signature(before).parameters)[:2] == ["input", "target"]
    assert pickle.loads(pickle.dumps(before)) is before
    with pytest.raises(TypeError):
        before(mg.ones(2), mg.ones(2), no_such_argument=1)
