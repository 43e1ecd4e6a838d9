"""accepts in mul_, found by minigrad.testing.fuzz (seed 0, case 0).

A view of a leaf that is itself a view of a plain tensor was written in place.
"""

import numpy as np

inf, nan = float("inf"), float("nan")
OP, TAINTED = 'mul_', False


def program(m, step):
    a = step('make', lambda: m.from_numpy(np.resize(np.array([1.0], 'float32'), (5,)))[3:].view((2,)).requires_grad_())
    b = step('getitem', lambda: a[Ellipsis])
    c = step('mul_', lambda: b.mul_(2.0))


if __name__ == "__main__":
    from minigrad.testing.fuzz.corpus import replay

    print(replay(__file__) or "passes")
