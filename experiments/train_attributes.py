"""Train a judge of attributes, which says whether a translated image shows what was asked for. Never the critic of the translator itself.

    python -m experiments.train_attributes --data attributes:digits --out inks.npz
    python -m experiments.train_attributes --data 'attributes:utkface.zip?names={age}_{gender}_{race}_*&age=0-19,20-39,40-200' --out faces.npz

Held out is the split "test" (else "val"), or without one an eighth of the images, drawn at random: what the judge gets right of these is
printed and kept in the file. Of several sets, joined by +, an attribute is learnt and counted on the images of the sets that tell it. The network
halves images while 4 pixels remain.
"""

from __future__ import annotations

from pathlib import Path

from experiments.support import judge_training
from experiments.support.judge_training import by_size, open_split


def run(
    data: str,
    out: Path,
    image_size: tuple[int, int] = (64, 64),
    epochs: float = 12,
    flip: bool = True,
    seed: int = 0,
) -> None:
    """Train a judge of attributes and write it to a file.

    Args:
        data: Data set with attributes: attributes:PATH?..., or attributes:digits.
        out: File to write.
        image_size: Height and width that images are brought to.
        epochs: Times each image is shown.
        flip: Mirror images at random; not for digits and letters.
        seed: Decides initial weights, order, augmentation and dropout.
    """
    train, held_out, split = open_split(data, (image_size[0], image_size[1]))
    judge_training.train(
        "attributes",
        by_size((image_size[0], image_size[1]), epochs, flip),
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
        tyro.cli(run, prog="python -m experiments.train_attributes", description=__doc__)
