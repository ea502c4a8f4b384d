"""Train SPADE, also called GauGAN (Park et al. 2019): photographs from maps of what is where.

    python -m experiments.spade                                                    painted digits: offline, minutes on two cores
    python -m experiments.spade --preset camvid --data 'layout:camvid?unknown=11'
    python -m experiments.spade --preset ade20k --data 'layout:ade20k?unknown=0' --config.features vgg19 --config.features-path vgg19-dcbb9e9d.pth
    python -m experiments.spade --preset cityscapes --data layout:cityscapes --config.encoder True
    python -m experiments.spade_paint runs/spade-digits                            paint a map, see the image

The perceptual loss is part of the paper's recipe, and needs torchvision's VGG19, which is not downloaded: name its file. Without, `features` stays
"none", which config.json records. --config.encoder learns styles: one map, many images.

Presets
  digits       the strokes of digits (`layout:digits`) at 16x16, small networks, batch 16
  camvid       367 street scenes of 11 classes at 96x128, networks of half the width, batch 8, 400 epochs; no published figure
  ade20k       the paper's: 20,210 images of 150 classes at 256x256, enlarged to 286, cropped and mirrored; batch 32, 200 epochs, rates 1e-4 and 4e-4,
               linear to zero over the last half
  cityscapes   the paper's at 256x512: 2,975 street scenes of 35 classes with instance edges, mirrored; batch 16, otherwise as ade20k

Published (mIoU / pixel accuracy / FID, with the perceptual loss): ADE20K 38.5 / 79.9 / 33.9, Cityscapes 62.3 / 81.9 / 71.8. Others could repeat the FID
of ADE20K from the released weights, and measured about 63 on Cityscapes; nobody has repeated mIoU and accuracy.
"""

from pathlib import Path
from typing import Any

from experiments.support import common
from jaxgan.data import Augment
from jaxgan.families import spade
from jaxgan.games.stabilisers import Stabilisers
from jaxgan.optim import Optimizer


def schedule(
    images: int, generator_rate: float = 1e-4, discriminator_rate: float = 4e-4
) -> dict[str, Any]:
    """Both players' Adam: constant over half of the images, then linear to zero."""
    rates, half = (
        {"generator_optimizer": generator_rate, "discriminator_optimizer": discriminator_rate},
        images // 2,
    )
    return {
        name: Optimizer(
            learning_rate=rate, beta1=0.0, beta2=0.9, constant_images=half, decay_images=half
        )
        for name, rate in rates.items()
    }


MIRRORED, MARGIN = Augment(flip=True), Augment(flip=True, crop=30)
CAMVID, ADE20K, CITYSCAPES = 400 * 367, 200 * 20_210, 200 * 2_975

DIGITS = spade.Config(
    (16, 16),
    classes=3,
    unknown=False,
    generator_width=8,
    up_blocks=2,
    norm_width=32,
    encoder_layers=2,
    style_size=16,
    discriminator_width=16,
    discriminator_layers=2,
    stabilisers=Stabilisers(ema_half_life=2_000),
    **schedule(64_000, 4e-4, 8e-4),
)

PRESETS = {
    "digits": common.Preset(
        DIGITS, "layout:digits", images=64_000, batch_size=16, image_size=(16, 16)
    ),
    "camvid": common.Preset(
        spade.Config(
            (96, 128),
            classes=11,
            generator_width=32,
            norm_width=64,
            discriminator_width=32,
            encoder_layers=5,
            **schedule(CAMVID),
        ),
        "layout:camvid?unknown=11",
        CAMVID,
        8,
        augment=MIRRORED,
        image_size=(96, 128),
    ),
    "ade20k": common.Preset(
        spade.Config(**schedule(ADE20K)),
        "layout:ade20k?unknown=0",
        ADE20K,
        32,
        augment=MARGIN,
        resize="stretch",
        image_size=(256, 256),
    ),
    "cityscapes": common.Preset(
        spade.Config(
            (256, 512), classes=35, unknown=False, instance_edges=True, **schedule(CITYSCAPES)
        ),
        "layout:cityscapes",
        CITYSCAPES,
        16,
        augment=MIRRORED,
        image_size=(256, 512),
    ),
}


def check_features(options: common.Options, config: spade.Config) -> None:
    """Raise `DataError` if a new run's perceptual loss has no file of weights, or another one than its checksum says. A resumed one has them."""
    if config.features != "none" and not (Path(options.run) / "config.json").exists():
        from jaxgan.perceptual import vgg_weights

        vgg_weights.verify(config.features, Path(config.features_path), config.features_checksum)


if __name__ == "__main__":
    common.main(spade, PRESETS, __doc__, before=check_features)
