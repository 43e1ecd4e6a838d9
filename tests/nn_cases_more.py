"""More cases for the table of nn_cases.py: recurrent layers, Transformers, lazy modules, containers and wrappers."""

from __future__ import annotations

from typing import Any

import torch


def _seq(lib: Any) -> Any:
    return lib.nn.Sequential(lib.nn.Linear(6, 4), lib.nn.Tanh(), lib.nn.Linear(4, 3))


def _named(lib: Any) -> Any:
    from collections import OrderedDict

    return lib.nn.Sequential(OrderedDict([("first", lib.nn.Linear(6, 4)), ("norm", lib.nn.BatchNorm1d(4)), ("act", lib.nn.ReLU())]))


def _list(lib: Any) -> Any:
    return lib.nn.ModuleList([lib.nn.Linear(6, 6) for _ in range(3)] + [lib.nn.ReLU()])


def _dict(lib: Any) -> Any:
    return lib.nn.ModuleDict({"b": lib.nn.Linear(6, 6), "a": lib.nn.Linear(6, 2)})


def _parameter_list(lib: Any) -> Any:
    return lib.nn.ParameterList([lib.ones(6), lib.nn.Parameter(lib.zeros(4, 1))])


def _parameter_dict(lib: Any) -> Any:
    return lib.nn.ParameterDict({"w": lib.ones(6), "b": lib.nn.Parameter(lib.zeros(4, 1))})


def _chain(module: Any, lib: Any, x: Any) -> Any:
    for child in module.children():
        x = child(x)
    return x


def _sum(module: Any, lib: Any, x: Any) -> Any:
    for parameter in module.parameters():
        x = x * parameter + parameter
    return x


def _data_parallel(lib: Any) -> Any:
    return lib.nn.DataParallel(_seq(lib))


def _sync(lib: Any) -> Any:
    return lib.nn.SyncBatchNorm.convert_sync_batchnorm(_named(lib))


def _lazy(name: str, shape: tuple[int, ...], *args: Any, **kwargs: Any) -> Any:
    def build(lib: Any) -> Any:
        module = getattr(lib.nn, name)(*args, **kwargs)
        module(lib.ones(shape))
        if hasattr(module, "reset_running_stats"):
            module.reset_running_stats()
        return module

    build.__name__ = f"initialised{list(shape)}"
    return build


def _with_state(module: Any, lib: Any, x: Any, *state: Any) -> Any:
    return module(x, state if len(state) > 1 else state[0])


def _packed(module: Any, lib: Any, x: Any, *state: Any) -> Any:
    rnn = lib.nn.utils.rnn
    packed = rnn.pack_padded_sequence(x, [3, 5, 1, 3], batch_first=module.batch_first, enforce_sorted=False)
    out, last = module(packed, *([state if len(state) > 1 else state[0]] if state else []))
    assert isinstance(out, rnn.PackedSequence)
    return rnn.pad_packed_sequence(out, batch_first=module.batch_first), last


def _recurrent(add: Any) -> None:
    for name in ("RNN", "LSTM", "GRU"):
        sequence, two = ((5, 4, 3),), name == "LSTM"
        state = ((4, 4, 6),) * (1 + two)
        add(name, 3, 6, x=sequence)
        add(name, 3, 6, 2, bias=False, batch_first=True, x=((4, 5, 3),))
        add(name, 3, 6, x=((5, 3),))
        add(name, input_size=3, hidden_size=6, num_layers=2, bidirectional=True, x=(*sequence, *state), call=_with_state)
        add(name, 3, 6, x=sequence, call=_packed)
        add(name, 3, 6, 2, batch_first=True, bidirectional=True, x=((4, 5, 3), *state), call=_packed)
        add(name, 3, 6, 2, dropout=0.5, x=sequence, training=False)
    add("RNN", 3, 6, nonlinearity="relu", x=((5, 4, 3),))
    add("LSTM", 3, 6, 2, bidirectional=True, proj_size=2, x=((5, 4, 3),))
    add("LSTM", 3, 6, 2, bidirectional=True, proj_size=2, x=((5, 4, 3),), call=_packed)
    add("GRUCell", 3, 4, x=((2, 3), (2, 4)))
    add("LSTMCell", 3, 4, x=((2, 3), (2, 4), (2, 4)), call=_with_state)


