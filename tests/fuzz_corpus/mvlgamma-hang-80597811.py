"""hang in mvlgamma, found by minigrad.testing.fuzz (seed 101, case 45518).

no result after 20 s
"""

import numpy as np

inf, nan = float("inf"), float("nan")
OP, TAINTED = 'mvlgamma', False


def program(m, step):
    a = step('make', lambda: m.from_numpy(np.resize(np.array([-2.07, -2.0, 2.21, 1.03, 2.56, 0.66, -1.12, 2.28, -0.78, 0.08, 0.24, 1.29], 'float64'), (4, 2, 3))).clone().requires_grad_())
    b = step('mvlgamma', lambda: m.mvlgamma(a, 4611686018427387904))


if __name__ == "__main__":
    from minigrad.testing.fuzz.corpus import replay

    print(replay(__file__) or "passes")
