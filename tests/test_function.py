"""Custom autograd.Function and anomaly mode."""

from __future__ import annotations

import numpy as np
import pytest
from twins_engine import leaf

import minigrad as mg


class TestFunction:
    """autograd.Function's contract."""

    def test_save_and_needs(self):
        class Mul(mg.autograd.Function):
            @staticmethod
            def forward(ctx, a, b, k):
                ctx.save_for_backward(a, b)
                ctx.k = k
                return a * b * k

            @staticmethod
            def backward(ctx, g):
                a, b = ctx.saved_tensors
                assert ctx.needs_input_grad == (True, False, False)
                return g * b * ctx.k, None, None

        a = leaf(mg, [1.0, 2.0])
        Mul.apply(a, mg.tensor([3.0, 4.0], dtype=mg.float64), 2).sum().backward()
        assert a.grad.tolist() == [6.0, 8.0]

    def test_double_backward_through_saved_output(self):
        class Exp(mg.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                y = x.exp()
                ctx.save_for_backward(y)
                return y

            @staticmethod
            def backward(ctx, g):
                (y,) = ctx.saved_tensors
                return g * y

        x = leaf(mg, [0.3, 0.7])
        (g,) = mg.autograd.grad(Exp.apply(x).sum(), x, create_graph=True)
        (g2,) = mg.autograd.grad(g.sum(), x)
        np.testing.assert_allclose(g2.numpy(), np.exp([0.3, 0.7]))

    def test_non_differentiable_and_unused_outputs(self):
        class Sort(mg.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                index = mg.tensor([1, 0])
                ctx.mark_non_differentiable(index)
                return x * 1, x * 2, index

            @staticmethod
            def backward(ctx, ga, gb, gi):
                assert gb.tolist() == [0.0, 0.0]
                return ga + gb

        x = leaf(mg, [1.0, 2.0])
        a, b, index = Sort.apply(x)
        assert a.requires_grad and b.requires_grad and not index.requires_grad
        a.sum().backward()
        assert x.grad.tolist() == [1.0, 1.0]

    def test_materialize_off(self):
        class Two(mg.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.set_materialize_grads(False)
                return x * 1, x * 2

            @staticmethod
            def backward(ctx, ga, gb):
                assert gb is None
                return ga

        x = leaf(mg, [1.0])
        Two.apply(x)[0].sum().backward()
        assert x.grad.item() == 1.0

    def test_dirty_input(self):
        class Inc(mg.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                x.add_(1)
                ctx.mark_dirty(x)
                return x

            @staticmethod
            def backward(ctx, g):
                return g * 10

        x = leaf(mg, [1.0])
        y = x * 1
        z = Inc.apply(y)
        z.sum().backward()
        assert z is y and x.grad.item() == 10.0

    def test_once_differentiable(self):
        class F(mg.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x * 2

            @staticmethod
            @mg.autograd.once_differentiable
            def backward(ctx, g):
                return g * 2

        x = leaf(mg, [1.0])
        (g,) = mg.autograd.grad((F.apply(x) * x).sum(), x, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            g.sum().backward()

    def test_wrong_number_of_gradients(self):
        class F(mg.autograd.Function):
            @staticmethod
            def forward(ctx, x, y):
                return x * y

            @staticmethod
            def backward(ctx, g):
                return g

        with pytest.raises(RuntimeError, match="returned 1 gradients, expected 2"):
            F.apply(leaf(mg, [1.0]), leaf(mg, [1.0])).sum().backward()


class TestAnomaly:
    """Anomaly mode names lines."""

    def test_in_place_violation_names_both_lines(self):
        x = leaf(mg, [1.0, 2.0])
        with mg.autograd.detect_anomaly():
            y = x * 2
            z = y.exp()
            z.mul_(3)
            with pytest.raises(RuntimeError) as error:
                z.sum().backward()
        text = str(error.value)
        assert "exp" in text and "saved at" in text and "changed at" in text and text.count("test_function.py") == 2

    def test_nan_gradient_is_an_error(self):
        x = leaf(mg, [0.0])
        with mg.autograd.detect_anomaly(), pytest.raises(RuntimeError, match="returned nan.*\n.*test_function.py"):
            (x.sqrt() * 0.0).sum().backward()

    def test_without_anomaly_the_remedy_is_named(self):
        x = leaf(mg, [1.0, 2.0])
        y = x.exp()
        y.add_(1)
        with pytest.raises(RuntimeError, match="set_detect_anomaly"):
            y.sum().backward()
