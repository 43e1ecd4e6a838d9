"""One table of modules and losses with arguments and inputs; the tests of test_nn_modules run over it."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from twins import module_pair, pair_of  # noqa: E402


class Case:
    """A module class by name, its arguments and the inputs of one call.

    Inputs: shapes are drawn from N(0, 1) and take gradients; tensors are used as they are, without gradients.
    build: function of the library (minigrad or torch) that makes the module, where arguments alone do not.
    call: function of (module, library, *inputs) where `module(*inputs)` is not the call.
    """

    def __init__(
        self, name: str, *args: Any, x: Any = ((4, 6),), training: bool = True, build: Any = None, call: Any = None, **kwargs: Any
    ) -> None:
        self.name, self.args, self.kwargs, self.training = name, args, kwargs, training
        self.x, self.build, self.call = x, build, call

    def pair(self) -> tuple[Any, Any]:
        """Our module and torch's with equal weights."""
        return pair_of(self.build) if self.build else module_pair(self.name, *self.args, **self.kwargs)

    def run(self, module: Any, library: Any, *inputs: Any) -> Any:
        """Call the module."""
        return self.call(module, library, *inputs) if self.call else module(*inputs)

    def __repr__(self) -> str:
        def show(value: Any) -> str:
            return f"tensor{tuple(value.shape)}" if isinstance(value, torch.Tensor) else repr(value)

        options = [show(a) for a in self.args] + [f"{k}={show(v)}" for k, v in self.kwargs.items()]
        options += [getattr(f, "__name__", "?") for f in (self.build, self.call) if f]
        shapes = [show(x) for x in self.x] + ([] if self.training else ["eval"])
        return f"{self.name}({', '.join(options)})-{'-'.join(shapes)}".replace(" ", "")

    def inputs(self) -> list[tuple[Any, bool]]:
        """(tensor, takes a gradient) of each input."""
        generator = torch.Generator().manual_seed(5)
        made = []
        for x in self.x:
            if isinstance(x, torch.Tensor):
                made.append((x.clone(), False))
            else:
                made.append((torch.randn(x, generator=generator), True))
        return made


