"""Function transforms with torch.func's names: grad, vjp, jvp, vmap, jacrev, jacfwd, hessian, and modules as functions.

They nest in any order: `vmap(grad(f))` gives per-sample gradients, `jacfwd(jacrev(f))` is `hessian(f)`. How: docs/func.md.
"""

from minigrad.func._grad import grad, grad_and_value, hessian, jacfwd, jacrev, jvp, linearize, vjp  # noqa: F401
from minigrad.func._modules import functional_call, stack_module_state  # noqa: F401
from minigrad.func._vmap import vmap  # noqa: F401

__all__ = [
    "functional_call", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "linearize", "stack_module_state",
    "vjp", "vmap",
]  # fmt: skip


class FunctionalModule:
    """What functorch.make_functional returned in old releases; nothing is one here (functorch is served as this module)."""


class FunctionalModuleWithBuffers(FunctionalModule):
    """What functorch.make_functional_with_buffers returned in old releases; nothing is one here."""
