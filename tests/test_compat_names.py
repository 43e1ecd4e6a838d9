"""The names of PyTorch that eager programs touch: legacy constructors, absent devices, one-process distributed, compile, custom ops."""

from __future__ import annotations

import inspect
import typing

import pytest

import minigrad as mg


def test_legacy_types() -> None:
    assert mg.FloatTensor(2, 3).shape == (2, 3) and mg.LongTensor([1, 2]).dtype == mg.int64
    assert isinstance(mg.ones(1), mg.FloatTensor) and not isinstance(mg.ones(1), mg.LongTensor)
    assert (
        mg.ones(2).type("torch.LongTensor").dtype == mg.int64 and mg.ones(2).type(mg.DoubleTensor).dtype == mg.float64
    )
    assert mg.ones(1, dtype=mg.float16).new([1, 2]).dtype == mg.float16
    with pytest.raises(TypeError):
        mg.cuda.FloatTensor(2)


def test_variable() -> None:
    x = mg.autograd.Variable(mg.ones(2), requires_grad=True)
    assert isinstance(x, mg.autograd.Variable) and x.requires_grad and x.is_leaf


def test_absent_devices() -> None:
    assert not mg.cuda.is_available() and mg.cuda.device_count() == 0 and not mg.backends.mps.is_available()
    mg.cuda.manual_seed_all(0)
    mg.cuda.empty_cache()
    with pytest.raises(AssertionError, match="not compiled with CUDA"):
        mg.cuda.current_device()
    for name in ("meta", "mps", "cuda:1", "xpu"):
        assert str(mg.device(name)) == name
    assert mg.device("cuda").index is None and repr(mg.device("cuda")) == "device(type='cuda')"
    with pytest.raises(NotImplementedError, match="mps"):
        mg.zeros(2, device="mps")
    with pytest.raises(RuntimeError, match="start of the device string"):
        mg.device("nonsense")


def test_device_context_and_defaults() -> None:
    with mg.device("cpu"):
        assert mg.zeros(1).device.type == "cpu"
    assert mg.get_default_device() == mg.device("cpu")
    mg.set_float32_matmul_precision("high")
    assert mg.get_float32_matmul_precision() == "high"
    with pytest.raises(RuntimeError):
        mg.set_float32_matmul_precision("wrong")
    mg.set_float32_matmul_precision("highest")
    with mg.backends.cudnn.flags(benchmark=True):
        assert mg.backends.cudnn.benchmark
    assert not mg.backends.cudnn.benchmark


def test_distributed_of_one() -> None:
    dist = mg.distributed
    assert dist.is_available() and not dist.is_initialized()
    with pytest.raises(ValueError, match="not been initialized"):
        dist.get_rank()
    dist.init_process_group("gloo", world_size=1, rank=0)
    try:
        x, out = mg.arange(3.0), [mg.zeros(3)]
        dist.all_reduce(x)
        dist.all_gather(out, x)
        assert dist.get_world_size() == 1 and out[0].tolist() == x.tolist() == [0.0, 1.0, 2.0]
        net = mg.nn.parallel.DistributedDataParallel(mg.nn.Linear(3, 2))
        assert net(x).shape == (2,)
    finally:
        dist.destroy_process_group()
    with pytest.raises(NotImplementedError, match="one process"):
        dist.init_process_group("gloo", world_size=2, rank=0)


def test_compile_and_jit_are_there() -> None:
    double = mg.compile(lambda x: 2 * x)
    assert double(mg.ones(1)).item() == 2.0
    assert mg.compile(mode="max-autotune")(abs)(mg.tensor([-1.0])).item() == 1.0
    net = mg.nn.Linear(2, 2)
    assert mg.jit.script(net) is net and mg.jit.trace(net, mg.ones(2)) is net
    assert mg.jit.isinstance([1, 2], typing.List[int]) and not mg.jit.isinstance(["a"], typing.List[int])  # noqa: UP006
    with pytest.raises(NotImplementedError):
        mg.jit.save(net, "x.pt")
    with pytest.raises(NotImplementedError):
        mg.fx.symbolic_trace(net)


