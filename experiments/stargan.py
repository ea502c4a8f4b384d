"""Train StarGAN (Choi et al. 2018): one generator for all translations between many domains, told the target as a vector of attributes.

    python -m experiments.stargan                                           digits in three inks: offline, minutes on two cores
    python -m experiments.stargan --preset celeba --data 'attributes:celeba?table=list_attr_celeba.txt&select=Black_Hair,Blond_Hair,Brown_Hair,Male,Young'
    python -m experiments.stargan --preset utkface --data 'attributes:utkface.zip?names={age}_{gender}_{race}_*&age=0-19,20-39,40-200'
    python -m experiments.translate runs/stargan-digits DIGITS RED --attributes red         use it; --grid makes every domain

The data decides attributes and groups, whose balance is printed first: binary ones have a sigmoid each, exclusive groups a softmax. Several data sets that
tell different attributes are joined by +, attributes:celeba?table=...+attributes:rafd.

Presets
  digits    red, green and blue ink (`attributes:digits`) at 16x16: an exclusive group whose true translation is known
  celeba    the paper's: five attributes at 128x128, faces cut to 178x178 from the centre, mirrored; batch 16, 200,000 critic steps, 5 for each of
            the generator; both rates 1e-4, and linear to zero over the last half
  utkface   three ages, two genders and five races as exclusive groups, otherwise as celeba

Deviation: the code of yunjey/stargan hardly decays the rate (by 0.1 % in all, where the paper says to zero). For its schedule give
--config.generator-optimizer.decay-images 1600000000 --config.discriminator-optimizer.decay-images 1600000000.
"""

from typing import Any

from experiments import translation_score
from experiments.support import common
from jaxgan.data import Augment
from jaxgan.families import stargan
from jaxgan.games.stabilisers import Stabilisers
from jaxgan.optim import Optimizer


def schedule(images: int) -> dict[str, Any]:
    """Both players' Adam: constant over half of the images, then linear to zero."""
    adam = Optimizer(learning_rate=1e-4, constant_images=images // 2, decay_images=images // 2)
    return {"generator_optimizer": adam, "discriminator_optimizer": adam}


FULL = 16 * 200_000
"""Images of 200,000 critic steps of 16."""
MIRRORED = Augment(flip=True)
CELEBA = "attributes:celeba?table=list_attr_celeba.txt&select=Black_Hair,Blond_Hair,Brown_Hair,Male,Young"
UTKFACE = "attributes:utkface.zip?names={age}_{gender}_{race}_*&age=0-19,20-39,40-200&gender=male:0,female:1&race=white:0,black:1,asian:2,indian:3,other:4"
UTKFACE_GROUPS: dict[str, Any] = {
    "attributes": (
        *("age_0-19", "age_20-39", "age_40-200", "gender_male", "gender_female"),
        *("race_white", "race_black", "race_asian", "race_indian", "race_other"),
    ),
    "groups": (("age", 3), ("gender", 2), ("race", 5)),
}


def digits(images: int) -> stargan.Config:
    """Small networks for 16x16, and rates that are as much higher as they are smaller."""
    adam = Optimizer(learning_rate=5e-4, constant_images=images // 2, decay_images=images // 2)
    return stargan.Config(
        (16, 16),
        attributes=("red", "green", "blue"),
        groups=(("ink", 3),),
        generator_width=16,
        blocks=2,
        discriminator_width=32,
        discriminator_layers=3,
        generator_optimizer=adam,
        discriminator_optimizer=adam,
        stabilisers=Stabilisers(critic_steps=5, gradient_penalty=10.0, ema_half_life=2_000),
    )


PRESETS = {
    "digits": common.Preset(
        digits(160_000), "attributes:digits", images=160_000, batch_size=16, image_size=(16, 16)
    ),
    "celeba": common.Preset(
        stargan.Config(**schedule(FULL)), CELEBA, FULL, 16, augment=MIRRORED, image_size=(128, 128)
    ),
    "utkface": common.Preset(
        stargan.Config(**UTKFACE_GROUPS, **schedule(FULL)),
        UTKFACE,
        FULL,
        16,
        augment=MIRRORED,
        image_size=(128, 128),
    ),
}

if __name__ == "__main__":
    common.main(stargan, PRESETS, __doc__, after=translation_score.after_digits)
