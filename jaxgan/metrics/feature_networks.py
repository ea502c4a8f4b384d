"""Which feature network a spec such as "digits" or "inception:FILE" names."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import parse_qsl

from jaxgan.errors import require
from jaxgan.metrics.classifier import SHIPPED, feature_network, open_classifier
from jaxgan.metrics.features import FeatureNetwork
from jaxgan.metrics.inception import open_inception
from jaxgan.metrics.judges import open_judge
from jaxgan.metrics.vgg import open_vgg

FROM_FILE = ("inception", "vgg16", "vgg19", "judge")
"""Networks whose weights the user has in a file."""


def open_network(spec: str) -> FeatureNetwork:
    """The network that `spec` names.

    "digits", "mnist", "fashion_mnist": classifiers that come with the package, trained on those sets.
    "inception:FILE": Inception of 2015-12-05, whose features are those of published FIDs; "vgg16:FILE", "vgg19:FILE": those of published precision and
    recall. FILE is the original's state dict (.pth, .npz, .safetensors), which is told by its checksum and never downloaded. Options follow a "?",
    parted by "&": `checksum=HEX`, how the SHA-256 of a converted file begins; `features=768` (or 64, 192), an earlier layer of Inception.
    "judge:FILE": a network trained on one's own data, see `jaxgan.metrics.judges`.

    Raises ValueError for another name or option; DataError for a file that is missing, another one than expected, or cannot be read.
    """
    name, _, rest = spec.partition(":")
    if name in SHIPPED and name == spec:
        return open_classifier(name)
    kinds = ", ".join([*SHIPPED, *(f"{kind}:FILE" for kind in FROM_FILE)])
    require(
        name in FROM_FILE and rest != "",
        f"network {spec!r} is of no known kind: the kinds are {kinds}",
    )
    if name == "judge":
        opened = open_judge(rest)
        return feature_network(opened, f"judge of {opened.kind}")
    path, options = _options(
        spec, rest, ("checksum", "features") if name == "inception" else ("checksum",)
    )
    if name == "inception":
        return open_inception(path, **options)
    return open_vgg(name, path, **options)


def _options(spec: str, rest: str, known: tuple[str, ...]) -> tuple[Path, dict[str, str]]:
    """Split `FILE?name=value&name=value`; a "?" in the name of a file that exists stays."""
    path, mark, query = rest.rpartition("?")
    if not mark or os.path.exists(os.path.expanduser(rest)):
        return Path(rest).expanduser(), {}
    options = dict(parse_qsl(query, keep_blank_values=True))
    odd = [name for name in options if name not in known]
    require(
        options and not odd,
        f"network {spec!r} has options that are not known: write FILE?{known[0]}=..., known here: {', '.join(known)}",
    )
    return Path(path).expanduser(), options