def test_custom_op() -> None:
    @mg.library.custom_op("minigrad_tests::cube", mutates_args=())
    def cube(x: mg.Tensor) -> mg.Tensor:
        return mg.from_numpy(x.detach().numpy() ** 3)

    cube.register_autograd(
        lambda ctx, g: 3 * ctx.saved_tensors[0] ** 2 * g,
        setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
    )
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    mg.ops.minigrad_tests.cube(x).sum().backward()
    assert x.grad.tolist() == [3.0, 12.0]


def test_signatures_can_be_asked() -> None:
    from minigrad.op import registry

    for info in registry.values():
        inspect.signature(info.function)
    assert list(inspect.signature(mg.Tensor.add).parameters) == ["self", "other", "alpha"]
    assert str(inspect.signature(mg.nn.Linear(2, 2))) == "(*args, **kwargs)"
    assert list(inspect.signature(mg.nn.Linear).parameters)[:3] == ["in_features", "out_features", "bias"]


def test_module_with_generic_base() -> None:
    T = typing.TypeVar("T")
    seen = []

    class Watched:
        def __init_subclass__(cls, **kwargs: typing.Any) -> None:
            super().__init_subclass__(**kwargs)
            seen.append((cls.__name__, kwargs))

    class Net(mg.nn.Module, typing.Generic[T]):
        pass

    class Other(mg.nn.Module, Watched):
        pass

    assert Net.__parameters__ == (T,) and isinstance(Net[int](), Net) and seen == [("Other", {})]


@pytest.mark.parametrize("name", ["batch_norm", "dropout", "group_norm", "embedding", "kl_div", "convolution"])
def test_functions_of_the_main_namespace(name: str) -> None:
    torch = pytest.importorskip("torch")
    x = [[[0.3, -1.0, 2.0], [0.5, 0.1, -0.2]]]
    calls = {
        "batch_norm": lambda t, v: t.batch_norm(v, None, None, None, None, True, 0.1, 1e-5, False),
        "dropout": lambda t, v: t.dropout(v, 0.5, False), "group_norm": lambda t, v: t.group_norm(v, 1),
        "embedding": lambda t, v: t.embedding(v[0], t.tensor([1, 0, 1])), "kl_div": lambda t, v: t.kl_div(v, v.exp(), 2),
        "convolution": lambda t, v: t.convolution(v, t.ones(2, 2, 2), None, [1], [0], [1], False, [0], 1),
    }  # fmt: skip
    expected, got = calls[name](torch, torch.tensor(x)), calls[name](mg, mg.tensor(x))
    assert mg.allclose(got, mg.from_numpy(expected.numpy()), atol=1e-6)


def test_grouped_mm() -> None:
    a, b, offs = mg.randn(6, 4), mg.randn(2, 4, 3), mg.tensor([2, 6], dtype=mg.int32)
    out = mg.nn.functional.grouped_mm(a, b, offs=offs)
    assert mg.allclose(out, mg.cat([a[:2] @ b[0], a[2:] @ b[1]]))
    assert mg.nn.functional.grouped_mm(a.mT, a, offs=offs).shape == (2, 4, 4)


def test_pytree() -> None:
    pytree = mg.utils._pytree
    tree = {"a": [1, (2, 3)], "b": 4}
    leaves, spec = pytree.tree_flatten(tree)
    assert leaves == [1, 2, 3, 4] and pytree.tree_unflatten(leaves, spec) == tree
    assert pytree.tree_map(lambda x: x + 1, tree) == {"a": [2, (3, 4)], "b": 5}
    assert [pytree.keystr(path) for path, _ in pytree.tree_flatten_with_path(tree)[0]] == [
        "['a'][0]",
        "['a'][1][0]",
        "['a'][1][1]",
        "['b']",
    ]


def test_sobol_points() -> None:
    pytest.importorskip("scipy")
    torch = pytest.importorskip("torch")
    assert mg.quasirandom.SobolEngine(3).draw(8).tolist() == torch.quasirandom.SobolEngine(3).draw(8).tolist()


def test_hub_loads_from_a_file(tmp_path: typing.Any) -> None:
    mg.save({"w": mg.ones(2)}, tmp_path / "w.pt")
    found = mg.hub.load_state_dict_from_url((tmp_path / "w.pt").as_uri(), model_dir=str(tmp_path / "cache"))
    assert found["w"].tolist() == [1.0, 1.0] and (tmp_path / "cache" / "w.pt").exists()
