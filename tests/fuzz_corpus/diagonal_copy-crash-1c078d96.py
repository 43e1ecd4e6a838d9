"""crash in diagonal_copy, found by minigrad.testing.fuzz (seed 101, case 67397).

csrc/core/meta_view.cpp:239:45: runtime error: negation of -9223372036854775808 cannot be represented in type 'long int'; cast to an unsigned type to negate this value to itself
"""

import numpy as np

inf, nan = float("inf"), float("nan")
OP, TAINTED = 'diagonal_copy', False


def program(m, step):
    a = step('make', lambda: m.from_numpy(np.resize(np.array([1], 'int64'), (0, 0))).clone())
    b = step('diagonal_copy', lambda: m.diagonal_copy(a, -9223372036854775808))


if __name__ == "__main__":
    from minigrad.testing.fuzz.corpus import replay

    print(replay(__file__) or "passes")
