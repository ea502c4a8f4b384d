"""How good generated images are: features of a network, and distances between sets of features or between pairs of images.

    network = open_network("fashion_mnist")                       # or "inception:FILE": see `open_network`
    real, fake = extract(network, photos), extract(network, samples)
    frechet.distance(frechet.moments(real.features), frechet.moments(fake.features))

    evaluate(dcgan, config, state, "digits", ["fid", "kid"])     # all of it, of a model: results that say what they depend on

The mathematics is pure functions of arrays: `frechet`, `kernel`, `inception_score`, `manifold`, `path_length`, `paired`, `segmentation`. Networks are opened by
`features`, and are those of `classifier`, `inception` and `vgg`, or `judges` of one's own. An evaluation goes, in this order, through

    table      which figures there are, and which apply to a model
    tasks      what is to be made: for each direction, target domain, or all images (`real`: the real images beside them)
    ground     what does not depend on the state: features of real images; and `Watch`, which looks at generated ones on their way to the network
    measure    `evaluate`, which ties these together
    figures    features and errors to values with their floors (`looks`: what `jaxgan.report.diagnostics` puts into words)
    result     a value with all it depends on

and `jaxgan.run.evaluation` does it while a run trains.
"""

from jaxgan.metrics.feature_networks import open_network
from jaxgan.metrics.features import FeatureNetwork, Features, Outputs, cached, extract
from jaxgan.metrics.measure import evaluate
from jaxgan.metrics.result import Result, compare

__all__ = [
    "FeatureNetwork",
    "Features",
    "Outputs",
    "Result",
    "cached",
    "compare",
    "evaluate",
    "extract",
    "open_network",
]