def _padded(module: Any, lib: Any, src: Any, *rest: Any) -> Any:
    hidden = lib.tensor([[False, False, False, True], [False, True, True, True]])
    causal = lib.nn.Transformer.generate_square_subsequent_mask(4)
    if "Encoder" in type(module).__name__:
        key = "src_mask" if type(module).__name__.endswith("Layer") else "mask"
        causal = causal == -float("inf")
        return module(src, **{key: causal}, src_key_padding_mask=hidden)
    name = "memory" if "Decoder" in type(module).__name__ else "src"
    return module(src, *rest, tgt_mask=causal == -float("inf"), tgt_is_causal=True, **{f"{name}_key_padding_mask": hidden})


def _encoder(lib: Any) -> Any:
    layer = lib.nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)
    return lib.nn.TransformerEncoder(layer, 2, norm=lib.nn.LayerNorm(8))


def _decoder(lib: Any) -> Any:
    return lib.nn.TransformerDecoder(lib.nn.TransformerDecoderLayer(8, 2, 12, dropout=0.0, batch_first=True), 2)


def _only_padding(module: Any, lib: Any, src: Any) -> Any:
    with lib.no_grad():  # PyTorch's packed inference path: padded steps come out as zeros
        return module(src, src_key_padding_mask=lib.tensor([[False, False, False, True], [False, True, True, True]]))


def _transformers(add: Any) -> None:
    one, two = ((2, 4, 8),), ((2, 4, 8), (2, 4, 8))
    for options in ({}, {"norm_first": True}, {"activation": "gelu", "bias": False}, {"batch_first": True, "layer_norm_eps": 1e-3}):
        add("TransformerEncoderLayer", 8, 2, 12, dropout=0.0, x=one, **options)
        add("TransformerDecoderLayer", 8, 2, 12, dropout=0.0, x=two, **options)
        add("Transformer", 8, 2, 1, 2, 12, dropout=0.0, x=two, **options)
    for name, x in (("TransformerEncoderLayer", one), ("TransformerDecoderLayer", two), ("TransformerEncoderLayer", ((4, 8),))):
        call = None if len(x[0]) == 2 else _padded
        add(name, 8, 2, 12, 0.0, batch_first=True, x=x, call=call)
    add("Transformer", 8, 2, 1, 1, 12, 0.0, batch_first=True, x=two, call=_padded)
    add("TransformerEncoderLayer", 8, 2, 12, x=one, training=False)
    for build, x in ((_encoder, one), (_decoder, two)):
        name = f"Transformer{build.__name__[1:].title()}"
        add(name, build=build, x=x)
        add(name, build=build, x=x, call=_padded)
    add("TransformerEncoder", build=_encoder, x=one, call=_only_padding, training=False)


def _masked(module: Any, lib: Any, q: Any, k: Any, v: Any) -> Any:
    causal = lib.ones(5, 5, dtype=lib.bool).triu(1)
    hidden = lib.tensor([[False] * 4 + [True], [False] * 5])
    first = module(q, k, v, attn_mask=causal, key_padding_mask=hidden, average_attn_weights=False)
    return first, module(q, k, v, attn_mask=causal, need_weights=False, is_causal=True)[0]


def _unpool(module: Any, lib: Any, x: Any) -> Any:
    dims = len(module.kernel_size)
    pooled, indices = getattr(lib.nn.functional, f"max_pool{dims}d")(x, 2, return_indices=True)
    return module(pooled, indices)


def _predict(module: Any, lib: Any, x: Any) -> Any:
    target = lib.tensor([0, 3, 4, 19, 11, 2])
    return tuple(module(x, target)), module.log_prob(x), module.predict(x)


