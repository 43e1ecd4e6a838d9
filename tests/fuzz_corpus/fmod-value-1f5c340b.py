"""value in fmod, found by minigrad.testing.fuzz (seed 0, case 0).

float32 divisor inf in all lanes of a vector gave NaN.
"""

import numpy as np

inf, nan = float("inf"), float("nan")
OP, TAINTED = 'fmod', False


def program(m, step):
    a = step('make', lambda: m.from_numpy(np.resize(np.array([1.0, -2.5], 'float32'), (40,))).clone())
    b = step('make', lambda: m.from_numpy(np.resize(np.array([inf], 'float32'), (40,))).clone())
    c = step('fmod', lambda: m.fmod(a, b))
    d = step('remainder', lambda: m.remainder(a, b))


if __name__ == "__main__":
    from minigrad.testing.fuzz.corpus import replay

    print(replay(__file__) or "passes")
