"""Small programs on registration errors, the module tree and usual subclasses; see test_nn_machinery.py."""

from __future__ import annotations

import copy
import pickle

from nn_programs import names, net


# ---- errors of assignment and registration ---
def set_before_init(lib):
    class Early(lib.nn.Module):
        def __init__(self):
            self.x = lib.nn.Linear(1, 1)

    return Early()


def set_parameter_before_init(lib):
    class Early(lib.nn.Module):
        def __init__(self):
            self.x = lib.nn.Parameter(lib.ones(1))

    return Early()


def set_parameter_to_tensor(lib):
    lib.nn.Linear(1, 1).weight = lib.ones(1, 1)


def set_module_to_int(lib):
    net_ = lib.nn.Module()
    net_.child = lib.nn.ReLU()
    net_.child = 3


def set_buffer_to_int(lib):
    lib.nn.BatchNorm1d(2).running_mean = 3


def register_twice(lib):
    module = lib.nn.Linear(1, 1)
    module.register_buffer("weight", lib.ones(1))


def register_dot(lib):
    lib.nn.Module().register_parameter("a.b", None)


def register_module_dot(lib):
    lib.nn.Module().add_module("a.b", lib.nn.ReLU())


def register_empty(lib):
    lib.nn.Module().register_buffer("", lib.ones(1))


def register_not_string(lib):
    lib.nn.Module().add_module(3, lib.nn.ReLU())


def register_non_leaf(lib):
    module = lib.nn.Module()
    module.register_parameter("w", lib.nn.Parameter(lib.ones(1)) * 2)


def register_not_module(lib):
    lib.nn.Module().add_module("x", 3)


def attribute_missing(lib):
    return lib.nn.Linear(1, 1).foo


def init_arguments(lib):
    return lib.nn.Module(3)


def init_keywords(lib):
    return lib.nn.Module(foo=3)


def no_forward(lib):
    return lib.nn.Module()(1)


def deleted(lib):
    module = net(lib)
    del module[1]
    del module[0].bias
    return repr(module), names(module)


# ---- the tree ---
def tree(lib):
    module = net(lib)
    shared = lib.nn.Linear(1, 1)
    module.append(shared)
    module.append(shared)
    return (
        [n for n, _ in module.named_modules()],
        [n for n, _ in module.named_modules(remove_duplicate=False)],
        [n for n, _ in module.named_parameters(prefix="p", recurse=True, remove_duplicate=False)],
        [n for n, _ in module.named_children()],
        [n for n, _ in module.named_buffers()],
        len(list(module.children())),
        type(module.get_submodule("2.1")).__name__,
        tuple(module.get_parameter("2.1.bias").shape),
        tuple(module.get_buffer("1.running_var").shape),
        repr(module),
    )


def submodule_missing(lib):
    return net(lib).get_submodule("2.7")


def submodule_not_module(lib):
    return net(lib).get_submodule("0.weight")


def parameter_missing(lib):
    return net(lib).get_parameter("0.foo")


def parameter_not_one(lib):
    return net(lib).get_parameter("1.running_mean")


def buffer_not_one(lib):
    return net(lib).get_buffer("0.weight")


def set_submodule(lib):
    module = net(lib)
    module.set_submodule("2.1", lib.nn.Identity())
    return repr(module)


def set_submodule_strict(lib):
    net(lib).set_submodule("2.9", lib.nn.Identity(), strict=True)


def set_submodule_empty(lib):
    net(lib).set_submodule("", lib.nn.Identity())


def modes(lib):
    module = net(lib).eval()
    states = [m.training for m in module.modules()]
    module.train(True)
    module[1].eval()
    return states, [m.training for m in module.modules()]


def train_wrong(lib):
    return net(lib).train(3)


def gradients(lib):
    module = net(lib)
    module.requires_grad_(False)
    module[0].requires_grad_()
    flags = [p.requires_grad for p in module.parameters()]
    module(lib.ones(2, 2)).sum().backward()
    module.zero_grad(set_to_none=False)
    zeros = [None if p.grad is None else p.grad.sum().item() for p in module.parameters()]
    module.zero_grad()
    return flags, zeros, [p.grad for p in module.parameters()]


