"""What is compared: ways to go on learning after the warm-up, as data in one table.

An arm says which episodes a round adds, which part of them is kept, and how samples weigh.
Arms that differ in one field only are a controlled comparison: ``dexhil`` and ``dagger_filtered``
in the weights, ``dexhil`` and ``dagger_weighted`` in the filter, and the four of them with
``dagger`` are the factorial filter × weights.
"""

from dataclasses import dataclass, replace
from typing import Literal

from dexhil.policy.errors import TrainingError
from dexhil.policy.selection import Keep
from dexhil.policy.weights import Weighting

Collect = Literal["corrections", "demonstrations"]
Balance = Literal["loss", "sampling"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to go on learning.

    Attributes:
        name: In tables and folders.
        collect: What a round adds: trials of the policy with a person ready to take over, or
            more demonstrations.
        keep: Which part of such a trial is learned from.
        weighting: How much a sample counts, by its category.
        target_share: Wanted share of interventions, where the weighting asks for one.
        balance: Whether weights multiply the loss or draw the samples.
    """

    name: str
    collect: Collect = "corrections"
    keep: Keep = "last_takeover"
    weighting: Weighting = "dexhil"
    target_share: float = 0.5
    balance: Balance = "loss"


ARMS = {
    arm.name: arm
    for arm in (
        Arm(name="dexhil"),
        Arm(name="dagger_filtered", weighting="uniform"),
        Arm(name="dagger", keep="whole_trial", weighting="uniform"),
        Arm(name="dagger_weighted", keep="whole_trial"),
        Arm(name="offline", collect="demonstrations", weighting="uniform"),
        Arm(name="iwr", keep="whole_trial", balance="sampling"),
        Arm(name="sirius", keep="whole_trial", weighting="sirius"),
        Arm(name="hg_dagger", keep="human_frames", weighting="uniform"),
    )
}


def find_arm(name: str) -> Arm:
    """Return the arm called ``name``; ``dexhil@0.25`` is ``dexhil`` with ``target_share`` 0.25.

    Raises:
        TrainingError: There is no such arm, or it has no share to set.
    """
    base, _, share = name.partition("@")
    if base not in ARMS:
        raise TrainingError(f"No arm is called {base!r}. Known: {', '.join(ARMS)}.")
    if not share:
        return ARMS[base]
    if ARMS[base].weighting == "uniform":
        raise TrainingError(f"Arm {name!r}: {base!r} counts every sample once, it has no share.")
    try:
        target = float(share)
    except ValueError:
        target = 0.0
    if not 0.0 < target < 1.0:
        raise TrainingError(
            f"Arm {name!r}: its share is {share!r}, allowed is between 0 and 1, ends excluded."
        )
    return replace(ARMS[base], name=name, target_share=target)
