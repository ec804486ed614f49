"""Training: warm-up from demonstrations, then round after round from takeovers."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import cos, isfinite, pi

import torch
from torch import Tensor, nn

from dexhil.policy.arms import Balance
from dexhil.policy.checkpoint import Checkpoint
from dexhil.policy.chunks import Samples, make_samples
from dexhil.policy.episodes import Episode
from dexhil.policy.errors import TrainingError
from dexhil.policy.flow import FlowPolicy, FlowPolicyConfig
from dexhil.policy.weights import Weighting, Weights, weigh

WARM_STEPS = 100  # The learning rate rises over this many.
LARGEST_GRADIENT = 1.0
WEIGHT_DECAY = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where training is.

    Attributes:
        step: Steps done.
        steps: Steps in all.
        loss: Of the last step.
    """

    step: int
    steps: int
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainResult:
    """What training gave.

    Attributes:
        checkpoint: The policy, averaged over its last steps.
        losses: Weighted loss of every step done. Shape (steps,).
        weights: Of the samples, with the interventions' share before and after weighting.
        interrupted: Whether Ctrl-C ended it early.
    """

    checkpoint: Checkpoint
    losses: tuple[float, ...]
    weights: Weights
    interrupted: bool


def train(
    episodes: Sequence[Episode],
    config: FlowPolicyConfig,
    *,
    steps: int,
    seed: int,
    init: Checkpoint | None = None,
    weighting: Weighting = "dexhil",
    balance: Balance = "loss",
    target_share: float = 0.5,
    largest_weight: float = 10.0,
    batch: int = 256,
    learning_rate: float = 1e-3,
    progress: Callable[[Progress], None] = lambda _: None,
) -> TrainResult:
    """Fit a policy to episodes.

    Ctrl-C ends it after the step in hand; what was learnt so far is returned.

    Args:
        episodes: All data so far (DexHiL Eq. 9), images among their columns if ``config`` asks.
        config: Of the policy.
        steps: Gradient steps.
        seed: Of everything random.
        init: The previous round: start from its network and keep its scales (Eq. 12).
        weighting: How much samples count by the category of their first frame, see ``weigh``.
        balance: Whether the weights multiply the loss (Eq. 10) or draw the samples, which is
            the same in expectation.
        target_share: Wanted share of interventions.
        largest_weight: No sample counts more than this.
        batch: Samples per step.
        learning_rate: Its peak; it rises first and falls along a cosine.
        progress: Called after every step.

    Raises:
        TrainingError: The episodes do not fit ``config``, or the loss is not finite.
    """
    if steps < 1 or batch < 1:
        raise TrainingError(f"Training: steps is {steps}, batch {batch}; allowed is 1 or more.")
    if init is not None and init.config != config:
        raise TrainingError("Training: the checkpoint to start from has another configuration.")
    samples = make_samples(episodes, config)
    weights = weigh(
        samples.categories, weighting, target_share=target_share, largest=largest_weight
    )
    policy = _start(samples, config, seed, init)
    run = _Run(
        policy=policy,
        average=copy.deepcopy(policy),
        samples=samples,
        weights=torch.tensor(weights.values, dtype=torch.float32),
        balance=balance,
        batch=batch,
        generator=torch.Generator().manual_seed(seed),
    )
    losses, interrupted = run.steps(steps, learning_rate, progress)
    training = {
        "seed": seed,
        "steps": len(losses) + (init.training.get("steps", 0) if init else 0),
        "rounds": 1 + (init.training.get("rounds", 0) if init else 0),
        "episodes": len(episodes),
        "samples": len(samples),
        "weighting": weighting,
        "intervention_share": weights.share,
        "intervention_weight": weights.intervention,
        "other_weight": weights.other,
        "weights_clipped": weights.clipped,
        "interrupted": interrupted,
    }
    tensors = {name: tensor.detach().clone() for name, tensor in run.average.state_dict().items()}
    checkpoint = Checkpoint(config=config, tensors=tensors, training=training)
    return TrainResult(
        checkpoint=checkpoint, losses=tuple(losses), weights=weights, interrupted=interrupted
    )


def _start(
    samples: Samples, config: FlowPolicyConfig, seed: int, init: Checkpoint | None
) -> FlowPolicy:
    if init is not None:
        return init.policy()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        policy = FlowPolicy(config)
    policy.fit_normalizers(samples.numbers, samples.chunks)
    return policy


@dataclass(kw_only=True, eq=False)
class _Run:
    """One round of gradient steps on ``policy``; ``average`` follows it and is the result."""

    policy: FlowPolicy
    average: FlowPolicy
    samples: Samples
    weights: Tensor
    balance: Balance
    batch: int
    generator: torch.Generator

    def steps(
        self, steps: int, learning_rate: float, progress: Callable[[Progress], None]
    ) -> tuple[list[float], bool]:
        """Make ``steps`` steps; return the losses and whether Ctrl-C came."""
        optimizer = torch.optim.AdamW(self.policy.parameters(), weight_decay=WEIGHT_DECAY)
        losses: list[float] = []
        self.policy.train()
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.generator.initial_seed())  # Dropout draws from it.
                for step in range(steps):
                    rise = min(1.0, (step + 1) / WARM_STEPS)
                    fall = 0.5 + 0.5 * cos(pi * step / steps)
                    optimizer.param_groups[0]["lr"] = learning_rate * rise * fall
                    losses.append(self._step(optimizer, step))
                    progress(Progress(step=step + 1, steps=steps, loss=losses[-1]))
        except KeyboardInterrupt:
            return losses, True
        return losses, False

    def _step(self, optimizer: torch.optim.Optimizer, step: int) -> float:
        optimizer.zero_grad()
        loss = self.loss()
        value = float(loss.detach())
        if not isfinite(value):
            raise TrainingError(
                f"Training: the loss is {value} at step {step}; try a smaller learning_rate."
            )
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.policy.parameters(), LARGEST_GRADIENT)
        optimizer.step()
        # The average forgets its start quickly, so that short trainings are not held back.
        keep = min(0.995, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.policy.parameters(), strict=True):
                mean.lerp_(now, 1.0 - keep)
        return value

    def loss(self) -> Tensor:
        """Return the weighted loss of a fresh batch (Eq. 10)."""
        n = len(self.samples)
        if self.balance == "sampling":
            rows = torch.multinomial(
                self.weights, self.batch, replacement=True, generator=self.generator
            )
        else:
            rows = torch.randint(n, (self.batch,), generator=self.generator)
        data = self.samples
        each = self.policy.loss(
            data.numbers[rows], data.images[rows], data.chunks[rows], self.generator
        )
        return (each if self.balance == "sampling" else each * self.weights[rows]).mean()
