"""Draws that take a varying number of random numbers each: Poisson, binomial, gamma, Dirichlet, von Mises, categories. Kernels:
csrc/cpu/random_sample.cpp, random_gamma.cpp.
"""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad.op import functions, namespaces, op
from minigrad.ops.creation.random import _GENERATOR, _WHY
from minigrad.ops.shared.struct_doc import card

op("poisson(input, generator: generator? = None) -> out", meta="random_of",
   dinput=lambda g, input_shape: g.new_zeros(input_shape),
   method=False, **_WHY,
   doc=card("Poisson distributed numbers.", "mg.poisson(mg.zeros(2)) -> tensor([0., 0.])",
            input="rates, floating, not negative.", generator=_GENERATOR,
            returns="a tensor of the same shape and dtype.", raises="RuntimeError for negative rates.", grad="Zero.",
            source="Hörmann 1993, transformed rejection, for rates from 10 on."))
op("binomial(count, prob, generator: generator? = None) -> out", meta="binomial", method=False,
   dcount=lambda g, count_shape: g.new_zeros(count_shape),
   dprob=lambda g, prob_shape: g.new_zeros(prob_shape), **_WHY,
   doc=card("Binomially distributed numbers: successes among `count` trials.",
            "mg.binomial(mg.tensor([3., 5.]), mg.tensor(1.)) -> tensor([3., 5.])",
            count="numbers of trials, floating, not negative.", prob="chance of success in [0, 1], of count's dtype.",
            generator=_GENERATOR, returns="a tensor of the broadcast shape.",
            raises="RuntimeError for parameters outside their range.", grad="Zero.",
            source="Hörmann 1993, transformed rejection, for more than 10 expected successes."))
# --- gamma, Dirichlet, von Mises: what minigrad.distributions draws from ------------------------------------------------
_IMPLICIT = "Figurnov, Mohamed, Mnih, Implicit Reparameterization Gradients, NeurIPS 2018."


def _first_only(name: str) -> Any:
    def formula(g: Any) -> Any:
        raise NotImplementedError(f"{name}: its derivative is not implemented (no closed form): samples are differentiable once.")

    return formula


_SHAPES = ((), (0,), (7,), (3, 5), (1025,))


def _constants(*bounds: tuple[float, float]) -> Any:
    """Samples without gradients: positive arguments within the bounds, dense, broadcast and strided."""
    def samples(s: Any) -> list[Any]:
        def args(shapes: Any, **how: Any) -> Any:
            return s(*(s.t(*k, low=low, high=high, grad=False, **how) for k, (low, high) in zip(shapes, bounds)))

        count = len(bounds)
        return [args([k] * count) for k in _SHAPES] + [args([(3, 1), (2, 3, 4), (4,)][:count]), args([(4, 5)] * count, layout="step")]

    return samples


_GRAD = dict(namespace=None, no_ref_reason="compared with finite differences of SciPy's quantiles in test_distributions_samplers.py",
             no_torch_reason="PyTorch's are approximations good to 1e-3; see test_distributions_samplers.py")
op("_standard_gamma_grad(input, output) -> out", meta="binary_float", samples=_constants((0.3, 5.0), (0.2, 6.0)), dinput=_first_only("_standard_gamma_grad"),
   doutput=_first_only("_standard_gamma_grad"), doc="d output / d input of a Gamma(input, 1) sample. " + _IMPLICIT, **_GRAD)
op("_dirichlet_grad(x, alpha, total) -> out", meta="ternary_float_only", samples=_constants((0.1, 0.9), (0.3, 3.0), (3.5, 6.0)),
   **{f"d{name}": _first_only("_dirichlet_grad") for name in ("x", "alpha", "total")},
   doc="dx / d alpha / (1 - x) of a Beta(alpha, total - alpha) sample x, the second parameter held fixed. " + _IMPLICIT, **_GRAD)
op("_standard_gamma(input, generator: generator? = None) -> out", meta="random_of", namespace=None,
   dinput=lambda g, input, out: g * functions["_standard_gamma_grad"](input, out), **_WHY,
   doc="Gamma(input, 1) samples, differentiable. Marsaglia and Tsang 2000; " + _IMPLICIT)


def _dirichlet_backward(g: mg.Tensor, input: mg.Tensor, out: mg.Tensor) -> mg.Tensor:
    total = input.sum(-1, True).expand_as(input)
    return functions["_dirichlet_grad"](out, input, total) * (g - (out * g).sum(-1, True))


op("_sample_dirichlet(input, generator: generator? = None) -> out", meta="random_of", namespace=None, dinput=_dirichlet_backward,
   **_WHY, doc="Dirichlet samples along the last dimension, differentiable. " + _IMPLICIT)
op("_standard_von_mises(input, generator: generator? = None) -> out", meta="random_of", namespace=None,
   dinput=lambda g, input_shape: g.new_zeros(input_shape), **_WHY,
   doc="Angles of (-pi, pi] about 0 with concentration input. Best and Fisher 1979.")
for _name in ("_standard_gamma", "_standard_gamma_grad", "_sample_dirichlet", "_dirichlet_grad"):
    namespaces[""][_name] = functions[_name]  # libraries of distributions call them by these names
op("multinomial(input, num_samples: int, replacement: bool = False, *, generator: generator? = None) -> out",
   meta="multinomial", exact_out=True,
   no_grad_reason="integers", **_WHY,
   doc=card("Draws categories in proportion to their weights.", "mg.multinomial(mg.tensor([0., 1.]), 1) -> tensor([1])",
            input="(categories,) or (rows, categories) weights, not negative, not all zero.",
            num_samples="draws per row.",
            replacement="whether a category may come twice.", generator=_GENERATOR,
            returns="int64 tensor of num_samples category numbers (per row).",
            raises="RuntimeError for weights that are no distribution, or too few categories."))
