"""How much each sample counts: DexHiL's intervention-aware reweighting and its relatives.

All of them give each category of samples a share of the loss, ``P*(c)``, and every sample of it
the weight ``w(c) = P*(c) / P(c)`` with ``P(c) = n_c / N`` (DexHiL, arXiv 2603.09121, Eq. 7), so
the mean weight is 1. They differ in ``P*`` only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from dexhil.policy.errors import TrainingError
from dexhil.policy.selection import Category

Weighting = Literal["dexhil", "uniform", "sirius"]
Shares = Mapping[Category, float]

# Of Sirius' loss. They found what leads to a takeover worth next to nothing.
_SIRIUS_PRE_INTERVENTION = 0.002


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Weights:
    """A loss weight for every sample, and what it does to the data.

    Attributes:
        values: One weight per sample. Shape (n,). Read-only.
        shares: Fraction of the samples, by category that is there.
        by_category: Weight of each sample, likewise.
        clipped: Whether a weight would have been larger than allowed.
    """

    values: npt.NDArray[np.float64]
    shares: Shares
    by_category: Shares
    clipped: bool

    @property
    def share(self) -> float:
        """Fraction of samples in which a person intervened."""
        return self.shares.get(Category.INTERVENTION, 0.0)

    @property
    def intervention(self) -> float:
        """Weight of samples in which a person intervened; 1 if there are none."""
        return self.by_category.get(Category.INTERVENTION, 1.0)

    @property
    def other(self) -> float:
        """Mean weight of all other samples; 1 if there are none."""
        if self.share == 1.0:
            return 1.0
        total = float(self.values.mean()) - self.share * self.intervention
        return total / (1.0 - self.share)

    @property
    def effective_share(self) -> float:
        """Fraction of the total weight that lies on interventions."""
        return self.share * self.intervention / float(self.values.mean())

    @property
    def effective_sample_size(self) -> float:
        """How many equally weighted samples would be as informative (Kish)."""
        return float(self.values.sum() ** 2 / np.square(self.values).sum())


def weigh(
    categories: npt.ArrayLike,
    weighting: Weighting = "dexhil",
    *,
    target_share: float = 0.5,
    largest: float = 10.0,
) -> Weights:
    """Weigh samples by their category.

    - ``"dexhil"``: interventions make up ``target_share`` of the loss, everything else shares
      the rest as it is. To draw samples in proportion to these weights is IWR's sampler.
    - ``"uniform"``: every sample counts once.
    - ``"sirius"``: interventions ``target_share``, the frames before them next to nothing; each
      demonstrated sample counts once, and the policy's own frames get what is left. Where nothing
      is left for those, or there are none of them, demonstrations share the rest: this is the
      guard that Sirius' own formula lacks, whose weights become negative there.

    Where nobody intervened, or there is nothing else, all weights are 1. A weight above
    ``largest`` is cut to it (ours, not the papers'), which lowers the mean.

    Args:
        categories: ``Category`` of each sample. Shape (n,).
        weighting: One of the above.
        target_share: Wanted share of interventions, between 0 and 1 exclusive.
        largest: No sample counts more than this.

    Raises:
        TrainingError: There are no samples, the target is not a share, or there is no such
            weighting.
    """
    kinds = np.asarray(categories, dtype=np.int64)
    if kinds.ndim != 1 or kinds.size == 0:
        raise TrainingError(f"Weights: expected one category per sample, got shape {kinds.shape}.")
    if weighting not in get_args(Weighting):
        allowed = ", ".join(get_args(Weighting))
        raise TrainingError(f"Weights: weighting is {weighting!r}, allowed are {allowed}.")
    if not 0.0 < target_share < 1.0:
        raise TrainingError(
            f"Weights: target_share is {target_share}, allowed is between 0 and 1, ends excluded."
        )
    counts = np.bincount(kinds, minlength=len(Category))
    shares = {kind: float(counts[kind] / kinds.size) for kind in Category if counts[kind]}
    wanted: Shares = shares
    if weighting != "uniform" and 0.0 < shares.get(Category.INTERVENTION, 0.0) < 1.0:
        targets = _dexhil if weighting == "dexhil" else _sirius
        wanted = targets(shares, target_share)
    exact = {kind: wanted[kind] / share for kind, share in shares.items()}
    cut = {kind: min(weight, largest) for kind, weight in exact.items()}
    values = np.array([cut.get(kind, 0.0) for kind in Category])[kinds]
    values.setflags(write=False)
    return Weights(values=values, shares=shares, by_category=cut, clipped=cut != exact)


def _dexhil(shares: Shares, target: float) -> Shares:
    scale = (1.0 - target) / (1.0 - shares[Category.INTERVENTION])
    rest = {kind: scale * share for kind, share in shares.items()}
    return {**rest, Category.INTERVENTION: target}


def _sirius(shares: Shares, target: float) -> Shares:
    wanted = {Category.INTERVENTION: target}
    if Category.PRE_INTERVENTION in shares:
        wanted[Category.PRE_INTERVENTION] = min(_SIRIUS_PRE_INTERVENTION, 1.0 - target)
    rest = 1.0 - sum(wanted.values())
    demonstrated = shares.get(Category.DEMONSTRATION, 0.0)
    if Category.ROLLOUT in shares:
        demonstrated = min(demonstrated, rest)
        wanted[Category.ROLLOUT] = rest - demonstrated
    elif demonstrated:
        demonstrated = rest
    else:  # Nobody else is there to take the rest.
        wanted = {kind: share / (1.0 - rest) for kind, share in wanted.items()}
    return {**wanted, Category.DEMONSTRATION: demonstrated}
