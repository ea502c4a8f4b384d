"""Train StyleGAN (Karras et al. 2019) or StyleGAN2 (Karras et al. 2020), with classes or without.

    python -m experiments.stylegan                                                digits at 16x16, by class: offline, on two cores
    python -m experiments.stylegan --preset auto --data folder:DIR                your own images, at their size; settings by the rule
    python -m experiments.stylegan --preset auto --data zip:FILE --config.image-size 64 64 --batch-size 16
    python -m experiments.stylegan --preset cifar10 --config.classes 10           class-conditional CIFAR-10; meant for an accelerator
    python -m experiments.sample runs/stylegan-faces64 --truncation 0.7           images nearer to the average; --mix 0 4 for a grid of mixed styles

Presets
  digits      StyleGAN2 of at most 64 feature maps
  auto        stylegan2-ada-pytorch's "auto": R1 weight, feature maps, rates and averaging by the resolution and the batch
  faces64     the same for UTKFace at 64x64, batch 32, mirrored
  faces128    the same at 128x128
  paper256    the paper's settings for 256x256, batch 64, mirrored
  cifar10     stylegan2-ada-pytorch's "cifar": batch 64, no path-length penalty, no style mixing, a plain discriminator
  stylegan1   the first StyleGAN for UTKFace at 64x64, without progressive growing, batch 256, mirrored

Sizes: both sides are halved while even and at least 4 remain, so 2^n is best. A batch is a multiple of --config.minibatch-std-group, and on each device
of --config.path-length-shrink. Published: FID 2.84 on FFHQ at 1024x1024 for config F, the defaults of `stylegan.Config` (Karras et al. 2020, table 1).
"""

import dataclasses

from experiments.support import common
from jaxgan.data import Augment
from jaxgan.families import stylegan
from jaxgan.games.stabilisers import Stabilisers

FULL = 25_000_000
FLIP = Augment(flip=True)
FACES = "zip:utkface.zip"
DIGITS = dataclasses.replace(
    stylegan.auto((16, 16), 1, 10),
    latent_size=64,
    style_size=64,
    channel_base=1024,
    channel_max=64,
    stabilisers=Stabilisers(r1=0.1, ema_half_life=5_000, ema_ramp=0.05),
)


def by_rule(config: stylegan.Config, batch_size: int) -> stylegan.Config:
    """`stylegan.auto` for this config's images and classes."""
    return stylegan.auto(config.image_size, config.channels, config.classes, batch_size)


PRESETS = {
    "digits": common.Preset(DIGITS, "digits", images=300_000, batch_size=32, image_size=(16, 16)),
    "auto": common.Preset(
        stylegan.auto((256, 256)), "folder:images", FULL, 32, augment=FLIP, rule=by_rule
    ),
    "faces64": common.Preset(
        stylegan.auto((64, 64)), FACES, FULL, 32, augment=FLIP, image_size=(64, 64), rule=by_rule
    ),
    "faces128": common.Preset(
        stylegan.auto((128, 128)),
        FACES,
        FULL,
        32,
        augment=FLIP,
        image_size=(128, 128),
        rule=by_rule,
    ),
    "paper256": common.Preset(
        stylegan.paper256(), "folder:images", FULL, 64, augment=FLIP, image_size=(256, 256)
    ),
    "cifar10": common.Preset(
        stylegan.cifar(), "tfds:cifar10", 100_000_000, 64, image_size=(32, 32)
    ),
    "stylegan1": common.Preset(
        stylegan.stylegan1((64, 64)), FACES, FULL, 256, augment=FLIP, image_size=(64, 64)
    ),
}

if __name__ == "__main__":
    common.main(stylegan, PRESETS, __doc__)
