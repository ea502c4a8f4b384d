"""Train a VAE/GAN (Larsen et al. 2015): an autoencoder and a GAN in one, whose codes can be mixed and moved.

    python -m experiments.vaegan                                          digits at 16x16: offline, minutes on two cores
    python -m experiments.vaegan --preset mnist --data idx:DIR            the four IDX files of MNIST, or tfds:mnist
    python -m experiments.vaegan --preset faces64 --data folder:DIR       your own images, cut and scaled to 64x64
    python -m experiments.latent runs/vaegan-digits interpolate walk.png  afterwards: see python -m experiments.latent --help

Grids show images, beside each its reconstruction, then samples.

Presets
  digits                small networks, spectral norm in place of the discriminator's batch norm, non-saturating loss, averaged encoder and generator
  mnist, fashion_mnist  the same at 28x28 with networks of twice the width, batch 64, 25 epochs
  faces64               the CelebA script of the authors' code at 64x64: batch 64, 62,500 rounds, prior samples alone judged, gate 0.68 +- 0.35,
                        gamma 1e-6, rate 0.025 / 64 falling; mirrored. Cut large photographs to the faces first: images are cut at the centre

The reconstruction loss is a sum over features, so that gamma and kl_weight go with the networks' width and the image's size.
"""

from dataclasses import replace

from experiments.support import common
from jaxgan.data import Augment
from jaxgan.families import vaegan
from jaxgan.games.stabilisers import Stabilisers
from jaxgan.optim import Optimizer

FAST, SLOW = (Optimizer("rmsprop", learning_rate=rate, decay=0.9) for rate in (1e-3, 5e-4))
DIGITS = vaegan.Config(
    image_size=(16, 16),
    channels=1,
    latent_size=16,
    encoder_width=16,
    generator_width=16,
    discriminator_width=16,
    gamma=0.3,
    kl_weight=0.1,
    loss="non-saturating",
    encoder_optimizer=FAST,
    generator_optimizer=FAST,
    discriminator_optimizer=SLOW,
    stabilisers=Stabilisers(spectral_norm=True, ema_half_life=5_000, ema_ramp=0.1),
)
MNIST = replace(
    DIGITS,
    image_size=(28, 28),
    latent_size=32,
    encoder_width=32,
    generator_width=32,
    discriminator_width=32,
    gamma=0.05,
    kl_weight=0.5,
)

PRESETS = {
    "digits": common.Preset(DIGITS, "digits", images=100_000, batch_size=64, image_size=(16, 16)),
    "mnist": common.Preset(MNIST, "tfds:mnist", images=1_500_000, batch_size=64),
    "fashion_mnist": common.Preset(MNIST, "tfds:fashion_mnist", images=1_500_000, batch_size=64),
    "faces64": common.Preset(
        vaegan.celeba(),
        "folder:faces",
        62_500 * 64,
        64,
        augment=Augment(flip=True),
        image_size=(64, 64),
    ),
}

if __name__ == "__main__":
    common.main(vaegan, PRESETS, __doc__)
