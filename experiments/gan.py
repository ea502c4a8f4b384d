"""Train a GAN with fully connected networks (Goodfellow et al. 2014).

    python -m experiments.gan                                             digits, 8x8: offline, under a minute on two cores
    python -m experiments.gan --preset mnist --data idx:DIR               the four IDX files of MNIST, or tfds:mnist
    python -m experiments.gan --preset mnist --config.stabilisers.r1 1 --run runs/gan-r1

Presets
  digits                leaky-ReLU networks of 256 units, R1 penalty, averaged generator; Adam 1e-3
  mnist                 the 2014 recipe: maxout discriminator with dropout, momentum SGD with decaying rate, batch 100, 200 epochs
  fashion_mnist         the networks of the tutorials: leaky ReLU, batch norm, Adam 2e-4, batch 64, 100 epochs
  cifar10               the same for 200 epochs

Published (Lucic et al. 2018, convolutional networks, best of a search): FID 6.8 on MNIST, 26.5 on Fashion-MNIST. The 2014 paper gives only
Parzen-window likelihoods (225 on MNIST), which say little about images; fully connected networks stay behind convolutional ones.
"""

from dataclasses import replace

from experiments.support import common
from jaxgan.families import gan
from jaxgan.games.stabilisers import Stabilisers
from jaxgan.optim import Optimizer

SMALL_ADAM = Optimizer(learning_rate=1e-3, beta1=0.0, beta2=0.99)
ADAM = Optimizer()

DIGITS = gan.Config(
    image_size=(8, 8),
    latent_size=32,
    latent="normal",
    architecture="mlp",
    generator_hidden=(256, 256),
    discriminator_hidden=(256, 256),
    generator_optimizer=SMALL_ADAM,
    discriminator_optimizer=SMALL_ADAM,
    stabilisers=Stabilisers(r1=1.0, ema_half_life=20_000),
)
TUTORIAL = gan.Config(
    latent="normal",
    architecture="mlp",
    generator_hidden=(128, 256, 512, 1024),
    discriminator_hidden=(512, 256),
    generator_optimizer=ADAM,
    discriminator_optimizer=ADAM,
)

PRESETS = {
    "digits": common.Preset(DIGITS, "digits", images=400_000, batch_size=128, steps_per_call=100),
    "mnist": common.Preset(
        gan.Config(), "tfds:mnist", images=12_000_000, batch_size=100, steps_per_call=10
    ),
    "fashion_mnist": common.Preset(
        TUTORIAL, "tfds:fashion_mnist", images=6_000_000, batch_size=64, steps_per_call=10
    ),
    "cifar10": common.Preset(
        replace(TUTORIAL, image_size=(32, 32), channels=3),
        "tfds:cifar10",
        images=10_000_000,
        batch_size=64,
        steps_per_call=10,
    ),
}

if __name__ == "__main__":
    common.main(gan, PRESETS, __doc__)
