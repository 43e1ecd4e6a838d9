"""minigrad._foreach_* against torch: every name, with numbers, lists of numbers, tensors and lists of tensors."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from twins import array  # noqa: E402

import minigrad as mg  # noqa: E402

NAMES = sorted(name for name in dir(torch) if name.startswith("_foreach_"))
ARGUMENTS = {
    **dict.fromkeys(["add", "sub", "mul", "div", "clamp_max", "clamp_min", "maximum", "minimum", "pow"],
                    [lambda t: (2.0,), lambda t: ([2.0, 3.0],), lambda t: (tensors(t, 1),)]),
    **dict.fromkeys(["addcmul", "addcdiv"], [lambda t: (tensors(t, 1), tensors(t, 2)), lambda t: (tensors(t, 1), tensors(t, 2), 0.5),
                                             lambda t: (tensors(t, 1), tensors(t, 2), [0.5, 2.0])]),
    "lerp": [lambda t: (tensors(t, 1), 0.3), lambda t: (tensors(t, 1), tensors(t, 2))],
    "copy": [lambda t: (tensors(t, 1),)],
    "mm": [lambda t: ([x[:2, :2] for x in tensors(t, 1)],)],
    "norm": [lambda t: (), lambda t: (1,), lambda t: (float("inf"),)],
    "powsum": [lambda t: (), lambda t: (3,)],
}  # fmt: skip


def tensors(lib, seed=0):
    rng = np.random.default_rng(seed)
    values = [rng.uniform(0.1, 0.9, size=(3, 2)).astype(np.float32), rng.uniform(0.1, 0.9, size=(4, 2)).astype(np.float32)]
    return [lib.from_numpy(v) for v in values]


@pytest.mark.parametrize("name", NAMES)
def test_matches_torch(name):
    base = name.removeprefix("_foreach_").rstrip("_")
    for arguments in ARGUMENTS.get(base, [lambda t: ()]):
        out = []
        for lib in (mg, torch):
            first = tensors(lib)
            result = getattr(lib, name)(first, *arguments(lib))
            out.append([array(x) for x in (first if name.endswith("_") else result)])
            assert isinstance(result, list if name.endswith("_") else tuple)
        for mine, theirs in zip(*out, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("lib", [mg, torch], ids=["minigrad", "torch"])
def test_options_and_errors(lib):
    a = tensors(lib)
    lib._foreach_add_(a, tensors(lib, 1), alpha=2)
    expected = [x + 2 * y for x, y in zip(tensors(lib), tensors(lib, 1), strict=True)]
    for x, y in zip(a, expected, strict=True):
        np.testing.assert_allclose(array(x), array(y), rtol=1e-6)
    assert lib._foreach_norm(a, 2, lib.float64)[0].dtype == lib.float64
    np.testing.assert_allclose(array(lib._foreach_pow(2.0, a)[0]), 2 ** array(a[0]), rtol=1e-6)
    np.testing.assert_allclose(array(lib._foreach_mul(a, lib.tensor(2.0))[1]), 2 * array(a[1]))
    with pytest.raises(RuntimeError, match="at least one tensor"):
        lib._foreach_add([], 1)
    with pytest.raises(RuntimeError, match="same number of"):
        lib._foreach_add(a, [1.0])
    with pytest.raises(RuntimeError, match="same number of tensors"):
        lib._foreach_add(a, a[:1])
