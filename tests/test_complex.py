"""Complex numbers: every op's complex form against PyTorch, promotion, construction, printing, views of parts, gradients.

`pytest tests/test_complex.py -k sigmoid` runs the parity of one op. The generated check "complex" of tests/test_ops.py compares
gradients with finite differences.
"""

from __future__ import annotations

import itertools
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from test_torch_parity import (
    OPS,
    TorchRefuses,
    compare_gradients,
    compare_values,
    ready,
    same_call_torch,
    small_samples,
    torch,
)  # fmt: skip

import minigrad as mg
from minigrad import io
from minigrad.op import registry
from minigrad.testing.samples import build, samples

DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64", "complex64", "complex128")
# PyTorch's own complex form is broken or of another kind there: nothing to compare with.
DIFFERENT = {
    "nan_to_num": "PyTorch computes on the parts in places only",
    "renorm": "PyTorch's gradient is NaN at ties",
}
_HERMITIAN = "gradients of matrices that are not Hermitian or of factors with a complex diagonal; tests/conformance has the proper ones"
DIFFERENT_GRADIENTS = {
    "scatter_reduce": "PyTorch's gradient of prod lacks the conjugate; finite differences check ours",
    "scatter_reduce_": "PyTorch's gradient of prod lacks the conjugate; finite differences check ours",
    **dict.fromkeys(("cholesky", "cholesky_inverse", "cholesky_solve", "linalg_cholesky", "linalg_cholesky_ex"), _HERMITIAN),
}


def public(dtype: Any) -> str:
    return str(dtype).split(".")[1].replace("complex32", "complex64")  # there is no complex32 here


