"""Vision models and layers."""

from __future__ import annotations

from typing import Any

from cases import floats, model, program


@model("vit_pytorch", "einops")
def vit() -> Any:
    from vit_pytorch import ViT

    return ViT(image_size=32, patch_size=8, num_classes=5, dim=32, depth=2, heads=2, mlp_dim=64), (
        floats(2, 3, 32, 32),
    )


@model("vit_pytorch", "einops")
def simple_vit() -> Any:
    from vit_pytorch import SimpleViT

    return SimpleViT(image_size=32, patch_size=8, num_classes=5, dim=32, depth=2, heads=2, mlp_dim=64), (
        floats(2, 3, 32, 32),
    )


@model("vit_pytorch", "einops")
def cct() -> Any:
    from vit_pytorch.cct import CCT

    net = CCT(img_size=32, embedding_dim=32, n_conv_layers=1, kernel_size=3, stride=2, padding=1, num_layers=2, num_heads=2, mlp_ratio=2.0,
              num_classes=5)  # fmt: skip
    return net.eval(), (floats(2, 3, 32, 32),)


@model("vit_pytorch", "einops")
def cvt() -> Any:
    from vit_pytorch.cvt import CvT

    net = CvT(
        num_classes=5,
        s1_emb_dim=16,
        s2_emb_dim=32,
        s2_heads=2,
        s3_emb_dim=32,
        s3_heads=2,
        s3_depth=1,
        s2_depth=1,
        s1_depth=1,
    )
    return net.eval(), (floats(2, 3, 64, 64),)


@model("vit_pytorch", "einops")
def mobile_vit() -> Any:
    from vit_pytorch.mobile_vit import MobileViT

    net = MobileViT((64, 64), [32, 32, 32], [8, 8, 16, 16, 24, 24, 32, 32, 48, 48, 64], 5)
    return net.eval(), (floats(2, 3, 64, 64),)


@model("efficientnet_pytorch")
def efficientnet() -> Any:
    from efficientnet_pytorch import EfficientNet

    return EfficientNet.from_name("efficientnet-b0", num_classes=5).eval(), (floats(1, 3, 64, 64),)


@model("timm", "torchvision")
def timm_resnet() -> Any:
    import timm

    return timm.create_model("resnet18", num_classes=5).eval(), (floats(1, 3, 64, 64),)


@model("timm", "torchvision")
def timm_vit() -> Any:
    import timm

    return timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=5).eval(), (floats(1, 3, 64, 64),)


@model("timm", "torchvision")
def timm_convnext() -> Any:
    import timm

    return timm.create_model("convnext_atto", num_classes=5).eval(), (floats(1, 3, 64, 64),)


@model("timm", "torchvision")
def timm_swin() -> Any:
    import timm

    return timm.create_model(
        "swin_tiny_patch4_window7_224", depths=(1, 1, 1, 1), embed_dim=24, num_heads=(1, 2, 2, 4), num_classes=5
    ).eval(), (floats(1, 3, 224, 224),)


@model("timm", "torchvision")
def timm_mobilenetv3() -> Any:
    import timm

    return timm.create_model("mobilenetv3_small_050", num_classes=5).eval(), (floats(1, 3, 64, 64),)


@model("torchvision")
def torchvision_resnet() -> Any:
    from torchvision.models import resnet18

    return resnet18(num_classes=5), (floats(2, 3, 64, 64),)


@model("torchvision")
def torchvision_densenet() -> Any:
    from torchvision.models import DenseNet

    return DenseNet(8, (2, 2, 2), 16, num_classes=5), (floats(2, 3, 64, 64),)


@model("torchvision")
def torchvision_vit() -> Any:
    from torchvision.models import VisionTransformer

    return VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=5).eval(), (floats(2, 3, 32, 32),)


@model("torchvision")
def torchvision_deeplab() -> Any:
    from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large

    net = deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=4)
    return net.eval(), (floats(1, 3, 64, 64),)


@program("torchvision")
def torchvision_transforms() -> Any:
    from torchvision.transforms import functional as T

    x = floats(3, 20, 24).sigmoid()
    return [T.resize(x, [10, 12], antialias=False), T.center_crop(x, [8, 8]), T.hflip(x), T.normalize(x, [0.5] * 3, [0.2] * 3),
            T.rotate(x, 30.0), T.adjust_brightness(x, 1.3), T.adjust_hue(x, 0.1), T.gaussian_blur(x, [3, 3])]  # fmt: skip


