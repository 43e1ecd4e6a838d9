"""Transformers and other sequence models."""

from __future__ import annotations

from typing import Any

from cases import floats, ints, model, program


@model("x_transformers", "einops")
def x_transformers_decoder() -> Any:
    from x_transformers import Decoder, TransformerWrapper

    net = TransformerWrapper(
        num_tokens=20,
        max_seq_len=16,
        attn_layers=Decoder(dim=32, depth=2, heads=2, rotary_pos_emb=True, ff_glu=True, use_rmsnorm=True),
    )
    return net, (ints(20, 2, 12),)


@model("x_transformers", "einops")
def x_transformers_encoder() -> Any:
    from x_transformers import Encoder, TransformerWrapper

    return TransformerWrapper(
        num_tokens=20, max_seq_len=16, attn_layers=Encoder(dim=32, depth=2, heads=2, alibi_pos_bias=True)
    ), (ints(20, 2, 12),)


@model("rotary_embedding_torch", "einops")
def rotary() -> Any:
    from rotary_embedding_torch import RotaryEmbedding

    return RotaryEmbedding(dim=8), (floats(1, 2, 6, 16),), lambda m, x: m.rotate_queries_or_keys(x.requires_grad_())


@model("local_attention", "einops")
def local_attention() -> Any:
    from local_attention import LocalTransformer

    net = LocalTransformer(
        num_tokens=20, dim=32, depth=2, max_seq_len=32, causal=True, local_attn_window_size=8, heads=2, dim_head=16
    )
    return net.eval(), (ints(20, 1, 16),)


@model("performer_pytorch", "einops", "local_attention", "axial_positional_embedding")
def performer() -> Any:
    from performer_pytorch import SelfAttention

    return SelfAttention(dim=32, heads=2, causal=False).eval(), (floats(1, 12, 32),)


@model("perceiver_pytorch", "einops")
def perceiver() -> Any:
    from perceiver_pytorch import Perceiver

    net = Perceiver(input_channels=3, input_axis=2, num_freq_bands=4, max_freq=10.0, depth=2, num_latents=8, latent_dim=16, cross_heads=1,
                    latent_heads=2, cross_dim_head=8, latent_dim_head=8, num_classes=5)  # fmt: skip
    return net, (floats(1, 8, 8, 3),)


@model("linformer")
def linformer() -> Any:
    from linformer import Linformer

    return Linformer(dim=32, seq_len=16, depth=2, heads=2, k=8), (floats(2, 16, 32),)


@model("nystrom_attention", "einops")
def nystrom() -> Any:
    from nystrom_attention import Nystromformer

    return Nystromformer(dim=32, dim_head=16, heads=2, depth=1, num_landmarks=8, pinv_iterations=3), (
        floats(1, 16, 32),
    )


@model(
    "linear_attention_transformer",
    "einops",
    "local_attention",
    "axial_positional_embedding",
    "linformer",
    "product_key_memory",
)
def linear_attention() -> Any:
    from linear_attention_transformer import LinearAttentionTransformerLM

    net = LinearAttentionTransformerLM(num_tokens=20, dim=32, heads=2, depth=1, max_seq_len=16, causal=False)
    return net.eval(), (ints(20, 1, 16),)


@model("conformer", "einops")
def conformer() -> Any:
    from conformer import ConformerBlock

    return ConformerBlock(dim=32, dim_head=16, heads=2, conv_kernel_size=7).eval(), (floats(2, 12, 32),)


@model("g_mlp_pytorch", "einops")
def g_mlp() -> Any:
    from g_mlp_pytorch import gMLP

    return gMLP(num_tokens=20, dim=32, depth=2, seq_len=12).eval(), (ints(20, 2, 12),)


@model("mambapy")
def mamba() -> Any:
    from mambapy.mamba import Mamba, MambaConfig

    return Mamba(MambaConfig(d_model=16, n_layers=2)), (floats(2, 10, 16),)


@model("hyper_connections", "einops")
def hyper_connections() -> Any:
    import torch
    from hyper_connections import HyperConnections

    init, expand, reduce = HyperConnections.get_init_and_expand_reduce_stream_functions(2)
    block = init(dim=16, branch=torch.nn.Linear(16, 16))
    return block, (floats(2, 6, 16),), lambda m, x: reduce(m(expand(x)))


def _hidden(m: Any, *inputs: Any) -> Any:
    return m(*inputs).last_hidden_state


def _logits(m: Any, *inputs: Any) -> Any:
    return m(*inputs).logits


