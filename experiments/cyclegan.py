"""Train CycleGAN (Zhu et al. 2017): translate images between two domains, learnt without pairs.

    python -m experiments.cyclegan                                          recoloured digits: offline, minutes on two cores; prints its true error
    python -m experiments.cyclegan --preset horse2zebra                     tfds:cycle_gan/horse2zebra, prepared once
    python -m experiments.cyclegan --preset maps --data unpaired:DIR        trainA, trainB, testA and testB, or any two folders, DIR_A,DIR_B;
                                                                            paired:DIR works too, each domain in an order of its own
    python -m experiments.translate runs/cyclegan-maps MAPS PHOTOS --direction b2a

Presets
  digits          recolouring (`unpaired:digits`) at 16x16: one ink and paper to another; no digit is in both domains
  outline         digits filled in one colour to outlined in another (`unpaired:digits?task=outline`): no map of single pixels does it
  maps, horse2zebra, summer2winter, monet2photo
                  the paper's recipe at 256x256: ResNet-9, batch 1, 200 epochs of the larger domain (the rate constant for 100, then
                  linear to zero), images enlarged to 286, cropped and mirrored, identity loss 0.5

Published FID, official weights and (as re-trained by mmagic), over test sets of 120 to 140 images, and so comparable at that number only:
horse2zebra a2b 62.1 (64.5), b2a 138.6 (141.2); summer2winter a2b 77.3 (83.7), b2a 72.6 (72.8). On maps, people took 26.8 % of translated
photographs (b2a) and 23.2 % of translated maps (a2b) for real ones.
"""

from typing import Any

from experiments import translation_score
from experiments.support import common
from jaxgan.data import Augment
from jaxgan.families import cyclegan
from jaxgan.games.stabilisers import Stabilisers
from jaxgan.optim import Optimizer


def schedule(images: int) -> dict[str, Any]:
    """Both players' Adam of the reference: constant over half of the images, then linear to zero."""
    adam = Optimizer(constant_images=images // 2, decay_images=images // 2)
    return {"generator_optimizer": adam, "discriminator_optimizer": adam}


MARGIN = Augment(flip=True, crop=30)
SIZES = {"maps": 1_096, "horse2zebra": 1_334, "summer2winter": 1_231, "monet2photo": 6_287}
"""Images of the larger domain of each set, an epoch."""
NAMES = {"summer2winter": "summer2winter_yosemite"}


def digits(images: int, critic_width: int) -> cyclegan.Config:
    """Small networks for 16x16, the generators averaged.

    A residual translator would see all of such an image, and finds translations between unlike digits that are as consistent; the U-Net's skips
    keep shapes where they are.
    """
    unet: dict[str, Any] = {"generator": "unet", "generator_width": 32, "depth": 2}
    stabilisers = Stabilisers(pool_size=50, ema_half_life=1_000)
    return cyclegan.Config(
        (16, 16),
        **unet,
        discriminator_width=critic_width,
        discriminator_layers=1,
        stabilisers=stabilisers,
        **schedule(images),
    )


def _full(name: str) -> common.Preset:
    images = 200 * SIZES[name]
    data = f"tfds:cycle_gan/{NAMES.get(name, name)}"
    return common.Preset(
        cyclegan.Config(**schedule(images)),
        data,
        images,
        1,
        augment=MARGIN,
        resize="stretch",
        image_size=(256, 256),
    )


PRESETS = {
    "digits": common.Preset(
        digits(64_000, 16), "unpaired:digits", images=64_000, batch_size=8, image_size=(16, 16)
    ),
    "outline": common.Preset(
        digits(100_000, 32),
        "unpaired:digits?task=outline",
        images=100_000,
        batch_size=8,
        image_size=(16, 16),
    ),
    **{name: _full(name) for name in SIZES},
}

if __name__ == "__main__":
    common.main(cyclegan, PRESETS, __doc__, after=translation_score.after_digits)
