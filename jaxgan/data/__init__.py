"""Data: a spec such as `folder:DIR` -> arrays -> the batch of a step.

    digits = jaxgan.data.open("digits", image_size=(16, 16))
    rows = jaxgan.data.order(digits.size, batch_size, seed, step)       # a pure function of (seed, step)
    batch = jaxgan.data.batch(digits, rows)                             # uint8
    batch = jaxgan.data.prepare(batch, key, step, Augment(flip=True))   # inside jit: float32 in [-1, 1]

To add a kind of source, see `sources.SCHEMES`.
"""

from jaxgan.data.check import check, remarks
from jaxgan.data.combining import combine
from jaxgan.data.dataset import Dataset, from_arrays, from_domains, from_layouts, with_attributes
from jaxgan.data.loader import batch, prefetch
from jaxgan.data.opening import open
from jaxgan.data.order import order
from jaxgan.data.prepare import Augment, normalise, prepare

__all__ = [
    "Augment",
    "Dataset",
    "batch",
    "check",
    "combine",
    "from_arrays",
    "from_domains",
    "from_layouts",
    "normalise",
    "open",
    "order",
    "prefetch",
    "prepare",
    "remarks",
    "with_attributes",
]
