"""What the fuzzer found (minigrad/testing/fuzz): each call must do what PyTorch does, or raise the same class of error.

Crashes and hangs are scripts in fuzz_corpus; these are the differences in values, shapes, dtypes and errors.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest

import minigrad as mg

torch = pytest.importorskip("torch", reason="the calls are compared with PyTorch's")
NAN, INF = math.nan, math.inf


def gradient(f: Any, x: Any) -> Any:
    f(x).sum().backward()
    return x.grad


def alias(f: Any, x: Any) -> Any:
    return f(x)


def written(x: Any, key: Any, value: Any) -> Any:
    x[key] = value
    return x


CASES = {
    # sizes
    "zeros()": lambda m: m.zeros(), "ones()": lambda m: m.ones(), "empty()": lambda m: m.empty(), "rand()": lambda m: m.rand(),
    "randn()": lambda m: m.randn(), "new_empty()": lambda m: m.ones(2).new_empty(), "new_ones()": lambda m: m.ones(2).new_ones(),
    "resize_()": lambda m: m.ones(2).resize_(), "zeros([])": lambda m: m.zeros([]), "ones(())": lambda m: m.ones(()),
    "expand beyond 2**63": lambda m: m.ones(4).unsqueeze(1).expand(4, 2**61),
    "repeat_interleave 2**61": lambda m: m.tensor([[1, 1]]).repeat_interleave(2**62),
    "offset of nothing": lambda m: m.ones(()).as_strided((1, 0), (0, 1), 2**61).exp(),
    "negative stride of nothing": lambda m: m.ones(()).as_strided((0, 0), (1, -1)),
    # writes
    "copy_(3)": lambda m: m.ones(2).copy_(3), "copy_(2.5) of ints": lambda m: m.ones(2, dtype=m.int64).copy_(2.5),
    "copy_(300) of int8": lambda m: m.ones(2, dtype=m.int8).copy_(300), "copy_(True)": lambda m: m.zeros(2, 2).t().copy_(True),
    "x_uint8[i] = -1": lambda m: written(m.ones(2, dtype=m.uint8), m.tensor([0]), -1),
    "x_uint8[list] = 300": lambda m: written(m.ones(2, dtype=m.uint8), [0, 1], 300),
    "x_int[mask] = 2.7": lambda m: written(m.ones(2, dtype=m.int8), m.tensor([True, False]), 2.7),
    # indexing
    "[..., ...]": lambda m: m.tensor(1)[..., ...], "[..., 0, ...]": lambda m: m.ones(2, 3)[..., 0, ...],
    "[..., index, ...]": lambda m: m.ones(2, 3)[..., m.tensor([0]), ...], "[[0], ..., ...]": lambda m: m.ones(2, 3)[[0], ..., ...],
    # creation
    "tril_indices wide": lambda m: m.tril_indices(4, 2**61), "tril_indices(4, 3, -1)": lambda m: m.tril_indices(4, 3, -1),
    "tril_indices all": lambda m: m.tril_indices(3, 3, 2**62), "triu_indices tall": lambda m: m.triu_indices(2**61, 3),
    "triu_indices(2, 3, 1)": lambda m: m.triu_indices(2, 3, 1), "triu_indices none": lambda m: m.triu_indices(3, 2, 7),
    "triu_indices below": lambda m: m.triu_indices(3, 2, -5), "tril_indices below": lambda m: m.tril_indices(3, 2, -1, dtype=m.int32),
    # rounding
    **{f"round {d} {t}": lambda m, d=d, t=t: m.round(m.tensor([1.5, 1e30, -2.25], dtype=getattr(m, t)), decimals=d)
       for d in (400, -400, 2**31, 40, -40) for t in ("float32", "float64")},
    # bounds
    **{f"clamp {b} {t}": lambda m, b=b, t=t: m.tensor([1, 100], dtype=getattr(m, t)).clamp(**b)
       for b in ({"max": 300}, {"min": -129, "max": 3}, {"min": 2}, {"max": 40000}, {"min": -1}, {"min": 2.5})
       for t in ("int8", "uint8", "int16", "int64")},
    # gradients
    "logit outside": lambda m: gradient(m.logit, m.tensor([-0.5, 0.5, 1.5, 0.0, 1.0, NAN], requires_grad=True)),
    "logit eps": lambda m: gradient(lambda x: m.logit(x, eps=0.1), m.tensor([-0.5, 0.5, 1.5, 0.0, 1.0], requires_grad=True)),
    "logit inside": lambda m: gradient(m.logit, m.tensor([0.25, 0.5], requires_grad=True)),
    "renorm to inf": lambda m: gradient(lambda x: m.renorm(x, 1, 0, INF), m.ones(2, 2, requires_grad=True)),
    # ints as 0-d tensors, defaults, empty inputs
    "avg_pool1d(tensor)": lambda m: m.nn.functional.avg_pool1d(m.ones(1, 1, 4), 1, m.tensor(1)),
    "max_pool2d(tensor)": lambda m: m.nn.functional.max_pool2d(m.ones(1, 1, 4, 4), m.tensor(2)),
    "histogram(x)": lambda m: m.histogram(m.tensor([1.0, 2.0]))[0],
    **{f"histogram {x} {r}": lambda m, x=x, r=r: m.histogram(m.tensor(x), 2, range=r)[0]
       for x in (0.27, 1.0, 0.5) for r in ((1.0, 1.0), (0.0, 0.0))},
    "histogramdd": lambda m: m.histogramdd(m.tensor([[0.27], [1.2]]), [2], range=[1.0, 1.0])[0],
    "quantile of 0-d": lambda m: m.quantile(m.tensor(2.0), 0.5, dim=0, keepdim=True),
    "trapezoid of nothing": lambda m: m.trapezoid(m.tensor([], dtype=m.int64)),
    "trapezoid of no pairs": lambda m: m.trapezoid(m.tensor([], dtype=m.int64), m.tensor([], dtype=m.int64)),
    "trapezoid 2 x 0": lambda m: m.trapezoid(m.ones(2, 0, dtype=m.int32)), "trapezoid ints": lambda m: m.trapezoid(m.tensor([1, 2])),
    "triangular_solve batch": lambda m: m.triangular_solve(m.ones(0, 3, 0), m.eye(3))[1],
    "avg_pool3d kernel": lambda m: m.nn.functional.avg_pool3d(m.ones(1, 2, 2, 2), 4, 2, 1),
    "avg_pool2d kernel": lambda m: m.nn.functional.avg_pool2d(m.ones(1, 2, 2), 4, 2, 1),
    # out=
    "irfftn into complex": lambda m: m.fft.irfftn(m.tensor([1, 2, 3]), out=m.empty(4, dtype=m.complex64)),
    "irfft into complex": lambda m: m.fft.irfft(m.tensor([1, 2, 3]), out=m.empty(4, dtype=m.complex64)),
    "fft into complex128": lambda m: m.fft.fft(m.tensor([1, 2, 3]), out=m.empty(3, dtype=m.complex128)).real,
    "kthvalue into its input": lambda m: alias(lambda x: m.kthvalue(x, 1, out=(x, m.empty(0, dtype=m.int64))), m.ones(3)),
    "kthvalue into a part": lambda m: alias(lambda x: m.kthvalue(x, 1, out=(x[:1], m.empty(0, dtype=m.int64))), m.ones(3)),
    "kthvalue out": lambda m: m.kthvalue(m.tensor([3.0, 1.0]), 1, out=(m.empty(1), m.empty(0, dtype=m.int64)))[0],
    "transpose_copy out": lambda m: m.transpose_copy(m.ones(2, 3), 0, 1, out=m.empty(1)),
    "take into its input": lambda m: alias(lambda x: m.take(x, m.tensor([1]), out=x), m.ones(3)),
    "gather into its input": lambda m: alias(lambda x: m.gather(x, 0, m.tensor([1]), out=x), m.ones(3)),
    "index_select dtype": lambda m: m.index_select(m.ones(3), 0, m.tensor([1]), out=m.empty(1, dtype=m.float64)),
    "mm dtype": lambda m: m.mm(m.ones(1, 1), m.ones(1, 1), out=m.empty(1, 1, dtype=m.float64)),
    "multinomial dtype": lambda m: m.multinomial(m.ones(3), 1, out=m.empty(1)),
    "lu of a singular matrix": lambda m: m.zeros(2, 2).lu()[0], "hsplit(tensor)": lambda m: m.hsplit(m.ones(3), (m.tensor(1),))[1],
    "repeat()": lambda m: m.ones(2).repeat(), "repeat(())": lambda m: m.ones(()).repeat(()),
    "median out": lambda m: m.median(m.tensor([[3.0, 1.0, 2.0]]), 1, out=(m.empty(0), m.empty(0, dtype=m.int64)))[1],
    "nanmedian out": lambda m: m.nanmedian(m.tensor([[3.0, NAN, 2.0]]), 1, out=(m.empty(0), m.empty(0, dtype=m.int64)))[0],
    # weights of one dim
    "linear 1-d 1-d": lambda m: m.nn.functional.linear(m.ones(3), m.ones(3)),
    "linear 0": lambda m: m.nn.functional.linear(m.ones(0), m.ones(0)),
    "linear 2-d 1-d": lambda m: m.nn.functional.linear(m.ones(2, 3), m.tensor([1.0, 2.0, 3.0])),
    "linear bias": lambda m: m.nn.functional.linear(m.ones(2, 3), m.ones(3), m.ones(2)),
    "linear 1-d grad": lambda m: gradient(lambda w: m.nn.functional.linear(m.ones(2, 2), w), m.ones(2, requires_grad=True)),
    "linear 1-d dinput": lambda m: gradient(lambda x: m.nn.functional.linear(x, m.tensor([1.0, 2.0])), m.ones(3, 2, 2, requires_grad=True)),
    # resampling
    "bilinear of int64": lambda m: m.nn.functional.interpolate(m.tensor([[[[-127]]]]), size=(1, 1), mode="bilinear"),
    "bicubic of int64": lambda m: m.nn.functional.interpolate(m.tensor([[[[-127]]]]), size=(2, 1), mode="bicubic"),
}  # fmt: skip


def outcome(call: Any, module: Any) -> Any:
    try:
        r = call(module)
    except Exception as error:
        return type(error)
    return str(r.dtype).split(".")[-1], tuple(r.shape), r.tolist() if r.numel() < 200 else None


def same(a: Any, b: Any) -> bool:
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (a != a and b != b) or abs(a - b) <= 1e-5 * abs(b)
    return a == b


@pytest.mark.parametrize("name", [n for n in CASES if not n.startswith(("empty", "rand", "new_empty"))])
def test_as_pytorch(name: str) -> None:
    ours, theirs = outcome(CASES[name], mg), outcome(CASES[name], torch)
    assert same(ours, theirs), (ours, theirs)


@pytest.mark.parametrize("name", ["empty()", "rand()", "randn()", "new_empty()"])
def test_size_is_missing(name: str) -> None:
    with pytest.raises(TypeError):
        CASES[name](mg)


@pytest.mark.parametrize(("mode", "align", "antialias"), [("bilinear", False, False), ("bilinear", True, False), ("bilinear", False, True),
                                                          ("bicubic", False, False), ("bicubic", True, False),
                                                          ("bicubic", False, True)])  # fmt: skip
def test_resampled_bytes_are_pytorchs(mode: str, align: bool, antialias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    for h, w, to_h, to_w in itertools.product((1, 3, 8), (2, 7), (1, 5, 9), (3, 6)):  # a width of 1 is wrong in PyTorch's vector code
        x = torch.randint(0, 256, (2, 3, h, w), generator=generator, dtype=torch.uint8)
        args = dict(size=(to_h, to_w), mode=mode, align_corners=align, antialias=antialias)
        theirs = torch.nn.functional.interpolate(x, **args)
        ours = mg.nn.functional.interpolate(mg.tensor(x.tolist(), dtype=mg.uint8), **args)
        assert ours.tolist() == theirs.tolist(), (h, w, to_h, to_w)


def test_counts_that_would_never_end() -> None:
    with pytest.raises(RuntimeError, match="sections"):
        mg.ones(5, 5).tensor_split(2**64 - 1)
    with pytest.raises(RuntimeError, match="terms"):
        mg.mvlgamma(mg.ones(2), 2**62)
    with pytest.raises(RuntimeError, match="bins"):
        mg.bincount(mg.tensor([2**63 - 1]))
    with pytest.raises(RuntimeError, match="overflows"):
        mg.cat([mg.empty(0, 2**62), mg.empty(0, 2**62)], 1)


def test_internal_backward_ops_check_their_shapes() -> None:
    f = mg.op.functions
    one, i = mg.tensor([1.0]), mg.tensor([0])
    with pytest.raises(RuntimeError):
        f["_batch_norm_backward"](one, one, one, one, None, 1e-5)
    with pytest.raises(RuntimeError):
        f["_cross_entropy_backward"](one, mg.ones(2, 3), mg.zeros(2, dtype=mg.int64), None, one, one, 1, 0, 0.0)
    with pytest.raises(RuntimeError):
        f["_mse_loss_backward"](mg.ones(2), mg.ones(5), mg.ones(5), 1.0)
    with pytest.raises(RuntimeError):
        f["_ctc_loss_backward"](one, mg.ones(2, 1, 3), i.reshape(1, 1), i, i, one, mg.ones(1, 1, 1), 0, False)
    with pytest.raises(RuntimeError):
        f["_embedding_backward"](mg.ones(2), mg.tensor([False, True]), 1)
    with pytest.raises(RuntimeError):
        f["_unfold_backward"](mg.ones(2), (), 0, 0, 1)
    with pytest.raises(RuntimeError, match="geometry"):
        f["_restride"](mg.ones(()), (), 0, (), (), -2)
    with pytest.raises(RuntimeError, match="floating"):
        f["_adaptive_avg_pool_backward"](mg.ones(1, 1, dtype=mg.int64), (1,))


def test_what_pytorch_computes_wrongly_is_refused() -> None:
    with pytest.raises(RuntimeError, match="rows"):  # PyTorch broadcasts a weight of the wrong shape
        mg.lstm(mg.ones(1, 1, 2), [mg.ones(1, 1, 2)] * 2, [mg.ones(1, 2), mg.ones(8, 2)], False, 1, 0.0, False, False, False)
    with pytest.raises(RuntimeError, match="mode"):  # PyTorch returns memory as it found it
        mg.grid_sampler_2d(mg.ones(1, 1, 2, 2), mg.zeros(1, 1, 1, 2), 7, 0, False)


def test_view_made_before_its_base_required_grad() -> None:
    for m in (torch, mg):
        x = m.ones(1)
        view = x[()]
        x.requires_grad_()
        part = view.select(0, 0)
        assert view.requires_grad and part.requires_grad
        part.backward()  # leads to no leaf: the gradient is dropped
        assert x.grad is None


def test_integer_average_wraps() -> None:
    least = -(2**63)
    assert mg.nn.functional.avg_pool2d(mg.full((1, 1, 1, 2), least), (1, 2), divisor_override=1).tolist() == [[[[0]]]]
    assert mg.nn.functional.avg_pool2d(mg.full((1, 1, 1, 1), least), 1, divisor_override=-1).tolist() == [[[[least]]]]
