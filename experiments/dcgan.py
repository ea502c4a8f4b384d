"""Train a convolutional GAN: DCGAN (Radford et al. 2015), WGAN-GP (Gulrajani et al. 2017), SNGAN (Miyato et al. 2018).

    python -m experiments.dcgan                                           digits at 16x16: offline, minutes on two cores
    python -m experiments.dcgan --preset mnist --data idx:DIR             the four IDX files of MNIST, or tfds:mnist
    python -m experiments.dcgan --preset sngan                            CIFAR-10; meant for an accelerator
    python -m experiments.dcgan --preset cifar10 --data folder:DIR --config.image-size 64 64       your own images, at any size

Presets
  digits                DCGAN of width 32, spectral norm, averaged generator
  mnist, fashion_mnist  DCGAN as pytorch/examples at 28x28, batch 64, 25 epochs
  cifar10               DCGAN as pytorch/examples at 32x32, batch 64, 100 epochs; mirrored
  wgan_gp               residual networks, gradient penalty 10, 5 critic steps, 100,000 rounds of 64
  sngan                 residual networks, spectral norm, hinge loss, 5 critic steps, 50,000 rounds of 64

Published FID on CIFAR-10, unconditional: DCGAN 48.3 (StudioGAN, another network), WGAN-GP 22.3 and SNGAN 16.8 (mimicry, 50,000 images), 21.7
(SNGAN's paper, fewer images). DCGAN tends to be best early: of 200,000 rounds StudioGAN's was at 42,000. Lucic et al. 2018: 6.8 on MNIST, 26.5 on
Fashion-MNIST.
"""

from experiments.support import common
from jaxgan.data import Augment
from jaxgan.families import dcgan
from jaxgan.games.stabilisers import Stabilisers

DIGITS = dcgan.Config(
    image_size=(16, 16),
    channels=1,
    generator_width=32,
    discriminator_width=32,
    stabilisers=Stabilisers(spectral_norm=True, ema_half_life=20_000),
)
MNIST = dcgan.Config((28, 28), 1)
CIFAR10 = dcgan.Config((32, 32), 3)
SIZE, FLIP = (32, 32), Augment(flip=True)

PRESETS = {
    "digits": common.Preset(DIGITS, "digits", images=300_000, batch_size=64, image_size=(16, 16)),
    "mnist": common.Preset(MNIST, "tfds:mnist", images=1_500_000, batch_size=64),
    "fashion_mnist": common.Preset(MNIST, "tfds:fashion_mnist", images=1_500_000, batch_size=64),
    "cifar10": common.Preset(
        CIFAR10, "tfds:cifar10", images=5_000_000, batch_size=64, augment=FLIP, image_size=SIZE
    ),
    "wgan_gp": common.Preset(
        dcgan.wgan_gp(), "tfds:cifar10", images=100_000 * 5 * 64, batch_size=64, image_size=SIZE
    ),
    "sngan": common.Preset(
        dcgan.sngan(), "tfds:cifar10", images=50_000 * 5 * 64, batch_size=64, image_size=SIZE
    ),
}

if __name__ == "__main__":
    common.main(dcgan, PRESETS, __doc__)
