"""crash in matmul, found by minigrad.testing.fuzz (seed 0, case 0).

out= is an operand and has to change its size: the kernel read past the end.
"""

import numpy as np

inf, nan = float("inf"), float("nan")
OP, TAINTED = 'matmul', True


def program(m, step):
    a = step('make', lambda: m.from_numpy(np.resize(np.array([1.0], 'float32'), (2, 1, 3))).clone())
    b = step('make', lambda: m.from_numpy(np.resize(np.array([-0.68], 'float32'), (3,))).clone())
    c = step('matmul', lambda: m.matmul(a, b, out=a))


if __name__ == "__main__":
    from minigrad.testing.fuzz.corpus import replay

    print(replay(__file__) or "passes")
