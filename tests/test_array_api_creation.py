"""Array API: creation, dtypes, inspection, the array object, linear algebra and errors; see test_array_api.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg

strict = pytest.importorskip("array_api_strict", reason="array-api-strict (extra `reference`) is not installed")

xp = mg.ones(1).__array_namespace__()


def same(a: Any, b: Any, **options: Any) -> None:
    expected = np.asarray(b._array)
    assert tuple(a.shape) == expected.shape
    assert np.dtype(str(a.dtype).rsplit(".", 1)[-1]).kind == expected.dtype.kind
    np.testing.assert_allclose(a.numpy(), expected, **{"rtol": 1e-6, "atol": 1e-6, **options})


CREATE: list[Any] = [
    lambda m: m.arange(5), lambda m: m.arange(2, 9, 3), lambda m: m.arange(5, 1), lambda m: m.arange(5.0, 1.0, -0.5),
    lambda m: m.arange(0, 1, 0.25), lambda m: m.arange(3, dtype=m.float64), lambda m: m.zeros(3), lambda m: m.zeros((2, 0)),
    lambda m: m.ones((), dtype=m.int8), lambda m: m.full((2, 2), True), lambda m: m.full(3, 7), lambda m: m.full((1,), 2.5),
    lambda m: m.eye(3), lambda m: m.eye(2, 4, k=1), lambda m: m.eye(4, 2, k=-2, dtype=m.int32), lambda m: m.eye(2, k=9),
    lambda m: m.linspace(0, 1, 5), lambda m: m.linspace(0, 1, 5, endpoint=False), lambda m: m.linspace(3.0, -3.0, 1),
    lambda m: m.linspace(0, 1, 0), lambda m: m.asarray([[1, 2], [3, 4]]), lambda m: m.asarray(2.5), lambda m: m.asarray(True),
    lambda m: m.asarray([], dtype=m.float32), lambda m: m.meshgrid(m.arange(3), m.arange(2))[0],
    lambda m: m.meshgrid(m.arange(3), m.arange(2), indexing="ij")[1], lambda m: m.tril(m.ones((3, 4)), k=1),
    lambda m: m.broadcast_arrays(m.ones((3, 1)), m.zeros((1, 2)))[1], lambda m: m.zeros_like(m.empty_like(m.ones((2, 3)))),
]  # fmt: skip


@pytest.mark.parametrize("k", range(len(CREATE)))
def test_creation(k: int) -> None:
    same(CREATE[k](xp), CREATE[k](strict))


MATRIX = np.array([[4.0, 1.0, 0.5], [1.0, 3.0, 0.25], [0.5, 0.25, 2.0]])
LINALG: dict[str, Any] = {
    "matmul": lambda m, x: m.matmul(x, x), "det": lambda m, x: m.linalg.det(x), "inv": lambda m, x: m.linalg.inv(x),
    "cholesky": lambda m, x: m.linalg.cholesky(x), "cholesky_upper": lambda m, x: m.linalg.cholesky(x, upper=True),
    "eigvalsh": lambda m, x: m.linalg.eigvalsh(x), "svdvals": lambda m, x: m.linalg.svdvals(x),
    "solve": lambda m, x: m.linalg.solve(x, x[0, :]), "solve_matrix": lambda m, x: m.linalg.solve(x, x[:, :2]),
    "slogdet": lambda m, x: m.linalg.slogdet(x).logabsdet, "pinv": lambda m, x: m.linalg.pinv(x),
    "matrix_rank": lambda m, x: m.linalg.matrix_rank(x), "matrix_norm": lambda m, x: m.linalg.matrix_norm(x),
    "matrix_norm_1": lambda m, x: m.linalg.matrix_norm(x, ord=1, keepdims=True),
    "matrix_power": lambda m, x: m.linalg.matrix_power(x, 3), "matrix_power_neg": lambda m, x: m.linalg.matrix_power(x, -2),
    "cross": lambda m, x: m.linalg.cross(x, x[:, ::-1] if m is strict else m.flip(x, axis=1)),
    "qr": lambda m, x: m.matmul(*m.linalg.qr(x)), "eigh": lambda m, x: m.linalg.eigh(x).eigenvalues,
    "svd": lambda m, x: m.linalg.svd(x).S, "vecdot": lambda m, x: m.linalg.vecdot(x, x, axis=-2),
    "tensordot": lambda m, x: m.linalg.tensordot(x, x, axes=((0,), (1,))),
}  # fmt: skip


@pytest.mark.parametrize("name", LINALG)
def test_linalg(name: str) -> None:
    try:
        got = LINALG[name](xp, mg.from_numpy(MATRIX.copy()))
    except NotImplementedError as error:
        pytest.skip(f"minigrad.linalg is not complete in this build: {error}")
    same(got, LINALG[name](strict, strict.asarray(MATRIX)))


FFT: dict[str, Any] = {
    "fft": lambda m, x, z: m.fft.fft(z), "ifft": lambda m, x, z: m.fft.ifft(z, n=6, axis=0, norm="ortho"),
    "rfft": lambda m, x, z: m.fft.rfft(x, n=8), "irfft": lambda m, x, z: m.fft.irfft(z, n=5, norm="forward"),
    "hfft": lambda m, x, z: m.fft.hfft(z), "ihfft": lambda m, x, z: m.fft.ihfft(x, axis=0),
    "fftn": lambda m, x, z: m.fft.fftn(z, axes=(0, 1)), "ifftn": lambda m, x, z: m.fft.ifftn(z),
    "rfftn": lambda m, x, z: m.fft.rfftn(x, s=(3, 4), axes=(0, 1)), "irfftn": lambda m, x, z: m.fft.irfftn(z),
    "fftfreq": lambda m, x, z: m.fft.fftfreq(7, d=0.5), "rfftfreq": lambda m, x, z: m.fft.rfftfreq(8),
    "fftshift": lambda m, x, z: m.fft.fftshift(x), "ifftshift": lambda m, x, z: m.fft.ifftshift(x, axes=(1,)),
}  # fmt: skip


@pytest.mark.parametrize("name", FFT)
def test_fft(name: str) -> None:
    if not hasattr(xp, "fft"):
        pytest.skip("minigrad.fft does not exist in this build")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 5))
    z = x + 1j * rng.normal(size=(4, 5))
    same(FFT[name](xp, mg.from_numpy(x), mg.from_numpy(z)), FFT[name](strict, strict.asarray(x), strict.asarray(z)))


def test_isdtype() -> None:
    for name, dtype in xp.__array_namespace_info__().dtypes().items():
        for kind in ("bool", "signed integer", "unsigned integer", "integral", "real floating", "complex floating", "numeric"):
            assert xp.isdtype(dtype, kind) == strict.isdtype(getattr(strict, name), kind)
        assert xp.isdtype(dtype, (dtype, "bool")) and xp.isdtype(dtype, dtype)
    with pytest.raises(ValueError, match="unknown kind"):
        xp.isdtype(mg.int8, "floating")


def test_result_type_and_can_cast() -> None:
    names = list(xp.__array_namespace_info__().dtypes())
    for a in names:
        for b in names:
            try:
                expected = strict.result_type(getattr(strict, a), getattr(strict, b))
            except TypeError:
                continue  # kinds do not mix in the standard
            assert str(xp.result_type(getattr(xp, a), getattr(xp, b))).rsplit(".", 1)[-1] == str(expected).rsplit(".", 1)[-1]
            assert xp.can_cast(getattr(xp, a), getattr(xp, b)) == strict.can_cast(getattr(strict, a), getattr(strict, b))
    assert xp.result_type(mg.tensor(1.0, dtype=mg.float64), mg.ones(3)) == mg.float64  # a 0-d array counts
    assert xp.result_type(mg.ones(3, dtype=mg.int8), 1) == mg.int8
    assert xp.result_type(mg.ones(3), 1.5) == mg.float32


def test_limits() -> None:
    for name in ("float32", "float64"):
        a, b = xp.finfo(getattr(xp, name)), np.finfo(name)
        assert (a.bits, a.eps, a.max, a.min, a.smallest_normal) == (b.bits, b.eps, b.max, b.min, b.smallest_normal)
        assert xp.isdtype(a.dtype, "real floating") if not isinstance(a.dtype, str) else True
    for name in ("int8", "int64", "uint8"):
        a, b = xp.iinfo(getattr(xp, name)), np.iinfo(name)
        assert (a.bits, a.max, a.min) == (b.bits, b.max, b.min)


def test_info() -> None:
    info = xp.__array_namespace_info__()
    assert info.capabilities()["boolean indexing"] is True
    assert info.default_device() in info.devices()
    assert info.default_dtypes()["integral"] == mg.int64
    assert set(info.dtypes(kind=("bool", "real floating"))) == {"bool", "float32", "float64"}


def test_array_object() -> None:
    x = mg.arange(6.0).reshape(2, 3)
    assert x.__array_namespace__(api_version="2024.12") is xp
    with pytest.raises(ValueError, match="version"):
        x.__array_namespace__(api_version="1999.01")
    assert x.ndim == 2 and tuple(x.shape) == (2, 3) and x.dtype == xp.float32
    assert x.to_device("cpu").device == x.device
    with pytest.raises(ValueError, match="stream"):
        x.to_device("cpu", stream=3)
    assert tuple(x.mT.shape) == (3, 2) and tuple(x.T.shape) == (3, 2)
    assert x.__dlpack_device__() == (1, 0)
    for options in ({}, {"max_version": (1, 0)}, {"copy": True}, {"dl_device": (1, 0), "copy": None}):
        assert np.array_equal(np.from_dlpack(_Once(x, options)), x.numpy())
    assert bool(mg.tensor(True)) and int(mg.tensor(3)) == 3 and float(mg.tensor(2.5)) == 2.5 and [0, 1][mg.tensor(1)] == 1
    for text in ("x + 1", "1 - x", "x * x", "x / 2", "x // 2", "x % 2", "x ** 2", "x @ x.mT", "-x", "+x", "abs(x)", "x < 2", "x == x"):
        assert isinstance(eval(text, {"x": x}), mg.Tensor)
    n = mg.tensor([5, 3])
    for text in ("n & 1", "n | 2", "n ^ 3", "~n", "n << 1", "n >> 1", "1 << n"):
        assert eval(text, {"n": n}).dtype == mg.int64


class _Once:
    """An exporter that passes fixed arguments on."""

    def __init__(self, x: Any, options: dict[str, Any]) -> None:
        self.x, self.options = x, options

    def __dlpack__(self, **_: Any) -> Any:
        return self.x.__dlpack__(**self.options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.x.__dlpack_device__()


def test_copies() -> None:
    x = mg.arange(6.0)
    assert xp.asarray(x) is x and xp.asarray(x, copy=True).data_ptr() != x.data_ptr()
    assert xp.astype(x, x.dtype, copy=False) is x and xp.astype(x, x.dtype) is not x
    with pytest.raises(ValueError, match="copy"):
        xp.asarray([1, 2], copy=False)
    assert xp.reshape(x, (2, 3), copy=False).data_ptr() == x.data_ptr()
    with pytest.raises(ValueError, match="copy"):
        xp.reshape(xp.reshape(x, (2, 3)).mT, (6,), copy=False)


ERRORS: list[tuple[Any, Any]] = [
    (lambda: xp.squeeze(mg.ones(2, 1), 0), ValueError), (lambda: xp.squeeze(mg.ones(2, 1), 5), IndexError),
    (lambda: xp.sum(mg.ones(2), axis=3), IndexError), (lambda: xp.sum(mg.ones(2, 2), axis=(0, 0)), ValueError),
    (lambda: xp.take(mg.ones(2, 2), mg.tensor([0])), ValueError), (lambda: xp.nonzero(mg.tensor(1)), ValueError),
    (lambda: xp.matmul(mg.tensor(1.0), mg.ones(1)), ValueError), (lambda: xp.add(1, 2), TypeError),
    (lambda: xp.concat([]), ValueError), (lambda: xp.where(mg.tensor(True), 1, 2), TypeError),
    (lambda: xp.cumulative_sum(mg.ones(2, 2)), ValueError), (lambda: xp.arange(0, 5, 0), ValueError),
    (lambda: xp.expand_dims(mg.ones(2), 4), IndexError), (lambda: xp.result_type(1, 2), ValueError),
    (lambda: xp.searchsorted(mg.ones(2), mg.ones(2), side="x"), ValueError), (lambda: xp.vecdot(mg.ones(2), mg.ones(3)), ValueError),
    (lambda: xp.meshgrid(mg.ones(2), indexing="zz"), ValueError), (lambda: xp.matrix_transpose(mg.ones(2)), ValueError),
]  # fmt: skip


@pytest.mark.parametrize("k", range(len(ERRORS)))
def test_error(k: int) -> None:
    with pytest.raises(ERRORS[k][1]) as raised:
        ERRORS[k][0]()
    assert str(raised.value)


def test_gradients_flow() -> None:
    """The namespace is differentiable like everything else."""
    x = mg.arange(6.0).reshape(2, 3).requires_grad_()
    y = xp.sum(xp.var(xp.multiply(x, x), axis=0) + xp.take(x, mg.tensor([1, 0]), axis=0)[:, 0][0])
    y.backward()
    assert x.grad is not None and bool(xp.all(xp.isfinite(x.grad)))
