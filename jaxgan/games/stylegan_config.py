"""Settings of StyleGAN and its recipes: of the paper (StyleGAN) and of NVlabs/stylegan2-ada-pytorch (StyleGAN2)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from jaxgan.errors import require, require_range
from jaxgan.games import lazy
from jaxgan.games.stabilisers import Stabilisers
from jaxgan.optim import Optimizer
from jaxgan.settings import settle

ADAM = Optimizer(learning_rate=0.002, beta1=0.0, beta2=0.99)
UNSUPPORTED = (
    *(
        "critic_steps",
        "generator_batch",
        "real_target",
        "fake_target",
        "dequantise",
        "spectral_norm",
        "pool_size",
    ),
    *("r2", "gradient_penalty", "weight_clip"),
)


@dataclass(frozen=True)
class Config:
    """Settings of StyleGAN; the defaults are "stylegan2" (config F) of NVlabs/stylegan2-ada-pytorch (batch 32, 25 million images)."""

    image_size: tuple[int, int] = (256, 256)
    """Height and width in pixels; both are halved while even and at least 4 remain, and what remains is the learned constant's size."""
    channels: int = 3
    """Channels of the images; any number."""
    classes: int = 0
    """Number of classes: embedded beside the latents for the generator, projected on by the discriminator; 0 for unconditional."""
    latent_size: int = 512
    """Length Z of the latent vector, standard normal."""
    style_size: int = 512
    """Length W of w, what the mapping network makes of a latent."""
    mapping_layers: int = 8
    """Layers of the mapping network."""
    architecture: Literal["stylegan1", "stylegan2"] = "stylegan2"
    """"stylegan1": AdaIN. "stylegan2": modulated and demodulated kernels."""
    generator_architecture: Literal["orig", "skip", "resnet"] = "skip"
    """"stylegan2": "skip" sums images over the levels, "resnet" has residual blocks, "orig" neither."""
    discriminator_architecture: Literal["orig", "skip", "resnet"] = "resnet"
    """"stylegan2": the same, of the discriminator."""
    channel_base: int = 32768
    """Feature maps times resolution, in both networks; up to 256x256 half of it is usual."""
    channel_max: int = 512
    """Feature maps at most."""
    activation_clamp: float = 0.0
    """"stylegan2": activations are kept within plus and minus this; 0 for no limit (the reference in float16: 256)."""
    minibatch_std_group: int = 4
    """Examples, over all devices, whose standard deviation the discriminator sees; batches are multiples of it. 0 leaves that out."""
    style_mixing: float = 0.9
    """Share of the generated images of two latents, the second from a random layer on."""
    average_decay: float = 0.995
    """Share of the running mean of w that a pass keeps; truncation pulls towards that mean."""
    r1_interval: int = 16
    """The R1 penalty (`stabilisers.r1`) has a step of its own every so many rounds; 1 puts it into the discriminator's loss."""
    path_length_weight: float = 2.0
    """Weight of the path-length penalty; 0 for none."""
    path_length_interval: int = 4
    """The path-length penalty has a step of its own every so many rounds; 1 puts it into the generator's loss."""
    path_length_decay: float = 0.01
    """How far the target, the mean path length, moves to a batch's mean."""
    path_length_shrink: int = 2
    """The penalty's batch is this many times smaller; batches on each device are multiples of it."""
    generator_optimizer: Optimizer = ADAM
    """Optimiser and schedule of the generator, before the correction for lazy regularisation (see `jaxgan.games.lazy`)."""
    discriminator_optimizer: Optimizer = ADAM
    """Optimiser and schedule of the discriminator, before that correction."""
    stabilisers: Stabilisers = Stabilisers(r1=10.0, ema_half_life=10_000)
    """See `Stabilisers`; r1, ema_half_life, ema_ramp, instance_noise, instance_noise_images and augment are supported."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the convolutions; mapping, styles, parameters and losses are float32."""

    def __post_init__(self):
        settle(self)
        require(
            min(self.image_size) >= 4,
            f"image_size must be (height, width) of at least 4, got {self.image_size}",
        )
        positive = (
            "channels",
            "latent_size",
            "style_size",
            "mapping_layers",
            "channel_base",
            "channel_max",
        )
        for name in (*positive, "r1_interval", "path_length_interval", "path_length_shrink"):
            require_range(name, getattr(self, name), 1)
        for name in ("classes", "activation_clamp", "minibatch_std_group", "path_length_weight"):
            require_range(name, getattr(self, name), 0)
        for name in ("style_mixing", "average_decay", "path_length_decay"):
            require_range(name, getattr(self, name), 0, 1)
        off = Stabilisers()
        for name in UNSUPPORTED:
            unused, given = getattr(off, name), getattr(self.stabilisers, name)
            require(
                isinstance(given, bool | int | float) and given == unused,
                f"stylegan does not support the stabiliser {name}: leave it at {unused}",
            )


