"""Whether images of one class lie together: nearest neighbours, linear probe, retrieval, clusters, class by class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from amcl_serve.evaluation.protocols import cases
from amcl_serve.evaluation.protocols.look import evenly
from amcl_serve.evaluation.protocols.parts.part import Estimate, Part
from amcl_serve.evaluation.result import Case, Figure, Table, defined
from amcl_serve.metrics.bootstrap import Independent, mean_of
from amcl_serve.metrics.checks import unit_rows
from amcl_serve.metrics.clustering import (
    adjusted_rand_index,
    k_means,
    normalised_mutual_information,
    purity,
)
from amcl_serve.metrics.knn import TEMPERATURE, knn_labels
from amcl_serve.metrics.linear_probe import probed
from amcl_serve.metrics.retrieval import rankings

KNN_K = (1, 5, 20)
KNN_MAIN = 20  # that of a card
RECALL = (1, 5, 10)
MOST_CLUSTERED = 10_000
_LISTED = 25  # classes, of the worst and of the best
_FIXED = "queries; the bank stays as it is"

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Labels:
    """Features [M, D] with labels [M], and which of them are the bank and which ask it, by place."""

    features: npt.NDArray[np.float32]
    labels: npt.NDArray[Any]
    bank: Numbers
    asking: Numbers
    seed: int
    held_out: bool  # whether those that ask are held out by the dataset, for words
    shown: Callable[[str, Sequence[int], float], Case] | None = None  # a title, places, a value: pictures of them

    @property
    def data(self) -> tuple[Any, Any, Any, Any]:
        """Bank, its labels, queries, theirs."""
        return (
            self.features[self.bank],
            self.labels[self.bank],
            self.features[self.asking],
            self.labels[self.asking],
        )

    @property
    def sizes(self) -> str:
        """In words."""
        held = "held-out queries" if self.held_out else "queries, a random half of each class"
        classes = len(np.unique(self.labels))
        return f"bank {len(self.bank)} images, {len(self.asking)} {held}, {classes} classes"

    def mean(self, name: str, title: str, protocol: str, values: npt.ArrayLike) -> Estimate:
        """The mean over queries [N]."""
        count = len(self.asking)
        return Estimate(
            name=name,
            title=title,
            protocol=f"{protocol}; {self.sizes}",
            n=count,
            statistic=mean_of(values),
            resampling=Independent(count),
            units=count,
            how=_FIXED,
            percent=True,
        )


def neighbours_by_class(given: Labels, ks: Sequence[int] = KNN_K) -> Part:
    """kNN, and the queries whose nearest image has another class."""
    part = Part("knn", "Nearest neighbours")
    ks = [k for k in ks if k <= len(given.bank)]
    named = knn_labels(*given.data, k=ks or [len(given.bank)], temperature=TEMPERATURE)
    truth = given.labels[given.asking]
    main = max((k for k in named if k <= KNN_MAIN), default=max(named))  # "knn" is its name on the card, too
    for k, found in named.items():
        name = "knn" if k == main else f"knn_{k}"
        said = f"accuracy of kNN on features, k = {k}, cosine, votes exp(s / {TEMPERATURE})"
        part.items.append(given.mean(name, f"kNN, k = {k}", said, found == truth))
    if given.shown is None:
        return part
    bank, asking = (unit_rows(given.features[each]) for each in (given.bank, given.asking))
    nearest = np.empty(len(asking), np.int64)
    cosine = np.empty(len(asking), np.float32)
    for start in range(0, len(asking), 1024):
        sim = asking[start : start + 1024] @ bank.T
        nearest[start : start + 1024], cosine[start : start + 1024] = sim.argmax(axis=1), sim.max(axis=1)
    wrong = np.flatnonzero(given.labels[given.bank[nearest]] != truth)
    for row in wrong[np.argsort(-cosine[wrong], kind="stable")][: cases.SHOWN]:
        both = [int(given.asking[row]), int(given.bank[nearest[row]])]
        title = f"{truth[row]} taken for {given.labels[both[1]]}"
        part.cases.append(given.shown(title, both, float(cosine[row])))
    return part


def probe(given: Labels) -> Part:
    """A linear classifier of the bank's features, asked by the queries."""
    part = Part("linear_probe", "Linear probe")
    try:
        found, correct = probed(*given.data, seed=given.seed)
    except ImportError:
        part.missing = "SciPy is not installed: pip install 'amcl-serve[evaluation]'"
        return part
    except ValueError as error:
        part.missing = str(error)
        return part
    said = (
        f"accuracy of multinomial logistic regression on standardised features, λ = {found.regularisation:g} chosen on "
        "a tenth of the bank"
    )
    part.items.append(given.mean("linear_probe", "Linear probe", said, correct))
    if not found.converged:
        part.notes.append("The fit ended with its iterations, not by itself.")
    return part


def ranked(given: Labels) -> Part:
    """The bank sorted by cosine to each query."""
    part = Part("retrieval", "Retrieval")
    found = rankings(*given.data)
    for k in RECALL:
        if k <= len(given.bank):
            said = f"share of queries with an image of their class among the first {k}"
            part.items.append(given.mean(f"recall_at_{k}", f"Recall at {k}", said, found.first <= k))
    for name, title, values, said in (
        ("map", "Mean average precision", found.average_precision, "over the whole bank"),
        ("map_at_r", "MAP@R", found.map_at_r, "average precision of the first R, as many as are relevant"),
        ("r_precision", "R-precision", found.r_precision, "share of relevant ones among the first R"),
        ("ndcg", "nDCG", found.ndcg, "discounted gain, of the best order's; the whole bank"),
    ):
        part.items.append(given.mean(name, title, said, values))
    alone = int(np.sum(found.relevant == 0))
    if alone:
        part.notes.append(f"{alone} queries have no image of their class in the bank: they count as nothing found.")
    truth = given.labels[given.asking]
    names, which, count = np.unique(truth, return_inverse=True, return_counts=True)
    columns = [np.bincount(which, weights=each) / count for each in (found.first <= 1, found.map_at_r)]
    order = np.argsort(columns[1], kind="stable")
    shown, title = order, "By class, the hardest first"
    if len(order) > 2 * _LISTED:
        shown = np.concatenate([order[:_LISTED], order[-_LISTED:]])
        title = f"By class, the {_LISTED} hardest and the {_LISTED} easiest of {len(order)}"
    rows: list[list[str | float | int | None]] = [
        [str(names[i]), int(count[i]), float(columns[0][i]), float(columns[1][i])] for i in shown
    ]
    part.tables.append(Table(title, ("class", "queries", "recall at 1", "MAP@R"), rows))
    return part


def clusters(given: Labels, places: Numbers) -> Part:
    """k-means of the features at `places`, with as many clusters as classes."""
    part = Part("clusters", "Clusters")
    places = places[evenly(len(places), MOST_CLUSTERED)]
    labels = given.labels[places]
    count = len(np.unique(labels))
    found = k_means(given.features[places], count, seed=given.seed)
    said = f"spherical k-means into {count} clusters, as many as classes, the best of three starts"
    for name, title, value in (
        ("nmi", "Mutual information", normalised_mutual_information(labels, found)),
        ("ari", "Adjusted Rand index", adjusted_rand_index(labels, found)),
    ):
        part.items.append(Figure(name, f"{title} of clusters and classes", defined(value), len(places), said))
    part.items.append(Figure("purity", "Purity of clusters", purity(labels, found), len(places), said, percent=True))
    return part
