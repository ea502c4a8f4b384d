"""The games that are played against PyTorch: families, sizes, batches, and the settings of both sides."""

from __future__ import annotations

from math import lcm
from typing import Any, NamedTuple

from jaxgan import cgan, cyclegan, dcgan, pix2pix, spade, stargan, stylegan
from jaxgan.optim import Optimizer


class Case(NamedTuple):
    """A family, its side in pixels, and the images of a step (of a critic's turn)."""

    family: str
    size: int
    batch: int

    @property
    def name(self) -> str:
        return f"{self.family}-{self.size}-batch-{self.batch}"


SUITES = {
    "cpu": [
        Case("cgan", 28, 100), Case("dcgan", 64, 16), Case("pix2pix", 128, 1), Case("pix2pix", 256, 1), Case("cyclegan", 128, 1),
        Case("stargan", 128, 1), Case("spade", 256, 1), Case("stylegan", 64, 4),
    ],
    "cpu-large": [Case("cyclegan", 256, 1), Case("stylegan", 128, 4), Case("stylegan", 256, 2)],
    "gpu": [
        Case("cgan", 28, 100), Case("dcgan", 64, 128), Case("pix2pix", 256, 1), Case("pix2pix", 256, 16), Case("cyclegan", 256, 1), Case("cyclegan", 256, 4),
        Case("stargan", 128, 16), Case("spade", 256, 4), Case("stylegan", 64, 32), Case("stylegan", 128, 32), Case("stylegan", 256, 16),
    ],
}  # fmt: skip


def config_of(family: str, size: int, dtype: Any = "float32") -> Any:
    """The settings that both sides play by: each family's own recipe at this size; SPADE smaller, with a quarter of the feature maps and 32 classes."""
    sides = (size, size)
    if family == "cgan":
        adam = Optimizer()
        mlp: dict[str, Any] = {
            "architecture": "mlp",
            "generator_hidden": (128, 256, 512, 1024),
            "discriminator_hidden": (512, 512, 512),
        }
        return cgan.Config(
            sides,
            **mlp,
            dropout=0.4,
            generator_optimizer=adam,
            discriminator_optimizer=adam,
            dtype=dtype,
        )
    if family == "spade":
        return spade.Config(
            sides,
            classes=32,
            generator_width=16,
            norm_width=32,
            discriminator_width=32,
            dtype=dtype,
        )
    if family == "stylegan":
        recipe = stylegan.auto(sides)
        return type(recipe)(**{**vars(recipe), "dtype": dtype})
    families: dict[str, Any] = {
        "dcgan": dcgan,
        "pix2pix": pix2pix,
        "cyclegan": cyclegan,
        "stargan": stargan,
    }
    return families[family].Config(sides, dtype=dtype)


def kinds(config: Any) -> list[tuple[int | None, int]]:
    """(a value of `State.step`, how many rounds of a period are of its kind) of each kind of round."""
    intervals = [vars(config).get(name, 1) for name in ("r1_interval", "path_length_interval")]
    found: dict[tuple[bool, ...], list[int]] = {}
    for step in range(lcm(*intervals)):
        found.setdefault(tuple(step % interval == 0 for interval in intervals), []).append(step)
    return [(steps[0], len(steps)) for steps in found.values()] if len(found) > 1 else [(None, 1)]
