"""crash in diagonal_scatter, found by minigrad.testing.fuzz (seed 101, case 530416).

csrc/core/meta_view.cpp:239:45: runtime error: negation of -9223372036854775808 cannot be represented in type 'long int'; cast to an unsigned type to negate this value to itself
"""

import numpy as np

inf, nan = float("inf"), float("nan")
OP, TAINTED = 'diagonal_scatter', False


def program(m, step):
    a = step('make', lambda: m.from_numpy(np.resize(np.array([0], 'int64'), (0, 0))).clone())
    b = step('make', lambda: m.from_numpy(np.resize(np.array([0], 'int64'), ())).clone())
    c = step('diagonal_scatter', lambda: a.diagonal_scatter(b, offset=-9223372036854775808))


if __name__ == "__main__":
    from minigrad.testing.fuzz.corpus import replay

    print(replay(__file__) or "passes")
