"""Train an auxiliary-classifier GAN (Odena et al. 2016).

    python -m experiments.acgan                                           digits at 16x16: offline, minutes on two cores
    python -m experiments.acgan --preset mnist --data idx:DIR             the four IDX files of MNIST, or tfds:mnist
    python -m experiments.acgan --preset cifar10                          the paper's CIFAR-10 model
    python -m experiments.acgan --preset cifar10 --config.fake-class-weight 0 --config.generator-class-weight 0.1     WGAN-GP's weights

Presets
  digits                small networks, averaged generator
  mnist, fashion_mnist  the paper's CIFAR-10 recipe at 28x28, batch 100, 50 epochs
  cifar10               the paper's recipe: batch 100, 50,000 rounds, dropout and noise in the discriminator

Published on CIFAR-10: Inception Score 8.25 (paper), 7.3 (StudioGAN, FID 32). Expect collapse late in training: StudioGAN's was best (FID 45.6) at
14,000 of 100,000 rounds and ended at 201; judge checkpoints, not the last one only.
"""

from experiments.support import common
from jaxgan.families import acgan
from jaxgan.games.stabilisers import Stabilisers

DIGITS = acgan.Config(
    image_size=(16, 16),
    channels=1,
    generator_widths=(128, 64),
    discriminator_widths=(16, 32, 64, 128),
    stabilisers=Stabilisers(ema_half_life=20_000),
)
MNIST = acgan.Config(image_size=(28, 28), channels=1)

PRESETS = {
    "digits": common.Preset(DIGITS, "digits", images=300_000, batch_size=100, image_size=(16, 16)),
    "mnist": common.Preset(MNIST, "tfds:mnist", images=3_000_000, batch_size=100),
    "fashion_mnist": common.Preset(MNIST, "tfds:fashion_mnist", images=3_000_000, batch_size=100),
    "cifar10": common.Preset(
        acgan.Config(), "tfds:cifar10", images=5_000_000, batch_size=100, image_size=(32, 32)
    ),
}

if __name__ == "__main__":
    common.main(acgan, PRESETS, __doc__)
