"""refuses in ldexp_, found by minigrad.testing.fuzz (seed 0, case 0).

The in-place twin of a composite overwrote what the gradient of the other operand had saved.
"""

import numpy as np

inf, nan = float("inf"), float("nan")
OP, TAINTED = 'ldexp_', False


def program(m, step):
    a = step('make', lambda: m.from_numpy(np.resize(np.array([1.0], 'float32'), (2,))).clone())
    b = step('make', lambda: m.from_numpy(np.resize(np.array([0.5], 'float32'), (2,))).clone().requires_grad_())
    c = step('ldexp_', lambda: a.ldexp_(b))
    d = step('backward', lambda: c.backward(m.ones_like(c)))


if __name__ == "__main__":
    from minigrad.testing.fuzz.corpus import replay

    print(replay(__file__) or "passes")
