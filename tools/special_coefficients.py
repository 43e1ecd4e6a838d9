"""Prints csrc/special/coefficients.h: Chebyshev interpolants of the special functions, computed with mpmath at 50 digits.

Each function is split where its character changes, and multiplied by what makes the rest smooth (an exponential, a power, the logarithm
of the second solution); the forms are those of Abramowitz & Stegun chapters 7, 9, 10 and 26 and of DLMF chapters 7, 9, 10. The coefficients
are ours: interpolation at Chebyshev points, cut where they fall below 2**-56 of the largest.

Run: python tools/special_coefficients.py > csrc/special/coefficients.h
"""

from __future__ import annotations

from collections.abc import Callable

import mpmath as mp

mp.mp.dps = 50
CUT = mp.mpf(2) ** -56


def chebyshev(f: Callable, a: float, b: float, n: int = 64) -> list:
    """Coefficients c of sum c_k T_k(t), t from -1 to 1 over [a, b]; c[0] is already halved."""
    a, b = mp.mpf(a), mp.mpf(b)
    angles = [mp.pi * (k + mp.mpf(1) / 2) / n for k in range(n)]
    values = [f((a + b) / 2 + (b - a) / 2 * mp.cos(w)) for w in angles]
    c = [2 * mp.fsum(v * mp.cos(j * w) for v, w in zip(values, angles, strict=True)) / n for j in range(n)]
    c[0] /= 2
    top = max(abs(x) for x in c)
    while abs(c[-1]) < CUT * top:
        c.pop()
    if len(c) > n - 4:
        raise ValueError("not converged: split the interval")
    return c


def amplitude(order: int, which: str) -> Callable:
    """P or x Q of the modulus and phase form, as a function of z = (8 / x)**2 (DLMF 10.17)."""

    def f(z):
        x = 8 / mp.sqrt(z)
        j, y = mp.besselj(order, x), mp.bessely(order, x)
        chi = x - (2 * order + 1) * mp.pi / 4
        r = mp.sqrt(mp.pi * x / 2)
        return r * (j * mp.cos(chi) + y * mp.sin(chi)) if which == "p" else x * r * (y * mp.cos(chi) - j * mp.sin(chi))

    return f


def airy_far(which: str) -> Callable:
    """The two slow factors of Ai(-x), as functions of (zeta0 / zeta)**2 (DLMF 9.7.9): sin(zeta + pi/4) F - cos(zeta + pi/4) G / zeta."""
    zeta0 = mp.mpf(2) / 3 * mp.mpf(4) ** mp.mpf("1.5")

    def f(z):
        zeta = zeta0 / mp.sqrt(z)
        x = (zeta * 3 / 2) ** (mp.mpf(2) / 3)
        r = mp.sqrt(mp.pi) * x ** mp.mpf("0.25")
        a, b, w = mp.airyai(-x), mp.airybi(-x), zeta + mp.pi / 4
        return r * (a * mp.sin(w) + b * mp.cos(w)) if which == "f" else zeta * r * (b * mp.sin(w) - a * mp.cos(w))

    return f


def airy_decay(z):
    """2 sqrt(pi) x**(1/4) exp(zeta) Ai(x), as a function of zeta0 / zeta with zeta0 at x = 2 (DLMF 9.7.5)."""
    zeta = mp.mpf(2) / 3 * mp.mpf(2) ** mp.mpf("1.5") / z
    x = (zeta * 3 / 2) ** (mp.mpf(2) / 3)
    return 2 * mp.sqrt(mp.pi) * x ** mp.mpf("0.25") * mp.exp(zeta) * mp.airyai(x)


def normal_quantile(p):
    """x with P(N(0,1) <= x) = p <= 1/2, by Newton on log P in mpmath."""
    p = mp.mpf(p)
    x = -mp.sqrt(max(-2 * mp.log(2 * p), mp.mpf("1e-20")))
    for _ in range(60):
        q = mp.erfc(-x / mp.sqrt(2)) / 2
        step = (mp.log(q) - mp.log(p)) * q / (mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi))
        x -= step
        if abs(step) < mp.mpf(10) ** -42:
            return x
    raise ValueError(f"no quantile for {p}")


def temme(terms: int, orders: int) -> list[list]:
    """Taylor coefficients d[k][n] of the c_k(eta) of the uniform expansion of the incomplete gamma functions (DLMF 8.12.7-12)."""
    size = terms + 2 * orders + 3
    mu = [mp.mpf(0), mp.mpf(1)]  # mu mu' = eta (1 + mu), mu = lambda - 1
    for n in range(2, size):
        known = mp.fsum(mu[j] * mu[n + 1 - j] * (n + 1 - j) for j in range(2, n))
        mu.append((mu[n - 1] - known) / (n + 1))
    inverse = [mp.mpf(1)]  # of mu / eta
    for n in range(1, size - 1):
        inverse.append(-mp.fsum(mu[j + 1] * inverse[n - j] for j in range(1, n + 1)))
    stirling = [mp.bernoulli(2 * j) / (2 * j * (2 * j - 1)) for j in range(1, 12)]
    g = mp.taylor(lambda z: mp.exp(mp.fsum(b * z ** (2 * j + 1) for j, b in enumerate(stirling))), 0, orders)
    c = inverse[1:]  # 1 / mu - 1 / eta
    rows = [c[:terms]]
    for k in range(1, orders):
        c = [(n + 2) * c[n + 2] + (-1) ** k * g[k] * inverse[n + 1] for n in range(len(c) - 2)]
        rows.append(c[:terms])
    return rows


def root(f: Callable) -> Callable:
    """f(sqrt(w)): even functions are fitted in the square."""
    return lambda w: f(mp.sqrt(w))