def _table() -> list[Case]:
    cases = []

    def add(name: str, *args: Any, **kwargs: Any) -> None:
        cases.append(Case(name, *args, **kwargs))

    add("Identity")
    add("Linear", 6, 5)
    add("Linear", 6, 5, bias=False, x=((2, 3, 6),))
    add("Linear", 6, 5, x=((6,),))
    add("Bilinear", 3, 4, 5, x=((2, 7, 3), (2, 7, 4)))
    add("Bilinear", 3, 4, 5, bias=False, x=((2, 3), (2, 4)))
    add("Flatten", x=((2, 3, 4),))
    add("Flatten", 0, 1, x=((2, 3, 4),))
    add("Unflatten", 1, (2, 3))
    add("Unflatten", 1, (2, -1))
    for options in (
        {}, {"padding": 1}, {"stride": 2, "padding": (1, 0)}, {"dilation": 2}, {"groups": 2}, {"bias": False},
        {"padding": "same"}, {"padding": "same", "dilation": 2}, {"padding": "valid"},
        {"padding": 1, "padding_mode": "reflect"}, {"padding": 1, "padding_mode": "replicate"},
        {"padding": (2, 1), "padding_mode": "circular"},
    ):  # fmt: skip
        add("Conv2d", 4, 6, 3, x=((2, 4, 8, 7),), **options)
    add("Conv2d", 4, 6, (2, 4), padding="same", x=((2, 4, 8, 7),))
    add("Conv2d", 4, 4, 3, groups=4, x=((2, 4, 8, 7),))
    add("Conv2d", 4, 6, 1, x=((4, 8, 7),))
    circular = {"padding": 2, "padding_mode": "circular"}
    for options in ({}, {"padding": "same"}, {"stride": 2, "padding": 1, "groups": 2}, circular):
        add("Conv1d", 4, 6, 3, x=((2, 4, 9),), **options)
    add("ConvTranspose1d", 4, 6, 3, stride=2, x=((2, 4, 5),))
    strided = {"stride": 2, "padding": 1, "output_padding": 1}
    for options in ({}, strided, {"groups": 2, "bias": False}, {"dilation": 2}):
        add("ConvTranspose2d", 4, 6, 3, x=((2, 4, 5, 4),), **options)
    for name in ("ConstantPad", "ZeroPad", "ReflectionPad", "ReplicationPad", "CircularPad"):
        value = (1.5,) if name == "ConstantPad" else ()
        for dims in (1, 2, 3):
            add(f"{name}{dims}d", 1, *value, x=((2, 3, 4, 3, 5)[: dims + 2],))
        add(f"{name}2d", (1, 2, 0, 1), *value, x=((2, 3, 4, 3),))
    add("MaxPool1d", 3, 2, 1, x=((2, 3, 9),))
    add("AvgPool1d", 3, 2, 1, x=((2, 3, 9),))
    add("AdaptiveAvgPool1d", 4, x=((2, 3, 9),))
    add("AdaptiveMaxPool1d", 4, x=((2, 3, 9),))
    add("AdaptiveMaxPool2d", (3, None), x=((2, 3, 7, 4),))
    add("MaxPool2d", 2, return_indices=True, x=((2, 3, 6, 4),))
    for args in ((2,), (3, 2), (3, 2, 1), ((2, 3), (1, 2))):
        add("MaxPool2d", *args, x=((2, 3, 9, 8),))
        add("AvgPool2d", *args, x=((2, 3, 9, 8),))
    image = ((2, 3, 5, 4),)
    for options in ({"size": (7, 3)}, {"scale_factor": 2.0, "mode": "bilinear"}, {"scale_factor": (1.5, 2.0), "mode": "bicubic"}):
        add("Upsample", x=image, **options)
    add("UpsamplingNearest2d", scale_factor=2, x=image)
    add("UpsamplingBilinear2d", size=(7, 3), x=image)
    add("Unfold", (2, 3), padding=1, stride=(1, 2), x=image)
    add("Fold", (5, 4), 2, x=((2, 12, 12),))
    bags = torch.tensor([[1, 2, 4], [4, 3, 9]])
    for options in ({"mode": "sum"}, {"padding_idx": 4}, {"mode": "max"}):
        add("EmbeddingBag", 10, 3, x=(bags,), **options)
    for name in ("RNNCell", "LSTMCell", "GRUCell"):
        add(name, 3, 4, x=((2, 3),))
        add(name, 3, 4, bias=False, x=((3,),))
    add("RNNCell", 3, 4, nonlinearity="relu", x=((2, 3),))
    sequence = ((5, 2, 8), (5, 2, 8), (5, 2, 8))
    for options in ({}, {"bias": False}, {"add_bias_kv": True, "add_zero_attn": True}, {"batch_first": True}):
        add("MultiheadAttention", 8, 2, x=sequence, **options)
    add("MultiheadAttention", 8, 2, kdim=6, vdim=4, x=((5, 2, 8), (3, 2, 6), (3, 2, 4)))
    volume = ((2, 4, 5, 6, 4),)
    for options in ({}, {"stride": 2, "padding": 1, "groups": 2}, {"padding": "same"}, {"padding": 1, "padding_mode": "replicate"}):
        add("Conv3d", 4, 6, 3, x=volume, **options)
    for options in ({}, strided):
        add("ConvTranspose3d", 4, 6, 3, x=volume, **options)
    for name, args in (("MaxPool", (2,)), ("AvgPool", (3, 2, 1)), ("AdaptiveAvgPool", (2,)), ("AdaptiveMaxPool", (2,))):
        add(f"{name}3d", *args, x=volume)
    for dims in (1, 2, 3):
        add(f"LPPool{dims}d", 3, 2, x=((2, 3, 6, 5, 4)[: dims + 2],))
    add("AvgPool3d", 2, divisor_override=3, x=volume)
    add("MaxPool2d", 2, dilation=2, x=((2, 3, 9, 8),))
    add("MaxPool2d", 2, ceil_mode=True, x=((2, 3, 9, 7),))
    add("MaxPool2d", 2, x=((3, 9, 7),))
    add("AvgPool2d", 2, ceil_mode=True, x=((2, 3, 9, 7),))
    add("AvgPool2d", 3, 2, 1, count_include_pad=False, x=((2, 3, 9, 7),))
    add("AvgPool2d", 2, divisor_override=3, x=((2, 3, 8, 8),))
    for size in (1, 3, (2, 3), (None, 2)):
        add("AdaptiveAvgPool2d", size, x=((2, 3, 7, 9),))
    add("BatchNorm1d", 6)
    add("BatchNorm1d", 6, x=((4, 6, 5),))
    add("BatchNorm1d", 6, training=False)
    add("BatchNorm1d", 6, affine=False)
    add("BatchNorm1d", 6, track_running_stats=False)
    add("BatchNorm1d", 6, track_running_stats=False, training=False)
    add("BatchNorm1d", 6, momentum=None)
    add("BatchNorm2d", 3, eps=1e-3, momentum=0.3, x=((4, 3, 5, 6),))
    add("BatchNorm2d", 3, x=((4, 3, 5, 6),), training=False)
    add("BatchNorm3d", 3, x=((2, 3, 4, 3, 2),))
    add("InstanceNorm1d", 3, x=((2, 3, 5),))
    add("InstanceNorm2d", 3, affine=True, track_running_stats=True, x=((2, 3, 5, 4),))
    add("InstanceNorm2d", 3, affine=True, track_running_stats=True, x=((2, 3, 5, 4),), training=False)
    add("InstanceNorm3d", 3, affine=True, x=((2, 3, 2, 3, 4),))
    add("LayerNorm", 6)
    add("LayerNorm", (3, 6), eps=1e-2, x=((4, 3, 6),))
    add("LayerNorm", 6, bias=False)
    add("LayerNorm", 6, elementwise_affine=False)
    add("GroupNorm", 2, 6)
    add("GroupNorm", 3, 6, x=((2, 6, 4, 5),))
    add("GroupNorm", 3, 6, affine=False, x=((2, 6, 4),))
    add("RMSNorm", 6)
    add("RMSNorm", (3, 6), eps=1e-3, x=((4, 3, 6),))
    add("RMSNorm", 6, elementwise_affine=False)
    add("LocalResponseNorm", 3, x=((2, 6, 4, 3),))
    add("LocalResponseNorm", 2, alpha=0.1, beta=0.5, k=2.0, x=((2, 6, 4),))
    for name in ("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"):
        shape = {"Dropout1d": (2, 3, 4), "Dropout2d": (2, 3, 4, 4), "Dropout3d": (2, 3, 2, 2, 2)}.get(name, (4, 6))
        add(name, 0.3, x=(shape,), training=False)
    add("Embedding", 7, 3, x=(torch.tensor([[0, 6, 2], [2, 2, 1]]),))
    add("Embedding", 7, 3, padding_idx=2, x=(torch.tensor([0, 6, 2, 2]),))
    add("Embedding", 7, 3, padding_idx=-1, scale_grad_by_freq=True, x=(torch.tensor([0, 6, 2, 2]),))
    add("Embedding", 7, 3, max_norm=0.5, x=(torch.tensor([[0, 6, 2]]),))
    add("CosineSimilarity", x=((4, 6), (4, 6)))
    add("CosineSimilarity", dim=-1, eps=1e-3, x=((4, 6), (1, 6)))
    add("PairwiseDistance", x=((4, 6), (4, 6)))
    add("PairwiseDistance", p=1, keepdim=True, x=((4, 6), (4, 6)))
    add("PixelShuffle", 2, x=((2, 8, 3, 4),))
    add("PixelUnshuffle", 2, x=((2, 3, 4, 6),))
    add("ChannelShuffle", 3, x=((2, 6, 4, 3),))
    _activations(add)
    return cases