# --- every op ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", OPS)
def test_values(name: str) -> None:
    """Where PyTorch takes complex128 we do, with its values; a pointwise op that it refuses we refuse too."""
    info, reference = ready(name)
    if name in DIFFERENT:
        pytest.skip(DIFFERENT[name])
    found = samples(info, "complex128")
    compared = 0
    for sample in found[:: max(1, len(found) // 8)]:
        if not any(s.dtype == "complex128" for s in sample.specs()):
            continue
        try:
            same_call_torch(reference, sample)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            if info.pointwise and isinstance(error, NotImplementedError):
                args, kwargs = sample.map(lambda s: build(s, mg))
                with pytest.raises((RuntimeError, TypeError)):
                    info.function(*args, **kwargs)
            break
        compare_values(info, reference, sample)
        compared += 1
    if not compared:
        pytest.skip("PyTorch takes no complex numbers here")


@pytest.mark.parametrize("order", [1, 2], ids=["grad", "gradgrad"])
@pytest.mark.parametrize("name", OPS)
def test_gradients(name: str, order: int) -> None:
    info, reference = ready(name)
    reason = DIFFERENT.get(name) or DIFFERENT_GRADIENTS.get(name) or info.info.get("no_grad_reason")
    reason = reason or (order == 2 and info.info.get("no_gradgrad_reason"))
    if reason:
        pytest.skip(reason)
    for sample in small_samples(info, 5, "complex128"):
        if not any(s.dtype == "complex128" for s in sample.specs()):
            continue
        try:
            same_call_torch(reference, sample)
            compare_gradients(info, reference, sample, order)
        except TorchRefuses:
            continue
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            pytest.skip(f"PyTorch or we: {str(error)[:100]}") if _torch_fails(reference, sample, order) else pytest.fail(str(error))


def _torch_fails(reference: Any, sample: Any, order: int) -> bool:
    """Whether PyTorch itself cannot do it."""
    leaves: list[Any] = []

    def make(spec: Any) -> Any:
        t = build(spec, torch)
        if spec.grad:
            leaves.append(t.requires_grad_())
        return t

    args, kwargs = sample.map(make)
    try:
        result = reference(*args, **kwargs)
        outputs = [y for y in (result if isinstance(result, (tuple, list)) else [result]) if y.requires_grad]
        total = sum((torch.view_as_real(y) if y.is_complex() else y).sum() for y in outputs)
        first = torch.autograd.grad(total, leaves, create_graph=order == 2, allow_unused=True)
        if order == 2:
            parts = [g for g in first if g is not None and g.requires_grad]
            if parts:
                torch.autograd.grad(sum(abs(g).sum() for g in parts), leaves, allow_unused=True)
    except Exception:
        return True
    return False


# --- dtypes -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("a", "b"), list(itertools.product(DTYPES, DTYPES)))
def test_promotion_of_tensors(a: str, b: str) -> None:
    assert public(mg.promote_types(getattr(mg, a), getattr(mg, b))) == public(
        torch.promote_types(getattr(torch, a), getattr(torch, b))
    )
    assert mg.can_cast(getattr(mg, a), getattr(mg, b)) == torch.can_cast(getattr(torch, a), getattr(torch, b))
    for left, right in itertools.product([(), (2,)], repeat=2):
        ours = mg.result_type(mg.ones(left, dtype=getattr(mg, a)), mg.ones(right, dtype=getattr(mg, b)))
        theirs = torch.result_type(torch.ones(left, dtype=getattr(torch, a)), torch.ones(right, dtype=getattr(torch, b)))
        assert public(ours) == public(theirs), (left, right)


@pytest.mark.parametrize(("dtype", "number"), list(itertools.product(DTYPES, (True, 1, 1.5, 2j))))
def test_promotion_of_numbers(dtype: str, number: Any) -> None:
    for shape in ((), (2,)):
        ours = mg.result_type(mg.ones(shape, dtype=getattr(mg, dtype)), number)
        assert public(ours) == public(torch.result_type(torch.ones(shape, dtype=getattr(torch, dtype)), number)), shape


@pytest.mark.parametrize(("source", "target"), list(itertools.product(DTYPES, DTYPES)))
@pytest.mark.filterwarnings("ignore:Casting complex")
def test_casts(source: str, target: str) -> None:
    values = [[1, 0], [0, 3]] if "complex" not in source else [[1 + 2j, 0], [2j, 3 - 1j]]
    ours = mg.tensor(values, dtype=getattr(mg, source))
    theirs = torch.tensor(values, dtype=getattr(torch, source))
    for x, y in ((ours, theirs), (ours.t(), theirs.t()), (ours[:, :1].expand(2, 5), theirs[:, :1].expand(2, 5))):
        assert x.to(getattr(mg, target)).tolist() == y.to(getattr(torch, target)).tolist()


def test_dtype_properties() -> None:
    assert (mg.cfloat, mg.cdouble) == (mg.complex64, mg.complex128)
    assert mg.complex64.is_complex and not mg.complex64.is_floating_point and mg.complex64.is_signed
    assert (mg.complex64.itemsize, mg.complex128.itemsize) == (8, 16)
    assert mg.float64.to_complex() is mg.complex128 and mg.complex64.to_real() is mg.float32
    assert mg.tensor([1]).to(complex).dtype is mg.complex128
    with pytest.raises(TypeError, match="AbsentDtype"):  # a name only: no tensor can have it
        mg.zeros(2, dtype=mg.complex32)
    with pytest.raises(NotImplementedError, match="complex32"):
        mg.tensor([1j]).chalf()


def test_casting_away_the_imaginary_part_warns() -> None:
    with pytest.warns(UserWarning, match="discards the imaginary part"):
        assert mg.tensor([1 + 2j]).float().tolist() == [1.0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mg.tensor([2j]).bool().tolist() == [True]


# --- in and out -------------------------------------------------------------------------------------------------------
def test_construction_and_exchange() -> None:
    x = mg.tensor([[1, 2j], [3.5, True]])
    assert x.dtype is mg.complex64 and x.tolist() == [[1, 2j], [3.5, 1]] and x[0, 1].item() == 2j
    for dtype in (np.complex64, np.complex128):
        a = np.array([[1 + 2j, 3], [4j, 5]], dtype=dtype)
        assert np.array_equal(mg.tensor(a).numpy(), a) and mg.from_numpy(a.T).numpy().dtype == dtype
        assert np.array_equal(torch.from_dlpack(mg.from_numpy(a)).numpy(), a)
        assert np.array_equal(mg.from_dlpack(torch.from_numpy(a)).numpy(), a)
    assert mg.tensor(np.complex64(1j)).item() == 1j and complex(mg.tensor(1j)) == 1j and bool(mg.tensor(1j))
    assert (mg.ones(2) * np.complex64(1j)).tolist() == [1j, 1j]
    for convert in (float, int):
        with pytest.raises(RuntimeError):
            convert(mg.tensor(1j))
    with pytest.raises(TypeError):
        mg.tensor([1j], dtype=mg.float32)


def test_saving(tmp_path: Any) -> None:
    state = {"a": mg.tensor([1 + 2j]), "b": mg.tensor([[3j]], dtype=mg.complex128), "c": 2j, "d": mg.complex128}
    mg.save(state, tmp_path / "state")
    found = mg.load(tmp_path / "state")
    assert all(found[k].dtype is state[k].dtype and found[k].tolist() == state[k].tolist() for k in "ab")
    assert found["c"] == 2j and found["d"] is mg.complex128
    copy = pickle.loads(pickle.dumps(state["b"]))
    assert copy.dtype is mg.complex128 and copy.tolist() == [[3j]]
    with pytest.raises(TypeError, match="complex128, which the format lacks"):
        io.safetensors.save_file({"b": state["b"]}, tmp_path / "b.safetensors")
    io.safetensors.save_file({"a": state["a"]}, tmp_path / "a.safetensors")
    theirs = pytest.importorskip("safetensors.torch").load_file(tmp_path / "a.safetensors")
    assert theirs["a"].tolist() == [1 + 2j]


@pytest.mark.parametrize(
    "values",
    [[1 + 2j], [0.5 - 1.25j, 100 + 2e-5j], [1e10 + 1j, 1], [complex("nan+1j"), complex("1-infj")], [[1j, 2], [3.5, -4j]], [1 + 0j],
     [1.5e-7 + 1j], [-0.0 - 0.0j], []],
)  # fmt: skip
def test_printing(values: list[Any]) -> None:
    for dtype in ("complex64", "complex128"):
        ours = repr(mg.tensor(values, dtype=getattr(mg, dtype)))
        assert ours.replace("minigrad.", "torch.") == repr(torch.tensor(values, dtype=getattr(torch, dtype)))


def test_printing_of_large_tensors() -> None:
    rng = np.random.default_rng(3)
    for shape in ((), (3, 4), (2, 0), (30, 40), (1001,)):
        a = np.asarray(rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
        assert repr(mg.tensor(a)).replace("minigrad.", "torch.") == repr(torch.tensor(a))


def test_numbers_that_do_not_fit() -> None:
    with pytest.raises(RuntimeError, match="imaginary part"):
        mg.ones(2).fill_(1j)
    with pytest.raises(RuntimeError, match="can't be cast"):
        mg.ones(2).add_(1j)
    with pytest.raises(RuntimeError, match="must not be a complex number"):
        mg.add(mg.ones(2), 1, alpha=1j)
    with pytest.raises(RuntimeError):
        mg.arange(1j)
    with pytest.raises(RuntimeError, match="In-place|in-place"):
        mg.tensor([1j]).abs_()


def test_ordering_is_refused() -> None:
    z = mg.tensor([1j, 2])
    for f in (mg.lt, mg.le, mg.gt, mg.ge, mg.maximum, mg.minimum):
        with pytest.raises(RuntimeError):
            f(z, z)
    for f in (mg.sort, mg.argmax, mg.median, mg.sign, mg.floor, mg.relu, mg.cummax and (lambda x: mg.cummax(x, 0))):
        with pytest.raises(RuntimeError):
            f(z)


def test_random_numbers() -> None:
    mg.manual_seed(1)
    z = mg.randn(200_000, dtype=mg.complex64)
    assert abs(z.var().item() - 1) < 0.02 and abs(z.real.std().item() - 0.5**0.5) < 0.01 and abs((z.real * z.imag).mean().item()) < 0.01
    u = mg.rand(1000, dtype=mg.complex128)
    assert 0 <= u.real.min().item() and u.imag.max().item() < 1 and not mg.equal(u.real, u.imag)


def test_indexing() -> None:
    z = mg.zeros(4, dtype=mg.complex64)
    z[1] = 2j
    z[0] = mg.tensor(3.0)
    z[mg.tensor([2])] = 1 + 1j
    z[z == 0] = 0.5
    assert z.tolist() == [3, 2j, 1 + 1j, 0.5] and 2j in z


# --- parts and gradients ----------------------------------------------------------------------------------------------
def leaf(*shape: int, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return mg.tensor(rng.standard_normal(shape) + 1j * rng.standard_normal(shape), requires_grad=True)


def test_parts_are_views() -> None:
    z = mg.tensor([1 + 2j, 3 + 4j])
    z.real[0] = 7
    z.imag = mg.tensor([8.0, 9.0])
    mg.view_as_real(z)[1, 0] = 5
    assert z.tolist() == [7 + 8j, 5 + 9j]
    assert z.real.stride() == (2,) and z.imag.storage_offset() == 1 and z.real.data_ptr() == z.data_ptr()
    assert mg.view_as_complex(mg.view_as_real(z)).data_ptr() == z.data_ptr()
    assert mg.view_as_real(mg.zeros(0, 3, dtype=mg.complex64)).shape == (0, 3, 2)
    r = mg.ones(2, requires_grad=True)
    assert r.conj() is r and mg.real(r) is r and mg.conj_physical(r) is r and r.conj().grad_fn is None
    with pytest.raises(RuntimeError, match="non-complex"):
        _ = r.imag


@pytest.mark.parametrize(
    "shape_and_strides", [((3,), (1,), 0), ((2, 2), (3, 1), 0), ((2, 2), (2, 2), 0), ((2,), (1,), 1)], ids=str
)
def test_view_as_complex_refuses(shape_and_strides: Any) -> None:
    size, stride, offset = shape_and_strides
    base = mg.zeros(12).as_strided(size, stride, offset)
    with pytest.raises(RuntimeError, match="view_as_complex"):
        mg.view_as_complex(base)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: x.real * y,
        lambda x, y: (x * x).imag + x.real,
        lambda x, y: mg.view_as_real(x).sum(-1) * y.conj(),
        lambda x, y: mg.complex(x.real, y.imag),
        lambda x, y: mg.polar(x.abs(), y.angle()),
        lambda x, y: mg.add(x, y, alpha=2j) * 1j - (1 + 2j) / y,
        lambda x, y: (x @ y.mH) * 0.5j,
        lambda x, y: _written(x, lambda z: z.real.mul_(2)),
        lambda x, y: _written(x, lambda z: z.imag.copy_(y.real)),
        lambda x, y: _written(x, lambda z: z.mul_(y)),
        lambda x, y: mg.where(x.real > 0, x, y.real),
        lambda x, y: mg.addmm(x[:2, :2], x[:2], y[:2].mT, beta=1j, alpha=2 - 1j),
        lambda x, y: mg.linalg.vector_norm(x) + y.std() + (x - y).abs().sum(),
    ],
)
def test_gradcheck(function: Any) -> None:
    inputs = (leaf(2, 3), leaf(2, 3, seed=1))
    for fast in (False, True):
        assert mg.autograd.gradcheck(function, inputs, fast_mode=fast)
        assert mg.autograd.gradgradcheck(function, inputs, fast_mode=fast)


def _written(x: Any, write: Any) -> Any:
    z = x * 1
    write(z)
    return z * z


def test_gradcheck_finds_a_missing_conjugate() -> None:
    class Wrong(mg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return g * 2 * x  # wants x.conj()

    with pytest.raises(mg.autograd.GradcheckError if hasattr(mg.autograd, "GradcheckError") else RuntimeError):
        mg.autograd.gradcheck(Wrong.apply, (leaf(3),))


def test_real_inputs_get_real_gradients() -> None:
    r, z = mg.ones(3, requires_grad=True), mg.tensor([1j, 2, 3 + 1j])
    (r * z).abs().sum().backward()
    assert r.grad.dtype is mg.float32
    np.testing.assert_allclose(r.grad.numpy(), np.abs(z.numpy()), rtol=1e-6)


def test_backward_wants_a_real_scalar() -> None:
    z = leaf(3)
    with pytest.raises(RuntimeError, match="only for real scalar outputs"):
        z.sum().backward()
    z.sum().backward(mg.tensor(1 + 0j, dtype=mg.complex128))
    assert z.grad.tolist() == [1, 1, 1]


def test_layouts_and_sizes() -> None:
    """Strided, broadcast, offset and long operands through the staged and the threaded path."""
    rng = np.random.default_rng(5)
    a = rng.standard_normal((70, 1200)) + 1j * rng.standard_normal((70, 1200))
    b = rng.standard_normal((1200,))
    x = mg.tensor(a)
    np.testing.assert_allclose((x * mg.tensor(b)).numpy(), a * b)
    np.testing.assert_allclose((x.mT + mg.tensor(a[:, :1].T)).numpy(), a.T + a[:, :1].T)
    np.testing.assert_allclose((x[::2, 1::3] / x[::2, :400]).numpy(), a[::2, 1::3] / a[::2, :400])
    np.testing.assert_allclose(x.sum(0).numpy(), a.sum(0))
    np.testing.assert_allclose(x.mT.contiguous().numpy(), a.T)
    np.testing.assert_allclose(x.abs().sum(1).numpy(), np.abs(a).sum(1))
    np.testing.assert_allclose((x @ x.mH).numpy(), a @ a.conj().T)


def test_every_complex_formula_is_declared() -> None:
    """Ops between real and complex tensors say that their formulas are written for complex gradients."""
    assert {"view_as_complex", "_complex", "sgn", "conj_physical", "view_as_real"} <= set(registry)
