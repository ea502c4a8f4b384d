"""The rows of `benchmarks.quality`: which command is trained, on what, and what is measured of it. Settings are for two CPU cores and ten minutes."""

from __future__ import annotations

from typing import NamedTuple

FASHION, MNIST, MAPS = "idx:{data}/fashion-mnist", "idx:{data}/mnist", "paired:{data}/maps"
CAMVID = "layout:{data}/camvid?unknown=11"
FACE_ATTRIBUTES = (
    "names={age}_{gender}_{race}_*&age=0-19,20-39,40-200&gender=male:0,female:1&select=age,gender"
)
FACES = f"attributes:{{work}}/utkface.zip?{FACE_ATTRIBUTES}"
PLAIN_FACES = "zip:{work}/utkface.zip"

UNCONDITIONAL = ("fid", "kid", "precision", "recall")
BY_CLASS = ("fid", "class_accuracy", "intra_fid")
PAIRS = ("l1", "ssim", "accuracy", "kid")


class Row(NamedTuple):
    """One model.

    command: module of experiments and its flags, but for data, run directory and cadence of checkpoints. In specs {data} stands for --data-folder, {work} for
      the folder of what the benchmark makes itself, such as faces in two parts.
    checkpoint: images between the checkpoints that are scored.
    metrics: of `jaxgan.metrics.evaluate`; the first one chooses the best checkpoint. Those that need a network are left out where there is none.
    table: of docs/results.md.
    split: that is scored; never trained on.
    judge: of `JUDGES`, whose features and readings are used; else the network that comes with the package for the data, or --network.
    size: side or sides that baselines of translation are measured at; (0, 0) without baselines.
    rival: the row whose training this one is in PyTorch, to as many images; "" for rows of jaxgan's.
    """

    command: str
    data: str
    checkpoint: int
    metrics: tuple[str, ...]
    table: str
    split: str = "test"
    judge: str = ""
    size: tuple[int, int] = (0, 0)
    samples: int = 10_000
    rival: str = ""


def _translator(family: str, images: int, extra: str) -> str:
    """Maps at 128x128 with networks of half the paper's width: the schedule ends at `images`."""
    half = images // 2
    flags = f"--preset maps --images {images} --config.image-size 128 128 --crop 15 --config.generator-width 32 --config.discriminator-width 32"
    rates = [
        f"--config.{player}-optimizer.{span}-images {half}"
        for player in ("generator", "discriminator")
        for span in ("constant", "decay")
    ]
    return " ".join([family, flags, *rates, extra])


WGAN_GP = (
    "dcgan --preset fashion_mnist --config.loss wasserstein --config.stabilisers.gradient-penalty 10 --config.stabilisers.critic-steps 5"
    " --config.generator-optimizer.learning-rate 1e-4 --config.generator-optimizer.beta1 0 --config.generator-optimizer.beta2 0.9"
    " --config.discriminator-optimizer.learning-rate 1e-4 --config.discriminator-optimizer.beta1 0 --config.discriminator-optimizer.beta2 0.9"
)
"""DCGAN's networks, batch norm in the critic included, which Gulrajani et al. 2017 advise against."""
SMALL_STYLES = "stylegan --preset digits --config.image-size 28 28 --config.classes 0"
FACE_STYLES = (
    "stylegan --preset faces64 --batch-size 16 --config.latent-size 128 --config.style-size 128 --config.channel-base 2048 --config.channel-max 128"
    " --config.stabilisers.augment.kind ada"
)
STARGAN = (
    "stargan --preset utkface --config.image-size 64 64 --config.generator-width 32 --config.blocks 3 --config.discriminator-width 32"
    " --config.discriminator-layers 4 --images 64000 --config.stabilisers.ema-half-life 2000"
    " --config.generator-optimizer.learning-rate 2e-4 --config.discriminator-optimizer.learning-rate 2e-4"
)
SPADE = (
    "spade --preset camvid --batch-size 4 --config.image-size 48 64 --config.up-blocks 3 --config.generator-width 16 --config.norm-width 32"
    " --config.discriminator-width 16 --config.stabilisers.ema-half-life 1000 --config.generator-optimizer.learning-rate 4e-4"
    " --config.discriminator-optimizer.learning-rate 8e-4"
)

ROWS: dict[str, Row] = {
    "gan-fashion": Row("gan --preset fashion_mnist", FASHION, 320_000, UNCONDITIONAL, "fashion"),
    "dcgan-fashion": Row("dcgan --preset fashion_mnist", FASHION, 64_000, UNCONDITIONAL, "fashion"),
    "dcgan-wgan-gp-fashion": Row(WGAN_GP, FASHION, 64_000, UNCONDITIONAL, "fashion"),
    "vaegan-fashion": Row(
        "vaegan --preset fashion_mnist", FASHION, 32_000, UNCONDITIONAL, "fashion"
    ),
    "stylegan2-fashion": Row(SMALL_STYLES, FASHION, 32_000, UNCONDITIONAL, "fashion"),
    "cgan-mnist": Row("cgan --preset mnist", MNIST, 320_000, BY_CLASS, "classes"),
    "cgan-fashion": Row("cgan --preset fashion_mnist", FASHION, 320_000, BY_CLASS, "classes"),
    "acgan-mnist": Row("acgan --preset mnist", MNIST, 20_000, BY_CLASS, "classes"),
    "acgan-fashion": Row("acgan --preset fashion_mnist", FASHION, 20_000, BY_CLASS, "classes"),
    "pix2pix-a2b": Row(
        _translator("pix2pix", 13_152, "--batch-size 4"),
        MAPS,
        2_192,
        PAIRS,
        "maps",
        "val",
        "maps",
        (128, 128),
    ),
    "pix2pix-b2a": Row(
        _translator(
            "pix2pix", 13_152, "--batch-size 4 --config.direction b2a --config.l1-weight 500"
        ),
        MAPS,
        2_192,
        PAIRS,
        "maps",
        "val",
        "maps",
        (128, 128),
    ),
    "cyclegan": Row(
        _translator("cyclegan", 2_192, "--batch-size 1"),
        MAPS,
        548,
        PAIRS,
        "maps",
        "val",
        "maps",
        (128, 128),
    ),
    "stargan-faces": Row(
        STARGAN,
        FACES,
        8_000,
        ("attribute_accuracy", "reconstruction_l1", "kid"),
        "attributes",
        judge="faces",
    ),
    "spade-camvid": Row(
        SPADE, CAMVID, 1_472, ("miou", "pixel_accuracy", "kid"), "layouts", judge="camvid"
    ),
    "stylegan2-ada-faces": Row(
        FACE_STYLES,
        PLAIN_FACES,
        8_000,
        ("kid", "fid", "precision", "recall"),
        "faces",
        judge="faces",
        samples=2_000,
    ),
}
ROWS |= {
    f"{name}-pytorch": ROWS[name]._replace(rival=name)
    for name in ("dcgan-fashion", "pix2pix-a2b", "pix2pix-b2a", "cyclegan")
}

JUDGES = {
    "faces": ("train_attributes --image-size 64 64 --epochs 12", FACES),
    "camvid": ("train_segmenter --image-size 48 64 --epochs 30", CAMVID),
    "maps": ("train_segmenter --image-size 128 128 --epochs 3", MAPS),
}
"""Small networks that judge rows for which the package has none: command and data. They are trained once, before the first row that needs them."""