@model("segmentation_models_pytorch", "timm", "torchvision")
def smp_unet() -> Any:
    import segmentation_models_pytorch as smp

    return smp.Unet("resnet18", encoder_weights=None, in_channels=3, classes=2).eval(), (floats(1, 3, 64, 64),)


@program("kornia", "kornia_rs")
def kornia_filters() -> Any:
    import kornia

    x = floats(1, 3, 16, 18).sigmoid().requires_grad_()
    y = [
        kornia.filters.gaussian_blur2d(x, (3, 3), (1.0, 1.0)),
        kornia.filters.sobel(x),
        kornia.color.rgb_to_lab(x),
        kornia.color.rgb_to_hsv(x),
    ]
    sum((v * v).mean() for v in y).backward()
    return [y, x.grad]


@program("pytorch_msssim")
def ssim() -> Any:
    from pytorch_msssim import SSIM, ms_ssim

    x, y = floats(1, 3, 180, 180).sigmoid().requires_grad_(), floats(1, 3, 180, 180, seed=2).sigmoid()
    loss = SSIM(data_range=1.0)(x, y) + ms_ssim(x, y, data_range=1.0)
    loss.backward()
    return [loss, x.grad]


@model("denoising_diffusion_pytorch", "einops", "torchvision")
def ddpm_unet() -> Any:
    import torch
    from denoising_diffusion_pytorch import Unet

    return Unet(dim=16, dim_mults=(1, 2), flash_attn=False), (floats(2, 3, 16, 16), torch.tensor([3, 7]))


@model("lambda_networks", "einops")
def lambda_layer() -> Any:
    from lambda_networks import LambdaLayer

    return LambdaLayer(dim=8, dim_out=8, r=5, dim_k=4, heads=2, dim_u=2), (floats(2, 8, 12, 12),)


@model("mlp_mixer_pytorch", "einops")
def mlp_mixer() -> Any:
    from mlp_mixer_pytorch import MLPMixer

    return MLPMixer(image_size=32, channels=3, patch_size=8, dim=32, depth=2, num_classes=5).eval(), (
        floats(2, 3, 32, 32),
    )


@model("diffusers", "transformers", "huggingface_hub", "safetensors")
def diffusers_unet() -> Any:
    from cases import ints
    from diffusers import UNet2DModel

    net = UNet2DModel(sample_size=16, in_channels=3, out_channels=3, layers_per_block=1, block_out_channels=(16, 32), norm_num_groups=8,
                      down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"))  # fmt: skip
    return net.eval(), (floats(1, 3, 16, 16), ints(1000, 1)), lambda m, x, t: m(x, t).sample


@program("diffusers", "transformers", "huggingface_hub", "safetensors")
def diffusers_scheduler() -> Any:
    from diffusers import DDIMScheduler

    schedule, x, steps = DDIMScheduler(num_train_timesteps=100), floats(1, 3, 8, 8), []
    schedule.set_timesteps(5)
    for t in schedule.timesteps:
        x = schedule.step(x * 0.1, t, x).prev_sample
        steps.append(x)
    return steps


@model("monai")
def monai_unet() -> Any:
    from monai.networks.nets import UNet

    return UNet(
        spatial_dims=3, in_channels=1, out_channels=2, channels=(4, 8, 16), strides=(2, 2), num_res_units=1
    ).eval(), (floats(1, 1, 16, 16, 16),)


@model("lpips", "torchvision")
def lpips_distance() -> Any:
    import lpips

    net = lpips.LPIPS(net="alex", pretrained=False, pnet_rand=True, verbose=False)
    return net.eval(), (floats(1, 3, 64, 64).tanh(), floats(1, 3, 64, 64, seed=2).tanh())


@model("torchvision")
def torchvision_swin() -> Any:
    from torchvision.models import SwinTransformer

    return SwinTransformer([4, 4], 16, [1, 1], [2, 2], [4, 4], num_classes=5).eval(), (floats(1, 3, 64, 64),)


@model("torchvision")
def torchvision_mobilenet() -> Any:
    from torchvision.models import mobilenet_v2

    return mobilenet_v2(num_classes=5).eval(), (floats(1, 3, 64, 64),)
