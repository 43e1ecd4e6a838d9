"""hang in zeta, found by minigrad.testing.fuzz (seed 0, case 0).

A huge first argument made the series count up to it.
"""

import numpy as np

inf, nan = float("inf"), float("nan")
OP, TAINTED = 'zeta', False


def program(m, step):
    a = step('make', lambda: m.from_numpy(np.resize(np.array([3.4028234663852886e+38, 1000000.0, 3.0], 'float32'), (3,))).clone())
    b = step('make', lambda: m.from_numpy(np.resize(np.array([0.5, 2.5, 1.0], 'float32'), (3,))).clone())
    c = step('zeta', lambda: m.special.zeta(a, b))


if __name__ == "__main__":
    from minigrad.testing.fuzz.corpus import replay

    print(replay(__file__) or "passes")
