"""Prints csrc/simd/gelu_pieces.h: GELU and its slope left of zero as polynomials over 32 intervals, for registers that look up 32 floats.

With a = |x|, gelu(x) = max(x, 0) - T(a) and gelu'(x) = D(a) or, right of zero, 1 - D(a), where T(a) = -gelu(-a) and D(a) = gelu'(-a).
Interval i holds the a with round(a (BETA + alpha a)) = i: by how much T changes over an interval, about e^(width a), limits the degree at
the far end, so the intervals become narrower with a. There T(a) = c0 + d (c1 + d (c2 + ...)), d = a - centre.

Accuracy: c1 d is comparable with c0, so that of all coefficients c0 and c1 count with all their digits. The centres are free: of
CANDIDATES close to the middle the one is taken whose polynomial, rounded from c0 on (each coefficient fitted again after those before
it were rounded), has the smallest error in float arithmetic ("accurate tables", S. Gal 1986). The first centre is 0, where T must keep its
relative accuracy; one of D's is its zero.

Run: python tools/gelu_pieces.py > csrc/simd/gelu_pieces.h
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

N, DEGREE, BETA, CANDIDATES = 32, 6, 2.25, 100
ERF_END, TANH_END = 6.5, 5.5  # the last interval's: T and D are less than half an ulp of x and 1 from there on
K, CUBE = math.sqrt(8 / math.pi), 0.044715
Function = Callable[[np.ndarray], np.ndarray]

_erfc = np.vectorize(math.erfc, otypes=[float])


def cdf(a: np.ndarray) -> np.ndarray:
    """Phi(-a)."""
    return _erfc(a * math.sqrt(0.5)) / 2


def logistic(a: np.ndarray) -> np.ndarray:
    """sigmoid(-u(a)), u of the tanh form."""
    return 1 / (1 + np.exp(K * (a + CUBE * a**3)))


def gelu(a: np.ndarray) -> np.ndarray:
    """T(a)."""
    return a * cdf(a)


def gelu_slope(a: np.ndarray) -> np.ndarray:
    """D(a)."""
    return cdf(a) - a * np.exp(-a * a / 2) / math.sqrt(2 * math.pi)


def gelu_tanh(a: np.ndarray) -> np.ndarray:
    """T(a) of the tanh form."""
    return a * logistic(a)


def gelu_tanh_slope(a: np.ndarray) -> np.ndarray:
    """D(a) of the tanh form."""
    s = logistic(a)
    return s - a * s * (1 - s) * K * (1 + 3 * CUBE * a * a)


def edges(end: float) -> tuple[float, list[float]]:
    """alpha, and the N + 1 ends of the intervals."""
    alpha = float(np.float32((N - 0.501 - BETA * end) / end**2))  # the end itself is in the last one
    return alpha, [0.0] + [(math.sqrt(BETA**2 + 4 * alpha * (i + 0.5)) - BETA) / (2 * alpha) for i in range(N)]


def rounded_fit(f: Function, low: float, high: float, centre: float, exact: bool) -> np.ndarray:
    """Float coefficients: least squares of the relative error at Chebyshev nodes, rounded one after the other; c0 = F(centre) if exact."""
    x = (low + high) / 2 + (high - low) / 2 * np.cos(np.pi * (np.arange(48) + 0.5) / 48)
    y, d, c = f(x), (x - centre) / (high - low), np.zeros(DEGREE + 1)
    weight = 1 / np.abs(y)
    for k in range(DEGREE + 1):
        rest = (y - sum(c[j] * (x - centre) ** j for j in range(k))) * weight
        powers = np.stack([d**j for j in range(k, DEGREE + 1)], 1) * weight[:, None]
        c[k] = np.float32(np.linalg.lstsq(powers, rest, rcond=None)[0][0] / (high - low) ** k)
        if k == 0 and exact:
            c[0] = np.float32(f(np.array(centre)))
    return c


def error(f: Function, x: np.ndarray, centre: float, c: np.ndarray) -> float:
    """The largest in ulp of F at the floats x, computed as the kernel does."""
    d = x - np.float32(centre)
    p = np.full_like(x, c[-1])
    for k in range(DEGREE - 1, -1, -1):
        p = (p.astype(np.float64) * d + c[k]).astype(np.float32)
    y = f(x.astype(np.float64))
    return float((np.abs(p - y) / np.spacing(np.abs(y).astype(np.float32))).max())


def zero_in(f: Function, low: float, high: float) -> float | None:
    """The zero of f in the interval, by bisection."""
    if f(np.array(low)) * f(np.array(high)) > 0:
        return None
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if f(np.array(low)) * f(np.array(middle)) <= 0 else (middle, high)
    return low


def pieces(f: Function, end: float) -> tuple[float, float, np.ndarray]:
    """alpha, the largest error in ulp, and the columns centre, c0, c1 ... of all intervals."""
    rng = np.random.default_rng(0)
    alpha, ends = edges(end)
    rows, worst = [], 0.0
    for i, (low, high) in enumerate(zip(ends, ends[1:], strict=False)):
        low, high = low * (1 - 1e-6), high * (1 + 1e-6)  # the index is computed in float
        middle, zero = (low + high) / 2, zero_in(f, low, high)
        exact = i == 0 or zero is not None
        if exact:
            centres = np.array([0.0 if i == 0 else zero])
        else:
            centres = middle + (high - low) * rng.uniform(-0.02, 0.02, CANDIDATES)
        x = np.concatenate([rng.uniform(max(low, 1e-3), high, 3000), np.linspace(max(low, 1e-6), high, 1001)]).astype(np.float32)
        tried = []
        for centre in centres.astype(np.float32).astype(float):
            c = rounded_fit(f, low, high, centre, exact)
            tried.append((error(f, x, centre, c.astype(np.float32)), (centre, *c)))
        best = min(tried)
        worst = max(worst, best[0])
        rows.append(best[1])
    return alpha, worst, np.array(rows, dtype=np.float32).T


TABLES: list[tuple[str, Function, float]] = [
    ("kGelu", gelu, ERF_END),
    ("kGeluSlope", gelu_slope, ERF_END),
    ("kGeluTanh", gelu_tanh, TANH_END),
    ("kGeluTanhSlope", gelu_tanh_slope, TANH_END),
]


def main() -> None:
    """Print the header."""
    print("// Polynomials of gelu and its slope for the registers of AVX-512, see pieces.h. Written by tools/gelu_pieces.py; do not edit.")
    print('#pragma once\n#include "pieces.h"\n\nnamespace mg::simd::MG_ISA_NS {\n')
    for name, f, end in TABLES:
        alpha, worst, columns = pieces(f, end)
        print(f"// {(f.__doc__ or '').rstrip('.')}, to {worst:.2f} ulp")
        print(f"constexpr Pieces<{DEGREE}> {name} = {{")
        for k, column in enumerate(columns):
            print("    {" if k != 1 else "    {{", end="")
            for i in range(0, N, 8):
                print(("" if i == 0 else "     ") + ", ".join(f"{x!s}f" for x in column[i : i + 8]), end=",\n" if i + 8 < N else "")
            print("}," if k <= DEGREE else "}},")
        print(f"    {float(np.float32(end))!r}f, {BETA!r}f, {np.float32(alpha)!s}f}};\n")
    print("}  // namespace mg::simd::MG_ISA_NS")


if __name__ == "__main__":
    main()