def auto(
    image_size: tuple[int, int], channels: int = 3, classes: int = 0, batch_size: int = 32
) -> Config:
    """Settings by the rules of stylegan2-ada-pytorch's "auto", from the resolution (the larger side) and the batch over all devices."""
    side = max(image_size)
    adam = dataclasses.replace(ADAM, learning_rate=0.002 if side >= 1024 else 0.0025)
    return Config(
        image_size,
        channels,
        classes,
        mapping_layers=2,
        channel_base=32768 if side >= 512 else 16384,
        minibatch_std_group=min(batch_size, 4),
        generator_optimizer=adam,
        discriminator_optimizer=adam,
        stabilisers=Stabilisers(
            r1=0.0002 * side**2 / batch_size, ema_half_life=batch_size * 10_000 / 32, ema_ramp=0.05
        ),
    )


def paper256(
    image_size: tuple[int, int] = (256, 256), channels: int = 3, classes: int = 0
) -> Config:
    """The paper's settings for 256x256, as "paper256" of stylegan2-ada-pytorch: batch 64, 25 million images."""
    adam = dataclasses.replace(ADAM, learning_rate=0.0025)
    options: dict[str, Any] = {
        "channel_base": 16384,
        "minibatch_std_group": 8,
        "generator_optimizer": adam,
        "discriminator_optimizer": adam,
    }
    return Config(
        image_size,
        channels,
        classes,
        **options,
        stabilisers=Stabilisers(r1=1.0, ema_half_life=20_000),
    )


def cifar(image_size: tuple[int, int] = (32, 32), channels: int = 3, classes: int = 0) -> Config:
    """ "cifar" of stylegan2-ada-pytorch: batch 64, 100 million images; a plain discriminator, no path-length penalty, no style mixing."""
    adam = dataclasses.replace(ADAM, learning_rate=0.0025)
    return Config(
        image_size,
        channels,
        classes,
        mapping_layers=2,
        discriminator_architecture="orig",
        minibatch_std_group=32,
        style_mixing=0.0,
        path_length_weight=0.0,
        generator_optimizer=lazy.corrected(
            adam, 4
        ),  # the reference corrects for the penalty although it is off
        discriminator_optimizer=adam,
        stabilisers=Stabilisers(r1=0.01, ema_half_life=500_000, ema_ramp=0.05),
    )


def stylegan1(
    image_size: tuple[int, int] = (256, 256), channels: int = 3, classes: int = 0
) -> Config:
    """StyleGAN of Karras et al. 2019 at a fixed resolution: R1 in every step, no path-length penalty, rates by the resolution (the larger side).

    Source: NVlabs/stylegan train.py, whose batches over 8 devices at the last resolution are 256 up to 64, 128 at 128, 64 at 256, then 32; 25 million images.
    """
    side = max(image_size)
    rate = next(
        rate
        for least, rate in ((512, 0.003), (256, 0.002), (128, 0.0015), (0, 0.001))
        if side >= least
    )
    adam = dataclasses.replace(ADAM, learning_rate=rate)
    options: dict[str, Any] = {
        "architecture": "stylegan1",
        "channel_base": 16384,
        "r1_interval": 1,
        "path_length_weight": 0.0,
    }
    return Config(
        image_size,
        channels,
        classes,
        **options,
        generator_optimizer=adam,
        discriminator_optimizer=adam,
    )