def _ctc(module: Any, lib: Any, x: Any) -> Any:
    targets = lib.tensor([[1, 2, 2, 3], [3, 1, 4, 1]])
    return module(x.log_softmax(2), targets, lib.tensor([8, 6]), lib.tensor([4, 2]))


def _fixed_samples(module: Any, lib: Any, x: Any) -> Any:
    name = "fractional_max_pool2d" if x.dim() == 4 else "fractional_max_pool3d"
    samples = lib.tensor([[[0.2, 0.7, 0.4][: x.dim() - 2]] * 3] * 2)
    return getattr(lib.nn.functional, name)(x, module.kernel_size, module.output_size, _random_samples=samples)


def _lazies(add: Any) -> None:
    add("LazyLinear", build=_lazy("LazyLinear", (4, 6), 5))
    add("LazyLinear", build=_lazy("LazyLinear", (4, 6), 5, bias=False))
    for dims in (1, 2, 3):
        shape = (2, 4, 7, 6, 5)[: dims + 2]
        add(f"LazyConv{dims}d", build=_lazy(f"LazyConv{dims}d", shape, 6, 3, padding=1, groups=2), x=(shape,))
        add(f"LazyConvTranspose{dims}d", build=_lazy(f"LazyConvTranspose{dims}d", shape, 6, 3, stride=2), x=(shape,))
        add(f"LazyBatchNorm{dims}d", build=_lazy(f"LazyBatchNorm{dims}d", shape), x=(shape,))
        add(f"LazyInstanceNorm{dims}d", build=_lazy(f"LazyInstanceNorm{dims}d", shape), x=(shape,))


def more_cases() -> list[Any]:
    """The cases of this file."""
    from nn_cases import Case

    cases: list[Any] = []

    def add(name: str, *args: Any, **kwargs: Any) -> None:
        cases.append(Case(name, *args, **kwargs))

    _recurrent(add)
    _transformers(add)
    _lazies(add)
    for build, name in ((_seq, "Sequential"), (_named, "Sequential"), (_data_parallel, "DataParallel"), (_sync, "SyncBatchNorm")):
        add(name, build=build)
    for build, name in ((_list, "ModuleList"), (_dict, "ModuleDict")):
        add(name, build=build, call=_chain)
    for build, name in ((_parameter_list, "ParameterList"), (_parameter_dict, "ParameterDict")):
        add(name, build=build, call=_sum)
    add("SyncBatchNorm", 6)
    add("SyncBatchNorm", 6, x=((4, 6, 3, 2),), training=False)
    attended = ((5, 2, 8),) * 3
    for options in ({}, {"add_bias_kv": True}, {"add_zero_attn": True}, {"bias": False}):
        add("MultiheadAttention", 8, 2, x=attended, call=_masked, **options)
    for dims in (1, 2, 3):
        add(f"MaxUnpool{dims}d", 2, x=((2, 3, 6, 4, 4)[: dims + 2],), call=_unpool)
    add("AdaptiveLogSoftmaxWithLoss", 8, 20, [4, 10], div_value=2.0, x=((6, 8),), call=_predict)
    add("AdaptiveLogSoftmaxWithLoss", 8, 20, [4, 10], head_bias=True, x=((6, 8),), call=_predict)
    for reduction in ("mean", "sum", "none"):
        add("CTCLoss", reduction=reduction, zero_infinity=True, x=((8, 2, 5),), call=_ctc)
        target = torch.tensor([0, 4, 2])
        add("LinearCrossEntropyLoss", 6, 5, bias=True, reduction=reduction, x=((3, 6), target))
    add("LinearCrossEntropyLoss", 6, 5, out_features=(2,), label_smoothing=0.1, x=((3, 6), torch.tensor([[0, 1], [4, 2], [3, 3]])))
    add("FractionalMaxPool2d", 2, output_size=(3, 2), x=((2, 3, 7, 6),), call=_fixed_samples)
    add("FractionalMaxPool3d", 2, output_size=(3, 2, 2), x=((2, 3, 7, 6, 5),), call=_fixed_samples)
    return cases
