"""Libraries that take any array of the Array API, on our tensors: array_api_compat, array_api_extra, einops, scikit-learn."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import minigrad as mg


def values(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def test_array_api_compat() -> None:
    compat = pytest.importorskip("array_api_compat", reason="array-api-compat (extra `reference`) is not installed")
    x = mg.ones(2, 3)
    assert compat.is_array_api_obj(x)
    xp = compat.array_namespace(x, mg.zeros(1))
    assert xp is x.__array_namespace__()
    assert compat.device(x) == x.device and compat.size(x) == 6
    assert compat.to_device(x, "cpu").device == x.device
    assert compat.is_writeable_array(x) and not compat.is_lazy_array(x)
    assert not any(getattr(compat, f"is_{n}_array")(x) for n in ("numpy", "torch", "jax", "cupy", "dask"))
    assert compat.array_namespace(x, 1.0, None) is xp  # numbers and None are no arrays
    with pytest.raises(TypeError):
        compat.array_namespace(x, np.ones(2))


def test_array_api_extra() -> None:
    extra = pytest.importorskip("array_api_extra", reason="array-api-extra (extra `reference`) is not installed")
    a = values(3, 5)
    x = mg.from_numpy(a)
    np.testing.assert_allclose(extra.cov(x).numpy(), np.cov(a), rtol=1e-12)
    np.testing.assert_allclose(extra.kron(x, x[:2]).numpy(), np.kron(a, a[:2]), rtol=1e-12)
    np.testing.assert_allclose(extra.sinc(x).numpy(), np.sinc(a), rtol=1e-9, atol=1e-12)
    assert tuple(extra.atleast_nd(mg.tensor(1.0), ndim=3).shape) == (1, 1, 1)
    assert tuple(extra.pad(x, 2).shape) == (7, 9)
    np.testing.assert_array_equal(extra.setdiff1d(mg.tensor([3, 1, 2]), mg.tensor([2])).numpy(), [1, 3])
    assert bool(extra.isclose(x, x).all())


EINOPS: list[tuple[str, str, dict[str, Any]]] = [
    ("rearrange", "b c h w -> b (h w) c", {}), ("rearrange", "b (c two) h w -> two b c h w", {"two": 2}),
    ("reduce", "b c h w -> b c", {"reduction": "mean"}), ("reduce", "b c (h 2) w -> b c h w", {"reduction": "max"}),
    ("reduce", "b c h w -> h", {"reduction": "prod"}), ("reduce", "b c h w -> ", {"reduction": "sum"}),
    ("reduce", "b c h w -> b 1 1 w", {"reduction": "min"}), ("repeat", "b c h w -> b (c k) h w", {"k": 3}),
]  # fmt: skip


@pytest.mark.parametrize("function, pattern, options", EINOPS)
def test_einops(function: str, pattern: str, options: dict[str, Any]) -> None:
    einops = pytest.importorskip("einops", reason="einops (extra `reference`) is not installed")
    import minigrad.array_api.einops  # noqa: F401  registers the backend

    a = values(2, 4, 6, 3)
    expected = getattr(einops, function)(a, pattern, **options)
    x = mg.from_numpy(a).requires_grad_()
    got = getattr(einops, function)(x, pattern, **options)
    np.testing.assert_allclose(got.detach().numpy(), expected, rtol=1e-12)
    got.sum().backward()  # gradients pass through
    assert tuple(x.grad.shape) == a.shape
    array_api = pytest.importorskip("einops.array_api")
    again = getattr(array_api, function)(mg.from_numpy(a), pattern, **options)
    np.testing.assert_allclose(again.numpy(), expected, rtol=1e-12)


def test_einops_more() -> None:
    einops = pytest.importorskip("einops", reason="einops (extra `reference`) is not installed")
    import minigrad.array_api.einops  # noqa: F401

    a, b = values(2, 3, 4), values(2, 4, 5)
    got = einops.einsum(mg.from_numpy(a), mg.from_numpy(b), "b i k, b k j -> b i j")
    np.testing.assert_allclose(got.numpy(), a @ b, rtol=1e-12)
    x = mg.from_numpy(a)
    packed, shapes = einops.pack([x, x[:, :, 0]], "b *")
    assert tuple(packed.shape) == (2, 15)
    back = einops.unpack(packed, shapes, "b *")
    assert mg.equal(back[0], x) and mg.equal(back[1], x[:, :, 0])
    assert einops.parse_shape(x, "b _ k") == {"b": 2, "k": 4}
    stacked = einops.rearrange([x, x], "n b i k -> b n i k")
    assert tuple(stacked.shape) == (2, 2, 3, 4)


SKLEARN = """
import numpy as np, minigrad as mg, sklearn
from sklearn import config_context
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from sklearn.metrics import accuracy_score, mean_absolute_error, mean_squared_error, r2_score
from sklearn.metrics.pairwise import cosine_similarity, euclidean_distances
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, Normalizer, StandardScaler
X, y = load_iris(return_X_y=True)
T, t = mg.from_numpy(X), mg.from_numpy(y)

def close(a, b):
    assert isinstance(a, mg.Tensor), type(a)
    np.testing.assert_allclose(a.numpy(), b, rtol=1e-6, atol=1e-8)

def transformer(make):
    expected = make().fit(X).transform(X)
    with config_context(array_api_dispatch=True):
        close(make().fit(T).transform(T), expected)

def case_scalers():
    for make in (StandardScaler, MinMaxScaler, MaxAbsScaler, Normalizer): transformer(make)
def case_pca():
    transformer(lambda: PCA(n_components=2, svd_solver="full"))
def case_lda():
    expected = LinearDiscriminantAnalysis().fit(X, y).predict(X)
    with config_context(array_api_dispatch=True):
        got = LinearDiscriminantAnalysis().fit(T, t).predict(T)
    np.testing.assert_array_equal(np.asarray(got), expected)
def case_ridge():
    expected = Ridge(solver="svd").fit(X, y.astype(float)).predict(X)
    with config_context(array_api_dispatch=True):
        close(Ridge(solver="svd").fit(T, t.to(mg.float64)).predict(T), expected)
def case_metrics():
    a, b = T[:, 0], T[:, 1]
    for f in (r2_score, mean_squared_error, mean_absolute_error):
        with config_context(array_api_dispatch=True): got = f(a, b)
        np.testing.assert_allclose(float(got), f(X[:, 0], X[:, 1]), rtol=1e-9)
    with config_context(array_api_dispatch=True): assert float(accuracy_score(t, t)) == 1.0
def case_pairwise():
    with config_context(array_api_dispatch=True):
        close(cosine_similarity(T), cosine_similarity(X)); close(euclidean_distances(T), euclidean_distances(X))
globals()["case_" + __import__("sys").argv[1]]()
"""


@pytest.mark.parametrize("case", ["scalers", "pca", "lda", "ridge", "metrics", "pairwise"])
def test_scikit_learn(case: str) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    pytest.importorskip("array_api_compat", reason="array-api-compat (extra `reference`) is not installed")
    if case in ("pca", "lda", "ridge") and not hasattr(mg.linalg, "svd"):
        pytest.skip("needs minigrad.linalg.svd")
    # scipy reads the switch when it is imported, hence the new process.
    paths = [p for p in (os.environ.get("PYTHONPATH"), os.path.dirname(os.path.dirname(mg.__file__))) if p]
    environment = {**os.environ, "SCIPY_ARRAY_API": "1", "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run([sys.executable, "-c", SKLEARN, case], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
