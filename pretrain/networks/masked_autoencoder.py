"""The network of MAE, U-MAE and M-MAE: an encoder of the visible patches and a light decoder of all (arXiv 2111.06377).

Letters: b images of this rank, L patches of an image, K of them visible, P pixels of a patch times 3, D the width.
The tensors beside the encoder have the names of the released models_mae.py.
"""

import math
import sys
from functools import partial
from typing import Any

import torch
from timm.models import checkpoint_seq
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from pretrain.backbones.vit import sincos_positions
from pretrain.data.patch_orders import patch_orders
from pretrain.methods import Embeddings
from pretrain.networks.masked_settings import MaskedConfig, RegularisedConfig, visible_patches
from runtime import distributed


def patches_of(images: Tensor, patch: int) -> Tensor:
    """(b, 3, H, W) -> (b, L, P): row by row of patches, in each row by row of pixels, colours last."""
    b, _, height, width = images.shape
    tiles = images.reshape(b, 3, height // patch, patch, width // patch, patch)
    return tiles.permute(0, 2, 4, 3, 5, 1).reshape(b, -1, 3 * patch * patch)


def images_of(patches: Tensor, patch: int) -> Tensor:
    """The inverse of `patches_of`, for square images."""
    b, count, _ = patches.shape
    grid = round(count**0.5)
    tiles = patches.reshape(b, grid, grid, patch, patch, 3)
    return tiles.permute(0, 5, 1, 3, 2, 4).reshape(b, 3, grid * patch, grid * patch)


def _take(tokens: Tensor, places: Tensor) -> Tensor:
    """The tokens (b, L, D) at the places (b, n) of each image: (b, n, D)."""
    return tokens.gather(1, places[..., None].expand(-1, -1, tokens.shape[2]))


class MaskedAutoencoder(nn.Module):
    """Predicts the masked patches of an image from the visible ones, which alone the encoder computes.

    Args:
        backbone: a ViT of timm, class token first.
        norm_twice: whether the embedding is the class token passed once more through the encoder's last norm.
    """

    def __init__(self, backbone: Any, config: MaskedConfig, *, norm_twice: bool = False):
        super().__init__()
        self.backbone, self.config, self.norm_twice = backbone, config, norm_twice
        self.patch: int = backbone.patch_embed.patch_size[0]
        self.patches: int = backbone.patch_embed.num_patches
        width = config.decoder_width
        norm: Any = partial(nn.LayerNorm, eps=1e-6)
        self.decoder_embed = nn.Linear(backbone.width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        places = sincos_positions(width, backbone.patch_embed.grid_size[0])
        self.decoder_pos_embed = nn.Parameter(torch.cat([places.new_zeros(1, width), places])[None], False)
        self.decoder_blocks = nn.Sequential(
            *[Block(width, config.decoder_heads, qkv_bias=True, norm_layer=norm) for _ in range(config.decoder_depth)]
        )
        self.decoder_norm = norm(width)
        self.decoder_pred = nn.Linear(width, 3 * self.patch**2)
        self._initialise()

    def _initialise(self) -> None:
        """As the released code has it, encoder included: Xavier for linear layers, the patch projection as one."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        kernel = self.backbone.patch_embed.proj.weight
        bound = math.sqrt(6 / (kernel[0].numel() + len(kernel)))
        nn.init.uniform_(kernel, -bound, bound)
        nn.init.normal_(self.backbone.cls_token, std=0.02)
        nn.init.normal_(self.mask_token, std=0.02)

    def prepare(self, views: list[Tensor], keys: Tensor) -> tuple[list[Tensor], Tensor]:
        """The view, and from the keys (b, 3) of its images the orders (b, L) of their patches, visible ones first."""
        return views, patch_orders(keys, self.patches).to(views[0].device, non_blocking=True)

    def forward(self, views: list[Tensor], order: Tensor) -> Embeddings:
        """One view (b, 3, H, W) and the order (b, L) of its patches -> class tokens (b, D) and errors (b, 1).

        The error of an image is the mean over its masked patches of the mean squared difference to their targets.
        """
        images = views[0]
        latent = self.encode(images, order)
        masked = order[:, self._visible() :]
        target = self._targets(_take(patches_of(images.float(), self.patch), masked))[0]
        errors = (self.decode(latent, order).float() - target).square().mean(2).sum(1) / max(masked.shape[1], 1)
        return Embeddings((self._embedding(latent).float(), errors[:, None]), ())

    def encode(self, images: Tensor, order: Tensor) -> Tensor:
        """Class token and visible tokens, behind the encoder's last norm: (b, 1 + K, D)."""
        encoder = self.backbone
        tokens = encoder._pos_embed(encoder.patch_embed(images))
        first = encoder.num_prefix_tokens
        visible = _take(tokens[:, first:], order[:, : self._visible()])
        tokens = encoder.norm(self._through(encoder.blocks, torch.cat([tokens[:, :first], visible], dim=1)))
        return tokens if first == 1 else torch.cat([tokens[:, :1], tokens[:, first:]], dim=1)

    def decode(self, latent: Tensor, order: Tensor) -> Tensor:
        """What `encode` gives -> predictions of the masked patches (b, L - K, P), in their order."""
        tokens = self.decoder_embed(latent)
        hidden = self.mask_token.to(tokens.dtype).expand(len(order), order.shape[1] - tokens.shape[1] + 1, -1)
        in_place = _take(torch.cat([tokens[:, 1:], hidden], dim=1), order.argsort(1))
        tokens = torch.cat([tokens[:, :1], in_place], dim=1) + self.decoder_pos_embed
        tokens = self._through(self.decoder_blocks, tokens)[:, 1:]
        return self.decoder_pred(self.decoder_norm(_take(tokens, order[:, self._visible() :])))

    @torch.no_grad()
    def reconstruct(self, images: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Images (b, 3, H, W) with their masked patches at 0, and with these predicted.

        Where targets are normalised, a prediction gets the mean and the deviation of the patch it stands for.
        """
        order = patch_orders(keys, self.patches).to(images.device)
        pixels, masked = patches_of(images, self.patch), order[:, self._visible() :]
        _, mean, deviation = self._targets(_take(pixels, masked))
        predicted = self.decode(self.encode(images, order), order) * deviation + mean
        places = masked[..., None].expand(-1, -1, pixels.shape[2])
        seen, rebuilt = pixels.scatter(1, places, 0.0), pixels.scatter(1, places, predicted)
        return images_of(seen, self.patch), images_of(rebuilt, self.patch)

    def after_step(self, progress: float) -> None:
        """Nothing moves but by the gradient."""

    def _targets(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What is to be predicted of patches (b, n, P), and the mean and deviation that bring the pixels back."""
        if not self.config.normalised_target:
            return pixels, pixels.new_zeros(()), pixels.new_ones(())
        mean, deviation = pixels.mean(2, keepdim=True), (pixels.var(2, keepdim=True) + 1e-6).sqrt()
        return (pixels - mean) / deviation, mean, deviation

    def _embedding(self, latent: Tensor) -> Tensor:
        return self.backbone.norm(latent[:, 0]) if self.norm_twice else latent[:, 0]

    def _visible(self) -> int:
        return visible_patches(self.patches, self.config.mask_ratio)

    def _through(self, blocks: nn.Sequential, tokens: Tensor) -> Tensor:
        if self.config.recompute and torch.is_grad_enabled():
            return checkpoint_seq(blocks, tokens)
        return blocks(tokens)


class Regularised(MaskedAutoencoder):
    """The same with a regulariser on its class tokens, which a method multiplies by ``weight``."""

    def __init__(self, backbone: Any, config: RegularisedConfig):
        released = config.variant == "released"
        super().__init__(backbone, config, norm_twice=released)
        self.weight = config.effective_weight
        if released and distributed.is_main():
            print(
                f"method.variant=released: the regulariser weighs {config.weight:g} / {config.ranks} = {self.weight:g}",
                file=sys.stderr,
            )
