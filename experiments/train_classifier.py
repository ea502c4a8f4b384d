"""Train a small classifier of images, whose features and classes are what generated images are measured by.

    python -m experiments.train_classifier digits --data digits
    python -m experiments.train_classifier mnist --data idx:DIR
    python -m experiments.train_classifier fashion_mnist --data idx:DIR
    python -m experiments.train_classifier faces --data folder:DIR --out faces.npz       your own set; one sub-folder for each class

The first three made the files that are shipped, jaxgan/metrics/weights/NAME.npz; without --out they write NAME.npz here. Held out is the split "test",
which is never trained on: of the digits the last 297, by writers of whom there are none among the first 1,500; of MNIST and Fashion-MNIST the
10,000 test images. A set without that split has "val" held out, or an eighth of the images, at random.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from experiments.support import judge_training
from experiments.support.judge_training import Recipe, by_size, open_split
from jaxgan.data import Augment
from jaxgan.errors import require

OWN_SIZE = (64, 64)
SMALL = {"widths": (24, 48), "hidden": 96, "dropout": 0.25}
RECIPES = {
    "digits": Recipe(
        (16, 16),
        {"widths": (24, 48), "hidden": 64, "dropout": 0.4},
        epochs=30,
        batch_size=64,
        augment=Augment(crop=4, rotation=10, scale=0.1),
    ),
    "mnist": Recipe((28, 28), SMALL, epochs=4, learning_rate=3e-3, augment=Augment(crop=2)),
    "fashion_mnist": Recipe((28, 28), SMALL, epochs=5, learning_rate=3e-3),
}


def run(
    name: str,
    data: str = "digits",
    out: Path | None = None,
    image_size: tuple[int, int] = OWN_SIZE,
    epochs: float = 0,
    flip: bool = False,
    seed: int = 0,
) -> None:
    """Train a classifier and write it to a file.

    Args:
        name: digits, mnist, fashion_mnist: their recipes; any other: a network as deep as its size allows.
        data: Data set with classes, such as idx:DIR.
        out: File to write; NAME.npz if not given.
        image_size: Height and width that images are brought to; of other names only.
        epochs: Times each image is shown; 0 for that of the recipe, or 12.
        flip: Mirror images at random; of other names only.
        seed: Decides initial weights, order, augmentation and dropout.
    """
    size = (image_size[0], image_size[1])
    if name in RECIPES:
        recipe = dataclasses.replace(RECIPES[name], epochs=epochs or RECIPES[name].epochs)
        require(
            size in (OWN_SIZE, recipe.image_size),
            f"--image-size is {recipe.image_size} for {name}: leave it out, or choose another name",
        )
    else:
        recipe = by_size(size, epochs or 12, flip)
    train, held_out, split = open_split(data, recipe.image_size)
    judge_training.train(
        "classes", recipe, train, held_out, seed, out or Path(f"{name}.npz"), split
    )


if __name__ == "__main__":
    import tyro

    from experiments.support.common import check_seed, one_sentence_errors

    with one_sentence_errors():
        check_seed()
        tyro.cli(
            run,
            prog="python -m experiments.train_classifier",
            description=__doc__,
            config=(tyro.conf.PositionalRequiredArgs,),
        )