def conversions(lib):
    module = net(lib)
    kinds = []
    for convert in ("half", "bfloat16", "double", "float"):
        getattr(module, convert)()
        kinds.append([str(t.dtype).split(".")[1] for t in [*module.parameters(), *module.buffers()]])
    weight = module[0].weight
    module.to(lib.float64)
    kinds.append(weight is module[0].weight)
    kinds.append([str(t.dtype).split(".")[1] for t in module.to("cpu", lib.float32).buffers()])
    kinds.append([str(t.dtype).split(".")[1] for t in module.to(lib.ones(1, dtype=lib.float16)).buffers()])
    kinds.append(str(module.type(lib.float64)[0].weight.dtype).split(".")[1])
    kinds.append(tuple(module.to_empty(device="cpu")[0].weight.shape))
    return kinds


def to_integers(lib):
    net(lib).to(lib.int64)


def apply_order(lib):
    seen = []
    module = net(lib)
    assert module.apply(lambda m: seen.append(type(m).__name__)) is module
    return seen


def copies(lib):
    module = net(lib)
    module.tag = {"a": [1, 2]}
    module[0].weight.requires_grad_(False)
    tied = lib.nn.Sequential(module[0], module[0])
    twin = copy.deepcopy(tied)
    other = pickle.loads(pickle.dumps(module))
    shallow = copy.copy(module)
    return (
        twin[0] is twin[1], twin[0] is tied[0], other.tag, other[0].weight.requires_grad, repr(other), other[0].weight.tolist(),
        shallow[0] is module[0], shallow._modules is module._modules,
    )  # fmt: skip


def class_attributes(lib):
    class Net(lib.nn.Module):
        weight: lib.Tensor
        __constants__ = ["size"]
        __jit_unused_properties__ = ["doubled"]
        size: int

        def __init__(self, size: int, *, extra: str = "x") -> None:
            super().__init__()
            self.size = size
            self.weight = lib.nn.Parameter(lib.ones(size))
            self.blocks = lib.nn.ModuleList()

        @property
        def doubled(self):
            return self.weight * 2

        def extra_repr(self) -> str:
            return f"size={self.size}\nsecond line"

        def forward(self, x: lib.Tensor) -> lib.Tensor:
            return self.doubled * x

    module = Net(2)
    return repr(module), module(lib.ones(2)).tolist(), names(module), sorted(set(dir(module)) & {"weight", "blocks", "doubled", "size"})


def super_init(lib):
    class Mixin:
        def __init__(self, tag=None):
            self.tag = tag

    class Net(lib.nn.Module, Mixin):
        call_super_init = True

    return Net(tag=3).tag


# ---- subclasses that public programs define ---
def standardised_conv(lib):
    F = lib.nn.functional

    class StdConv2d(lib.nn.Conv2d):
        def forward(self, x):
            w = self.weight
            mean = w.mean(dim=(1, 2, 3), keepdim=True)
            w = (w - mean) / (w.var(dim=(1, 2, 3), keepdim=True, unbiased=False) + 1e-5).sqrt()
            return self._conv_forward(x, w, self.bias) + F.conv2d(x, w, self.bias, self.stride, self.padding, self.dilation, self.groups)

    module = StdConv2d(1, 2, 3, padding=1, padding_mode="reflect")
    with lib.no_grad():
        module.weight.copy_(lib.arange(18.0).reshape(2, 1, 3, 3))
        module.bias.zero_()
    out = module(lib.arange(16.0).reshape(1, 1, 4, 4))
    return repr(module), [round(v, 3) for v in out.flatten().tolist()], module._reversed_padding_repeated_twice