def log_half(x):
    return mp.log(x / 2)


TABLES: list[tuple[str, str, Callable, float, float]] = [
    ("i0e_near", "exp(-x) I0(x), x in [0, 8]", lambda x: mp.exp(-x) * mp.besseli(0, x), 0, 8),
    ("i0e_far", "sqrt(x) exp(-x) I0(x), 1/x in [0, 1/8]", lambda z: mp.exp(-1 / z) / mp.sqrt(z) * mp.besseli(0, 1 / z), 0, 0.125),
    ("i1e_near", "exp(-x) I1(x) / x, x in [0, 8]", lambda x: mp.exp(-x) * mp.besseli(1, x) / x, 0, 8),
    ("i1e_far", "sqrt(x) exp(-x) I1(x), 1/x in [0, 1/8]", lambda z: mp.exp(-1 / z) / mp.sqrt(z) * mp.besseli(1, 1 / z), 0, 0.125),
    ("k0_near", "K0(x) + log(x/2) I0(x), x^2 in [0, 4]", root(lambda x: mp.besselk(0, x) + log_half(x) * mp.besseli(0, x)), 0, 4),
    ("k0_far", "sqrt(x) exp(x) K0(x), 1/x in [0, 1/2]", lambda z: mp.exp(1 / z) / mp.sqrt(z) * mp.besselk(0, 1 / z), 0, 0.5),
    ("k1_near", "x (K1(x) - log(x/2) I1(x)), x^2 in [0, 4]",
     root(lambda x: x * (mp.besselk(1, x) - log_half(x) * mp.besseli(1, x))), 0, 4),
    ("k1_far", "sqrt(x) exp(x) K1(x), 1/x in [0, 1/2]", lambda z: mp.exp(1 / z) / mp.sqrt(z) * mp.besselk(1, 1 / z), 0, 0.5),
    ("j0_near", "J0(x), x^2 in [0, 64]", root(lambda x: mp.besselj(0, x)), 0, 64),
    ("j1_near", "J1(x) / x, x^2 in [0, 64]", root(lambda x: mp.besselj(1, x) / x), 0, 64),
    ("y0_near", "Y0(x) - 2/pi log(x/2) J0(x), x^2 in [0, 64]",
     root(lambda x: mp.bessely(0, x) - 2 / mp.pi * log_half(x) * mp.besselj(0, x)), 0, 64),
    ("y1_near", "(Y1(x) - 2/pi (log(x/2) J1(x) - 1/x)) / x, x^2 in [0, 64]",
     root(lambda x: (mp.bessely(1, x) - 2 / mp.pi * (log_half(x) * mp.besselj(1, x) - 1 / x)) / x), 0, 64),
    ("p0", "P of order 0, (8/x)^2 in [0, 1]", amplitude(0, "p"), 0, 1),
    ("q0", "x Q of order 0", amplitude(0, "q"), 0, 1),
    ("p1", "P of order 1", amplitude(1, "p"), 0, 1),
    ("q1", "x Q of order 1", amplitude(1, "q"), 0, 1),
    ("airy_near", "Ai(x), x in [-4, 2]", mp.airyai, -4, 2),
    ("airy_right", "2 sqrt(pi) x^(1/4) exp(zeta) Ai(x), zeta0/zeta in [0, 1]", airy_decay, 0, 1),
    ("airy_left_f", "F of Ai(-x), (zeta0/zeta)^2 in [0, 1]", airy_far("f"), 0, 1),
    ("airy_left_g", "G of Ai(-x), (zeta0/zeta)^2 in [0, 1]", airy_far("g"), 0, 1),
    ("erfcx_all", "(1 + 2x) erfcx(x), (x - 3.75) / (x + 3.75) in [-1, 1] (form: Shepherd and Laframboise 1981)",
     lambda t: (lambda x: (1 + 2 * x) * mp.exp(x * x) * mp.erfc(x))(mp.mpf("3.75") * (1 + t) / (1 - t)), -1, 1),
    ("ndtri_mid", "ndtri(1/2 + q) / q, q^2 in [0, 0.18]", root(lambda q: -normal_quantile(mp.mpf(1) / 2 - q) / q), 0, 0.180625),
    ("ndtri_tail", "-ndtri(p), r = sqrt(-log p) in [1.6, 5]", lambda r: -normal_quantile(mp.exp(-r * r)), 1.6, 5),
    ("lgamma1p_all", "lgamma(1 + a) / a, a in [0, 1]", lambda a: mp.loggamma(1 + a) / a, 0, 1),
    ("ndtri_deep", "-ndtri(p), r in [5, 27.5]", lambda r: -normal_quantile(mp.exp(-r * r)), 5, 27.5),
]  # fmt: skip


def main() -> None:
    """Print the header."""
    print("// Chebyshev coefficients of the special functions, c[0] halved. Written by tools/special_coefficients.py; do not edit.")
    print('#pragma once\n#include "device.h"\n\nnamespace mg::special::coefficients {\n')
    for name, what, f, a, b in TABLES:
        c = [mp.nstr(x, 20) for x in chebyshev(f, a, b)]
        print(f"// {what}")
        print(f"MG_TABLE double {name}[] = {{")
        for i in range(0, len(c), 6):
            print("    " + ", ".join(c[i : i + 6]) + ",")
        print("};")
    print("\n// Taylor coefficients of c_k(eta), k = 0 to 5 (DLMF 8.12.7)")
    print("MG_TABLE double temme[6][16] = {")
    for row in temme(16, 6):
        print("    {" + ", ".join(mp.nstr(x, 20) for x in row) + "},")
    print("};\n")
    print("}  // namespace mg::special::coefficients")


if __name__ == "__main__":
    main()
