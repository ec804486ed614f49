"""Collecting: demonstrations by a person, takeovers of a policy, evaluations of it alone."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from dexhil.integration.bench import Attempt, Bench
from dexhil.integration.errors import RunError
from dexhil.integration.operator import Role
from dexhil.integration.recorder import Recorder
from dexhil.integration.statistics import Rate
from dexhil.policy.episodes import EpisodeWriter
from dexhil.teleop.actions import Policy

# Seeds of starts that never meet: evaluation must not see a start of the training data.
DEMONSTRATION_SEEDS = 1_000_000
TAKEOVER_SEEDS = 2_000_000
EVALUATION_SEEDS = 3_000_000
SEEDS_PER_RUN = 10_000
STARTS_PER_ROUND = 1_000

Progress = Callable[[Attempt], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """How a policy does alone, on starts that are the same for every policy."""

    attempts: tuple[Attempt, ...]

    @property
    def rate(self) -> Rate:
        """Successes of all attempts."""
        return Rate(sum(attempt.success for attempt in self.attempts), len(self.attempts))

    @property
    def false_alarms(self) -> Rate | None:
        """Alarms in attempts that the policy saved by itself; ``None`` without any of those."""
        alone = [attempt for attempt in self.attempts if attempt.success]
        return Rate(sum(a.alarm is not None for a in alone), len(alone)) if alone else None

    @property
    def missed_alarms(self) -> Rate | None:
        """Failures that nobody saw coming; ``None`` without any failure."""
        failed = [attempt for attempt in self.attempts if not attempt.success]
        return Rate(sum(a.alarm is None for a in failed), len(failed)) if failed else None


def seeds(family: int, run: int, round_number: int = 0) -> Iterator[int]:
    """Yield the starts of one family for run number ``run``, from those of a round on."""
    first = family + run * SEEDS_PER_RUN
    yield from range(first + round_number * STARTS_PER_ROUND, first + SEEDS_PER_RUN)


def demonstrate(
    bench: Bench,
    writer: EpisodeWriter,
    n: int,
    *,
    run: int = 0,
    round_number: int = 0,
    familiar: bool = True,
    progress: Progress = lambda _: None,
) -> list[Attempt]:
    """Record ``n`` successful demonstrations; failed ones are not kept.

    Args:
        bench: Where.
        writer: Of the dataset that takes the episodes.
        n: Demonstrations wanted.
        run: Of the seeds.
        round_number: Every round has starts of its own.
        familiar: Only from familiar starts; all starts otherwise.
        progress: Told of every attempt.

    Raises:
        RunError: The operator fails more often than it succeeds.
    """
    recorder = Recorder(writer, demonstration=True)
    attempts: list[Attempt] = []
    for seed in seeds(DEMONSTRATION_SEEDS, run, round_number):
        writer.begin_episode(bench.task.prompt)
        attempt = bench.attempt(seed, role=Role.DEMONSTRATE, familiar=familiar, sink=recorder)
        attempts.append(attempt)
        progress(attempt)
        _keep(writer, attempt, keep=attempt.success)
        kept = sum(done.success for done in attempts)
        if kept == n:
            return attempts
        if len(attempts) - kept > max(n, 5):
            break
    raise RunError(f"The operator succeeded in only {kept} of {len(attempts)} demonstrations.")


def correct(
    bench: Bench,
    policy: Policy,
    writer: EpisodeWriter,
    n: int,
    *,
    run: int = 0,
    round_number: int = 0,
    most: int = 60,
    progress: Progress = lambda _: None,
) -> list[Attempt]:
    """Let the policy try under supervision until ``n`` takeovers ended in success.

    Every attempt with a takeover is recorded, whole and labelled; what to learn from
    it is the trainer's choice. Attempts that the policy did alone are not.

    Args:
        bench: Where.
        policy: Who tries.
        writer: Of the dataset that takes the episodes.
        n: Takeovers wanted.
        run: Of the seeds.
        round_number: Every round has starts of its own.
        most: Attempts to make at most.
        progress: Told of every attempt.
    """
    recorder = Recorder(writer)
    attempts: list[Attempt] = []
    for seed in seeds(TAKEOVER_SEEDS, run, round_number):
        writer.begin_episode(bench.task.prompt)
        attempt = bench.attempt(seed, role=Role.SUPERVISE, policy=policy, sink=recorder)
        attempts.append(attempt)
        progress(attempt)
        _keep(writer, attempt, keep=attempt.taken_over)
        saved = sum(done.success and done.taken_over for done in attempts)
        if saved == n or len(attempts) == most:
            break
    return attempts


def evaluate(
    bench: Bench,
    policy: Policy,
    n: int,
    *,
    watched: bool = False,
    progress: Progress = lambda _: None,
) -> Evaluation:
    """Let the policy try alone from the first ``n`` evaluation starts.

    Args:
        bench: Where.
        policy: Who tries.
        n: How many starts.
        watched: Have an operator note when it would have taken over, without doing so.
        progress: Told of every attempt.
    """
    role = Role.WATCH if watched else None
    attempts: list[Attempt] = []
    for seed in _first(seeds(EVALUATION_SEEDS, 0), n):
        attempt = bench.attempt(seed, role=role, policy=policy)
        attempts.append(attempt)
        progress(attempt)
    return Evaluation(attempts=tuple(attempts))


def _keep(writer: EpisodeWriter, attempt: Attempt, *, keep: bool) -> None:
    if keep:
        writer.end_episode(attempt.success)
    else:
        writer.discard_episode()


def _first(items: Iterable[int], n: int) -> Iterator[int]:
    for _, item in zip(range(n), items, strict=False):
        yield item