def same_padding_conv(lib):
    class Conv2dSame(lib.nn.Conv2d):
        def forward(self, x):
            h, w = x.size()[-2:]
            sizes = zip((h, w), self.stride, self.kernel_size, self.dilation, strict=True)
            pad = [max((-(-s // st) - 1) * st + (k - 1) * d + 1 - s, 0) for s, st, k, d in sizes]
            x = lib.nn.functional.pad(x, [pad[1] // 2, pad[1] - pad[1] // 2, pad[0] // 2, pad[0] - pad[0] // 2])
            return lib.nn.functional.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    return tuple(Conv2dSame(3, 4, 3, stride=2)(lib.ones(1, 3, 7, 8)).shape)


def own_conv_nd(lib):
    from importlib import import_module

    conv = import_module(f"{lib.__name__}.nn.modules.conv")
    pair = import_module(f"{lib.__name__}.nn.modules.utils")._pair

    class Mine(conv._ConvNd):
        def __init__(self, cin, cout, k):
            super().__init__(cin, cout, pair(k), pair(1), pair(0), pair(1), False, pair(0), 1, True, "zeros")

        def forward(self, x):
            return lib.nn.functional.conv2d(x, self.weight, self.bias)

    return repr(Mine(2, 3, 3)), tuple(Mine(2, 3, 3)(lib.ones(1, 2, 5, 5)).shape)


def frozen_batchnorm(lib):
    class Frozen(lib.nn.modules.batchnorm._BatchNorm):
        def _check_input_dim(self, input):
            if input.dim() != 4:
                raise ValueError(f"expected 4D input (got {input.dim()}D input)")

        def train(self, mode=True):
            return super().train(False)

    module = Frozen(2).train()
    module(lib.ones(2, 2, 3, 3))
    is_one = isinstance(lib.nn.BatchNorm2d(1), lib.nn.modules.batchnorm._BatchNorm)
    return repr(module), module.training, module.num_batches_tracked.item(), is_one


def own_lstm(lib):
    class LockedLSTM(lib.nn.LSTM):
        def __init__(self, *args, dropouti: float = 0.0, **kwargs):
            super().__init__(*args, **kwargs)
            self.dropouti = dropouti

        def reset_parameters(self):
            super().reset_parameters()
            for name, p in self.named_parameters():
                if "bias" in name:
                    lib.nn.init.zeros_(p)

        def forward(self, x, hx=None):
            out, state = super().forward(x, hx)
            return out * 2, state

    module = LockedLSTM(2, 3, batch_first=True, dropouti=0.1)
    out, (h, c) = module(lib.zeros(1, 4, 2))
    module.flatten_parameters()
    return repr(module), out.tolist(), tuple(h.shape), names(module), [len(w) for w in module.all_weights]


def lora_linear(lib):
    class Lora(lib.nn.Linear):
        def __init__(self, i, o, r=2, **kwargs):
            lib.nn.Linear.__init__(self, i, o, **kwargs)
            self.lora_A = lib.nn.Parameter(self.weight.new_zeros((r, i)))
            self.lora_B = lib.nn.Parameter(self.weight.new_zeros((o, r)))
            self.weight.requires_grad = False

        def reset_parameters(self):
            lib.nn.Linear.reset_parameters(self)
            if hasattr(self, "lora_A"):
                lib.nn.init.kaiming_uniform_(self.lora_A, a=5**0.5)

        def forward(self, x):
            return lib.nn.functional.linear(x, self.weight, bias=self.bias) + (x @ self.lora_A.transpose(0, 1) @ self.lora_B.T)

    module = Lora(3, 2)
    return repr(module), names(module), [p.requires_grad for p in module.parameters()], tuple(module(lib.ones(1, 3)).shape)


def weight_loss(lib):
    class Focal(lib.nn.modules.loss._WeightedLoss):
        def __init__(self, weight=None, reduction="mean"):
            super().__init__(weight, reduction=reduction)

        def forward(self, x, y):
            return lib.nn.functional.cross_entropy(x, y, weight=self.weight, reduction=self.reduction)

    module = Focal(lib.tensor([1.0, 2.0]))
    return list(module.state_dict()), module.reduction, round(module(lib.zeros(2, 2), lib.tensor([0, 1])).item(), 4)