def _activations(add: Any) -> None:
    for name in (
        "ReLU", "ReLU6", "SELU", "SiLU", "Mish", "Hardswish", "Hardsigmoid", "Sigmoid", "Tanh", "LogSigmoid",
        "Softsign", "Tanhshrink", "ELU", "CELU", "GELU", "LeakyReLU", "Hardtanh", "Softplus", "Hardshrink",
        "Softshrink", "GLU", "PReLU",
    ):  # fmt: skip
        add(name)
    add("ELU", 0.7)
    add("CELU", alpha=0.7)
    add("GELU", "tanh")
    add("LeakyReLU", 0.2)
    add("RReLU", training=False)
    add("Hardtanh", -0.5, 0.7)
    add("Softplus", 2.0, 0.5)
    add("Hardshrink", 0.3)
    add("Softshrink", 0.3)
    add("Threshold", 0.1, 20.0)
    add("GLU", 0)
    add("PReLU", 6, 0.1)
    add("PReLU", 3, x=((2, 3, 4, 4),))
    for name in ("Softmax", "Softmin", "LogSoftmax"):
        add(name, 1)
        add(name, -2, x=((2, 3, 4),))
    add("Softmax2d", x=((2, 3, 4, 5),))


def _loss_table() -> list[Case]:
    cases = []
    uniform = torch.Generator().manual_seed(9)
    probabilities = torch.rand(4, 6, generator=uniform).clamp(0.05, 0.95)
    target = torch.randn(4, 6, generator=uniform)
    signs = torch.where(torch.rand(4, 6, generator=uniform) > 0.5, 1.0, -1.0)
    classes = torch.tensor([0, 5, 2, 2])
    weights = torch.rand(6, generator=uniform) + 0.1
    planes = torch.randint(0, 6, (4, 3, 2), generator=uniform)

    def add(name: str, *args: Any, **kwargs: Any) -> None:
        for reduction in ("mean", "sum", "none"):
            cases.append(Case(name, *args, reduction=reduction, **kwargs))

    add("L1Loss", x=((4, 6), target))
    add("MSELoss", x=((4, 6), target))
    add("MSELoss", x=((4, 6), (4, 6)))
    add("SmoothL1Loss", x=((4, 6), target))
    add("SmoothL1Loss", beta=0.5, x=((4, 6), target))
    add("SmoothL1Loss", beta=0.0, x=((4, 6), target))
    add("HuberLoss", delta=0.7, x=((4, 6), target))
    add("CrossEntropyLoss", x=((4, 6), classes))
    add("CrossEntropyLoss", x=((6,), torch.tensor(3)))
    add("CrossEntropyLoss", weights, ignore_index=2, x=((4, 6), classes))
    add("CrossEntropyLoss", label_smoothing=0.1, x=((4, 6), classes))
    add("CrossEntropyLoss", weights, label_smoothing=0.1, x=((4, 6, 3, 2), planes))
    add("CrossEntropyLoss", x=((4, 6), probabilities / probabilities.sum(1, keepdim=True)))
    add("NLLLoss", x=((4, 6), classes))
    add("NLLLoss", weights, ignore_index=5, x=((4, 6, 3, 2), planes))
    add("BCEWithLogitsLoss", x=((4, 6), probabilities))
    add("BCEWithLogitsLoss", weights, pos_weight=weights + 1, x=((4, 6), probabilities))
    add("KLDivLoss", x=((4, 6), probabilities))
    add("KLDivLoss", log_target=True, x=((4, 6), probabilities.log()))
    cases.append(Case("KLDivLoss", reduction="batchmean", x=((4, 6), probabilities)))
    add("PoissonNLLLoss", x=((4, 6), probabilities * 5))
    add("PoissonNLLLoss", full=True, x=((4, 6), probabilities * 5))
    add("GaussianNLLLoss", x=((4, 6), target, probabilities))
    add("GaussianNLLLoss", full=True, x=((4, 6), target, probabilities[:, :1]))
    add("HingeEmbeddingLoss", x=((4, 6), signs))
    add("MarginRankingLoss", margin=0.3, x=((4, 6), (4, 6), signs))
    add("SoftMarginLoss", x=((4, 6), signs))
    add("CosineEmbeddingLoss", margin=0.1, x=((4, 6), (4, 6), signs[:, 0]))
    add("TripletMarginLoss", x=((4, 6), (4, 6), (4, 6)))
    add("TripletMarginLoss", swap=True, p=1.0, x=((4, 6), (4, 6), (4, 6)))
    add("TripletMarginWithDistanceLoss", margin=0.5, x=((4, 6), (4, 6), (4, 6)))
    add("MultiMarginLoss", x=((4, 6), classes))
    add("MultiMarginLoss", p=2, margin=0.5, weight=weights, x=((4, 6), classes))
    add("MultiLabelMarginLoss", x=((2, 4), torch.tensor([[3, 0, -1, 1], [1, -1, 0, 2]])))
    add("MultiLabelSoftMarginLoss", weights, x=((4, 6), (signs + 1) / 2))
    return cases


from nn_cases_more import more_cases  # noqa: E402  needs Case

MODULES = _table() + more_cases()
LOSSES = _loss_table()
PROBABILITY_LOSSES = [
    Case("BCELoss", *args, reduction=reduction)
    for args in ((), (torch.tensor([0.5, 1.5, 1.0]),))
    for reduction in ("mean", "sum", "none")
]
