"""autocast on the device: the dtypes of PyTorch's published lists for CUDA (torch.amp, "CUDA Ops that can autocast to ..."), which differ
from those for the CPU; the rest of autocast is tests/test_amp.py, which runs with --device cuda."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import minigrad as mg
from minigrad import nn

F = nn.functional
# Inputs are float32 unless `.half()` is written; x is (2, 3, 8, 8).
LOWER: dict[str, Callable[[Any], Any]] = {
    "matmul": lambda x: x @ x,
    "mm": lambda x: x[0, 0].mm(x[0, 0]),
    "mv": lambda x: x[0, 0].mv(x[0, 0, 0]),
    "addmm": lambda x: mg.addmm(x[0, 0], x[0, 0], x[0, 0]),
    "linear": lambda x: nn.Linear(8, 4)(x),
    "conv2d": lambda x: nn.Conv2d(3, 4, 3)(x),
    "conv_transpose2d": lambda x: nn.ConvTranspose2d(3, 4, 3)(x),
    "prelu": lambda x: nn.PReLU()(x),
    "lstm_cell": lambda x: nn.LSTMCell(8, 4)(x[0, 0])[0],
    "gru": lambda x: nn.GRU(8, 4)(x[0])[0],
    "sdpa": lambda x: F.scaled_dot_product_attention(x, x, x),
    "einsum": lambda x: mg.einsum("bchw,bcwv->bchv", x, x),
}
FLOAT32: dict[str, Callable[[Any], Any]] = {
    "softmax": lambda x: x.half().softmax(-1),
    "log_softmax": lambda x: x.half().log_softmax(-1),
    "layer_norm": lambda x: nn.LayerNorm(8)(x.half()),
    "group_norm": lambda x: nn.GroupNorm(1, 3)(x.half()),
    "sum": lambda x: x.half().sum(),
    "prod": lambda x: x.half().prod(),
    "cumsum": lambda x: x.half().cumsum(-1),
    "exp": lambda x: x.half().exp(),
    "pow": lambda x: x.half() ** 2,
    "rsqrt": lambda x: x.half().abs().rsqrt(),
    "norm": lambda x: x.half().norm(),
    "cross_entropy": lambda x: F.cross_entropy(x[0, 0].half(), mg.zeros(8, dtype=mg.int64, device="cuda")),
    "mse": lambda x: F.mse_loss(x.half(), x.half() * 2),
    "cosine": lambda x: F.cosine_similarity(x.half(), x.half()),
    "cdist": lambda x: mg.cdist(x.half(), x.half()),
}
AS_THEY_COME: dict[str, tuple[Callable[[Any], Any], str]] = {
    "relu of half": (lambda x: x.half().relu(), "float16"),
    "add": (lambda x: x.half() + x.half(), "float16"),
    "max_pool": (lambda x: F.max_pool2d(x.half(), 2), "float16"),
    "cat promotes": (lambda x: mg.cat([x, x.half()]), "float32"),
    "addcmul promotes": (lambda x: mg.addcmul(x, x.half(), x), "float32"),
    "float64": (lambda x: x.double() @ x.double(), "float64"),
    "int32": (lambda x: x.int() + x.int(), "int32"),
}
CASES = [(name, call, None) for name, call in LOWER.items()]
CASES += [(name, call, "float32") for name, call in FLOAT32.items()]
CASES += [(name, call, dtype) for name, (call, dtype) in AS_THEY_COME.items()]


@pytest.mark.parametrize("region", ("float16", "bfloat16"))
@pytest.mark.parametrize(("name", "call", "dtype"), CASES, ids=[name for name, _, _ in CASES])
def test_dtype_of_results(name: str, call: Callable[[Any], Any], dtype: str | None, region: str) -> None:
    x = mg.randn(2, 3, 8, 8)
    with mg.device("cuda"), mg.autocast("cuda", dtype=getattr(mg, region)):
        out = call(x.cuda())
    assert out.device.type == "cuda"
    assert str(out.dtype).rpartition(".")[2] == (dtype or region)


def test_regions_of_the_other_device_do_nothing() -> None:
    x = mg.ones(2, 2)
    with mg.autocast("cuda"):
        assert (x @ x).dtype == mg.float32 and (x.cuda() @ x.cuda()).dtype == mg.float16
    with mg.autocast("cpu"):
        assert (x @ x).dtype == mg.bfloat16 and (x.cuda() @ x.cuda()).dtype == mg.float32


def test_training_with_a_scaler() -> None:
    mg.manual_seed(0)
    with mg.device("cuda"):
        model = nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 1))
        x = mg.randn(32, 8)
        y = x.sum(1, keepdim=True)
    optimizer, scaler = mg.optim.AdamW(model.parameters(), lr=0.02), mg.amp.GradScaler("cuda")
    losses = []
    for _ in range(25):
        with mg.autocast("cuda"):
            loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0] and all(p.grad.dtype == mg.float32 for p in model.parameters())
