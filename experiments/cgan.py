"""Train a class-conditional GAN (Mirza & Osindero 2014).

    python -m experiments.cgan                                            digits, 8x8: offline, under a minute on two cores
    python -m experiments.cgan --preset mnist --data idx:DIR              the four IDX files of MNIST, or tfds:mnist
    python -m experiments.cgan --preset cifar10 --data folder:DIR         your own: one sub-folder per class

Presets
  digits                leaky-ReLU networks of 256 units, label embeddings, R1 penalty, averaged generator; Adam 1e-3
  mnist, fashion_mnist  leaky ReLU, batch norm, label embeddings, dropout in the discriminator; Adam 2e-4, batch 64, 50 epochs
  paper                 the paper's recipe for MNIST: separate paths for image and label, maxout, dropout in both networks, decaying SGD, batch
                        100; after 1.1 million images ours drew the right digits but one shape per class (the dropout had replaced the latents)
  cifar10               DCGAN's networks with the label as further input; Adam 2e-4, batch 64, 100 epochs

Expected on digits (experiments.support.digit_score, 1,000 images): 99 % read as the class asked for, about 620 different nearest training images, 0.8
times as far from the training images as digits of new writers. The paper gives only a Parzen-window likelihood (132 on MNIST).
"""

from experiments.support import common
from jaxgan.families import cgan
from jaxgan.games.stabilisers import Stabilisers
from jaxgan.optim import Optimizer

SMALL_ADAM = Optimizer(learning_rate=1e-3, beta1=0.0, beta2=0.99)
ADAM = Optimizer()

DIGITS = cgan.Config(
    image_size=(8, 8),
    latent_size=32,
    latent="normal",
    architecture="mlp",
    generator_hidden=(256, 256),
    discriminator_hidden=(256, 256),
    batch_norm=False,
    dropout=0.0,
    generator_optimizer=SMALL_ADAM,
    discriminator_optimizer=SMALL_ADAM,
    stabilisers=Stabilisers(r1=1.0, ema_half_life=20_000),
)
MNIST = cgan.Config(
    latent="normal",
    architecture="mlp",
    generator_hidden=(128, 256, 512, 1024),
    discriminator_hidden=(512, 512, 512),
    dropout=0.4,
    generator_optimizer=ADAM,
    discriminator_optimizer=ADAM,
)
CIFAR10 = cgan.Config(
    image_size=(32, 32),
    channels=3,
    latent="normal",
    architecture="conv",
    generator_optimizer=ADAM,
    discriminator_optimizer=ADAM,
)

PRESETS = {
    "digits": common.Preset(DIGITS, "digits", images=400_000, batch_size=128, steps_per_call=100),
    "mnist": common.Preset(MNIST, "tfds:mnist", images=3_000_000, batch_size=64, steps_per_call=10),
    "fashion_mnist": common.Preset(
        MNIST, "tfds:fashion_mnist", images=3_000_000, batch_size=64, steps_per_call=10
    ),
    "paper": common.Preset(
        cgan.Config(), "tfds:mnist", images=6_000_000, batch_size=100, steps_per_call=10
    ),
    "cifar10": common.Preset(
        CIFAR10, "tfds:cifar10", images=5_000_000, batch_size=64, image_size=(32, 32)
    ),
}

if __name__ == "__main__":
    common.main(cgan, PRESETS, __doc__)
