"""Train a judge of label maps, a small U-Net, which says how much of a map an image made from it shows.

    python -m experiments.train_segmenter --data layout:digits --image-size 16 16 --out strokes.npz
    python -m experiments.train_segmenter --data 'layout:camvid?unknown=11' --out camvid.npz
    python -m experiments.train_segmenter --data paired:maps --image-size 128 128 --epochs 4 --out maps.npz

The last takes photographs (A) beside drawn maps (B), whose flat colours are the classes, and learns to tell them from either side.

Held out is the split "test" (else "val"), or without one an eighth of the images, at random: what the judge gets right of these is printed and kept in the
file. No generated image can be expected to score higher. Such figures compare with each other, never with those published under large networks.
"""

from __future__ import annotations

from pathlib import Path

from experiments.colour_layouts import of_pairs
from experiments.support import judge_training
from experiments.support.judge_training import Recipe, open_split
from jaxgan.data import Augment

WIDTHS, LEAST = (8, 16, 32, 64, 96), 4
"""Feature maps by depth, and the smallest side at the deepest."""


def recipe(image_size: tuple[int, int], epochs: float, flip: bool) -> Recipe:
    """As deep as the size allows; images and maps are moved together."""
    side, count = min(image_size), 1
    while side % 2 == 0 and side // 2 >= LEAST and count < len(WIDTHS):
        side, count = side // 2, count + 1
    return Recipe(
        image_size,
        {"widths": WIDTHS[:count], "dropout": 0.2},
        epochs,
        16,
        augment=Augment(flip=flip, scale=0.15),
    )


def run(
    data: str,
    out: Path,
    image_size: tuple[int, int] = (96, 128),
    epochs: float = 30,
    flip: bool = True,
    seed: int = 0,
) -> None:
    """Train a judge of label maps and write it to a file.

    Args:
        data: Data set with label maps, layout:DIR or layout:digits; or of photographs and maps, paired:DIR.
        out: File to write.
        image_size: Height and width that images and maps are brought to.
        epochs: Times each image is shown.
        flip: Mirror images at random; not where a map's classes know left from right.
        seed: Decides initial weights, order, augmentation and dropout.
    """
    train, held_out, split = open_split(data, (image_size[0], image_size[1]))
    if data.startswith("paired:"):
        train = of_pairs(train)
        held_out = of_pairs(held_out, train.classes)
    judge_training.train(
        "layout",
        recipe((image_size[0], image_size[1]), epochs, flip),
        train,
        held_out,
        seed,
        out,
        split,
    )


if __name__ == "__main__":
    import tyro

    from experiments.support.common import check_seed, one_sentence_errors

    with one_sentence_errors():
        check_seed()
        tyro.cli(run, prog="python -m experiments.train_segmenter", description=__doc__)
