"""Train Pix2Pix (Isola et al. 2017): translate images, learnt from aligned pairs.

    python -m experiments.pix2pix                                           recoloured digits: offline, minutes on two cores; prints its true error
    python -m experiments.pix2pix --preset maps --data paired:maps          A and B side by side in each image, or folders A/ and B/
    python -m experiments.pix2pix --preset maps --config.direction b2a      the other way round
    python -m experiments.translate runs/pix2pix-maps PHOTOS MAPS           use it

Presets. All but digits are the paper's recipe: batch 1, U-Net, 70x70 patches, L1 weight 100, images enlarged to 286 and cropped to 256. The rate
falls to zero in the second half, as in the PyTorch port; the paper's own code keeps it.
  digits        outlined digits (`paired:digits?task=outline`) at 16x16, small networks, batch 16
  maps          1,096 pairs of aerial photographs (A) and maps (B), 200 epochs, mirrored
  facades       400 pairs of facades (A) and label maps (B), b2a, 200 epochs, mirrored
  edges2shoes   49,825 pairs of edges (A) and shoes (B), 15 epochs, batch 4, mirrored

Published FID, official weights and (as re-trained by mmagic): facades b2a 119.1 (125.0), maps a2b 149.7 (122.6), maps b2a 102.1 (88.5),
edges2shoes 75.8 (84.4). On maps, people took 18.9 % of translated photographs (b2a) and 6.1 % of translated maps (a2b) for real ones.
"""

from typing import Any

from experiments import translation_score
from experiments.support import common
from jaxgan.data import Augment
from jaxgan.families import pix2pix
from jaxgan.optim import Optimizer


def schedule(images: int) -> dict[str, Any]:
    """Both players' Adam of the reference: constant over half of the images, then linear to zero."""
    adam = Optimizer(constant_images=images // 2, decay_images=images // 2)
    return {"generator_optimizer": adam, "discriminator_optimizer": adam}


MARGIN = Augment(flip=True, crop=30)
MAPS, FACADES, SHOES = 200 * 1_096, 200 * 400, 15 * 49_825

DIGITS = pix2pix.Config(
    (16, 16),
    generator_width=16,
    depth=3,
    discriminator_width=16,
    discriminator_layers=1,
    dropout=0.0,
    statistics="running",
    **schedule(96_000),
)

PRESETS = {
    "digits": common.Preset(
        DIGITS, "paired:digits?task=outline", images=96_000, batch_size=16, image_size=(16, 16)
    ),
    "maps": common.Preset(
        pix2pix.Config(**schedule(MAPS)),
        "paired:maps",
        MAPS,
        1,
        augment=MARGIN,
        resize="stretch",
        image_size=(256, 256),
    ),
    "facades": common.Preset(
        pix2pix.Config(direction="b2a", **schedule(FACADES)),
        "paired:facades",
        FACADES,
        1,
        augment=MARGIN,
        resize="stretch",
        image_size=(256, 256),
    ),
    "edges2shoes": common.Preset(
        pix2pix.Config(**schedule(SHOES)),
        "paired:edges2shoes",
        SHOES,
        4,
        augment=MARGIN,
        resize="stretch",
        image_size=(256, 256),
    ),
}

if __name__ == "__main__":
    common.main(pix2pix, PRESETS, __doc__, after=translation_score.after_digits)
