"""How much each sample counts: DexHiL's intervention-aware reweighting."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dexhil.policy.errors import TrainingError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Weights:
    """A loss weight for every sample, and what it does to the data.

    Attributes:
        values: One weight per sample. Shape (n,). Read-only.
        share: Fraction of samples in which a person intervened.
        intervention: Weight of those samples.
        other: Weight of the rest.
        clipped: Whether a weight would have been larger than allowed.
    """

    values: npt.NDArray[np.float64]
    share: float
    intervention: float
    other: float
    clipped: bool

    @property
    def effective_share(self) -> float:
        """Fraction of the total weight that lies on interventions."""
        return self.share * self.intervention / float(self.values.mean())

    @property
    def effective_sample_size(self) -> float:
        """How many equally weighted samples would be as informative (Kish)."""
        return float(self.values.sum() ** 2 / np.square(self.values).sum())


def intervention_weights(
    intervention: npt.ArrayLike, *, target_share: float = 0.5, largest: float = 10.0
) -> Weights:
    """Weigh samples so that interventions make up ``target_share`` of the loss.

    ``w(c) = P*(c) / P(c)`` with ``P(c) = n_c / N`` (DexHiL, arXiv 2603.09121, Eq. 7), so the
    mean weight is 1. Where one class is empty there is nothing to balance: all weights are 1.
    A weight above ``largest`` is cut to it (ours, not the paper's), which lowers the mean.

    Args:
        intervention: Whether a person intervened in each sample. Shape (n,).
        target_share: Wanted share of interventions, between 0 and 1 exclusive.
        largest: No sample counts more than this.

    Raises:
        TrainingError: There are no samples, or the target is not a share.
    """
    flags = np.asarray(intervention, dtype=np.bool_)
    if flags.ndim != 1 or flags.size == 0:
        raise TrainingError(f"Weights: expected one flag per sample, got shape {flags.shape}.")
    if not 0.0 < target_share < 1.0:
        raise TrainingError(
            f"Weights: target_share is {target_share}, allowed is between 0 and 1, ends excluded."
        )
    share = float(flags.mean())
    if share in (0.0, 1.0):
        return _weights(flags, share, 1.0, 1.0, clipped=False)
    wanted = target_share / share, (1.0 - target_share) / (1.0 - share)
    cut = min(wanted[0], largest), min(wanted[1], largest)
    return _weights(flags, share, *cut, clipped=cut != wanted)


def uniform_weights(intervention: npt.ArrayLike) -> Weights:
    """Count every sample once: what DexHiL's reweighting is compared with."""
    flags = np.asarray(intervention, dtype=np.bool_)
    return _weights(flags, float(flags.mean()), 1.0, 1.0, clipped=False)


def _weights(
    flags: npt.NDArray[np.bool_], share: float, intervention: float, other: float, *, clipped: bool
) -> Weights:
    values = np.where(flags, intervention, other).astype(np.float64)
    values.setflags(write=False)
    return Weights(
        values=values, share=share, intervention=intervention, other=other, clipped=clipped
    )