@model("transformers", "tokenizers", "huggingface_hub")
def bert() -> Any:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=30,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
    )
    return BertModel(config).eval(), (ints(30, 2, 10),), _hidden


@program("transformers", "tokenizers", "huggingface_hub", "safetensors")
def llama_from_pretrained() -> Any:
    """Built on the meta device, read from a safetensors file, and asked to go on with a text: greedy and with beams."""
    import tempfile

    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=30, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    with torch.device("meta"):
        shapes = {name: tuple(p.shape) for name, p in LlamaForCausalLM(config).named_parameters()}
    model = LlamaForCausalLM(config)
    for k, (name, p) in enumerate(model.named_parameters()):
        assert shapes[name] == tuple(p.shape)
        p.data.copy_(floats(*p.shape, seed=k) * 0.2)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        again = AutoModelForCausalLM.from_pretrained(folder).eval()
        text = ints(30, 2, 5) + 3
        text[text > 29] = 29
        options = {"do_sample": False, "max_new_tokens": 4, "pad_token_id": 0}
        return again(text).logits, again.generate(text, **options), again.generate(text, num_beams=3, **options)


@model("transformers", "tokenizers", "huggingface_hub")
def gpt2() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    return (
        GPT2LMHeadModel(GPT2Config(vocab_size=30, n_positions=32, n_embd=32, n_layer=2, n_head=2)).eval(),
        (ints(30, 2, 10),),
        _logits,
    )


@model("transformers", "tokenizers", "huggingface_hub")
def llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=30,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    return LlamaForCausalLM(config).eval(), (ints(30, 2, 10),), _logits


@model("transformers", "tokenizers", "huggingface_hub")
def t5() -> Any:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(decoder_start_token_id=0, vocab_size=30, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
    return (
        T5ForConditionalGeneration(config).eval(),
        (ints(30, 2, 10), ints(30, 2, 6, seed=2)),
        lambda m, x, y: m(input_ids=x, labels=y).logits,
    )


@model("transformers", "tokenizers", "huggingface_hub")
def mistral() -> Any:
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig(
        vocab_size=30,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    return MistralForCausalLM(config).eval(), (ints(30, 2, 10),), _logits


@model("transformers", "tokenizers", "huggingface_hub", "torchvision")
def transformers_vit() -> Any:
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=32, patch_size=8
    )
    return ViTModel(config).eval(), (floats(2, 3, 32, 32),), _hidden


@model("loralib")
def loralib() -> Any:
    import loralib as lora
    import torch

    net = torch.nn.Sequential(
        lora.Linear(8, 16, r=4), torch.nn.ReLU(), lora.MergedLinear(16, 12, r=2, enable_lora=[True, False, True])
    )
    lora.mark_only_lora_as_trainable(net)
    for p in net.parameters():
        if p.abs().sum() == 0:
            torch.nn.init.normal_(p)
    return net, (floats(4, 8),)


@model("peft", "transformers", "accelerate", "tokenizers", "huggingface_hub")
def peft_lora() -> Any:
    from peft import LoraConfig, get_peft_model
    from transformers import GPT2Config, GPT2LMHeadModel

    base = GPT2LMHeadModel(GPT2Config(vocab_size=30, n_positions=32, n_embd=32, n_layer=2, n_head=2))
    return (
        get_peft_model(base, LoraConfig(r=4, target_modules=["c_attn"], fan_in_fan_out=True)).eval(),
        (ints(30, 2, 10),),
        _logits,
    )


@model("tab_transformer_pytorch", "einops")
def ft_transformer() -> Any:
    from tab_transformer_pytorch import FTTransformer

    net = FTTransformer(categories=(4, 5), num_continuous=3, dim=16, depth=2, heads=2, dim_out=1)
    return net.eval(), (ints(4, 6, 2), floats(6, 3))


@model("soft_moe_pytorch", "einops")
def soft_moe() -> Any:
    from soft_moe_pytorch import SoftMoE

    return SoftMoE(dim=16, num_experts=2, seq_len=8), (floats(2, 8, 16),)


@model("egnn_pytorch", "einops")
def egnn() -> Any:
    from egnn_pytorch import EGNN

    return EGNN(dim=8), (floats(1, 6, 8), floats(1, 6, 3, seed=2))


@model("pytorch_tcn")
def tcn() -> Any:
    from pytorch_tcn import TCN

    return TCN(4, [8, 8], kernel_size=3, dropout=0.0).eval(), (floats(2, 4, 20),)
