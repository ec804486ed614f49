"""An action-chunk policy trained by flow matching, small enough for one CPU core.

The flow runs from noise ``x_0 ~ N(0, 1)`` at t = 0 to the action chunk ``a`` at t = 1 along
``x_t = (1 - t) x_0 + t a`` with velocity ``a - x_0`` (DexHiL, arXiv 2603.09121, Eq. 11).

The network does not output the velocity but the clean chunk it believes in, ``a_hat``. Both
say the same, ``v = (a_hat - x_t) / (1 - t)``, and Eq. 11 becomes, to the letter,
``|v - (a - x_0)|^2 = |a_hat - a|^2 / (1 - t)^2``. But a velocity contains all the noise of the
chunk, 352 independent numbers for 16 x 22, which a narrow network cannot carry; a clean chunk
is smooth. The factor grows without bound at t = 1, so training draws t from zero to the last
time at which an Euler step asks, ``1 - 1 / integration_steps``; with one step it is regression.
"""

from dataclasses import KW_ONLY
from typing import Annotated

import torch
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from dexhil.policy.normalize import Normalizer

FREQUENCIES = 8  # Sine and cosine pairs that encode the flow's time.
FARTHEST = 10.0  # Observations are cut to this many standard deviations.
FLOOR = 0.05  # Rad or m; later rounds reach further than a first round that hardly varied.
IMAGE_FEATURES = 32

Positive = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class FlowPolicyConfig:
    """What a policy sees, what it answers and how big it is.

    Attributes:
        observations: Size of each vector it sees, by feature name, in order.
        action_dim: Joints in an action.
        relative: Action coordinates that are learnt relative to the same coordinate of
            ``observation.state`` at the chunk's first frame. The arm's joints: its next
            move depends on where it is far less than its next position does. A hand's
            targets stay absolute: a grasp is a posture, and its force is the distance
            between target and joint.
        cameras: Names of the image features it sees. Each gets a small network of its own.
        image_size: Images are shrunk to this many pixels squared.
        horizon: Frames in a chunk.
        execute_steps: Frames of a chunk to execute before asking again.
        width: Of the network's hidden layers.
        depth: Residual blocks.
        dropout: Share of hidden units dropped in training.
        observation_noise: Added in training, in standard deviations of the observation.
        integration_steps: Euler steps from noise to action.
    """

    _: KW_ONLY
    observations: dict[str, Positive]
    action_dim: Positive
    relative: tuple[Annotated[int, Field(ge=0)], ...] = ()
    cameras: tuple[str, ...] = ()
    image_size: Annotated[int, Field(ge=16)] = 64
    horizon: Positive = 16
    execute_steps: Positive = 8
    width: Positive = 256
    depth: Positive = 3
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    observation_noise: Annotated[float, Field(ge=0.0)] = 0.03
    integration_steps: Positive = 5

    @model_validator(mode="after")
    def _fits_together(self) -> "FlowPolicyConfig":
        if self.execute_steps > self.horizon:
            raise ValueError(
                f"execute_steps is {self.execute_steps}, allowed is at most horizon {self.horizon}"
            )
        known = min(self.action_dim, self.observations.get("observation.state", 0))
        if any(index >= known for index in self.relative):
            raise ValueError(
                f"relative is {self.relative}, allowed are coordinates below {known}, "
                "which both action and observation.state have"
            )
        if not self.observations and not self.cameras:
            raise ValueError("the policy sees nothing: name observations or cameras")
        return self

    @property
    def observation_dim(self) -> int:
        return sum(self.observations.values())


class FlowPolicy(nn.Module):
    """Denoises a chunk of actions given what was observed at its first frame.

    ``numbers`` are the observation vectors side by side. Shape (b, observation_dim).
    ``images`` are all cameras' images. Shape (b, cameras, 3, size, size), uint8.
    Chunks are absolute joint targets [rad]. Shape (b, horizon, action_dim).
    """

    def __init__(self, config: FlowPolicyConfig) -> None:
        super().__init__()
        self.config = config
        self.observation_normalizer = Normalizer(config.observation_dim)
        self.chunk_normalizer = Normalizer(config.horizon, config.action_dim)
        self.eyes = nn.ModuleList(_image_encoder() for _ in config.cameras)
        chunk = config.horizon * config.action_dim
        seen = config.observation_dim + IMAGE_FEATURES * len(config.cameras)
        self.denoiser = nn.Sequential(
            nn.Linear(seen + chunk + 2 * FREQUENCIES, config.width),
            *(_Block(config.width, config.dropout) for _ in range(config.depth)),
            nn.LayerNorm(config.width),
            nn.Linear(config.width, chunk),
        )

    def fit_normalizers(self, numbers: Tensor, chunks: Tensor) -> None:
        """Fit the scales to the data of the first round."""
        self.observation_normalizer.fit(numbers, floor=FLOOR)
        self.chunk_normalizer.fit(self.to_relative(chunks, numbers))

    def to_relative(self, chunks: Tensor, numbers: Tensor) -> Tensor:
        """Express the relative coordinates of absolute chunks from where the robot was."""
        return chunks - self._origin(numbers)

    def to_absolute(self, chunks: Tensor, numbers: Tensor) -> Tensor:
        """Undo ``to_relative``."""
        return chunks + self._origin(numbers)

    def _origin(self, numbers: Tensor) -> Tensor:
        """Return what is subtracted from a chunk. Shape (b, 1, action_dim)."""
        origin = numbers.new_zeros(len(numbers), 1, self.config.action_dim)
        first = 0
        for name, size in self.config.observations.items():
            if name == "observation.state":
                index = list(self.config.relative)
                origin[:, 0, index] = numbers[:, first : first + size][:, index]
            first += size
        return origin

    def context(self, numbers: Tensor, images: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return what the denoiser sees of an observation. Shape (b, n).

        Args:
            numbers: Vectors.
            images: Images.
            noise: To add to the normalised vectors. Shape as ``numbers``.
        """
        seen = self.observation_normalizer(numbers).clamp(-FARTHEST, FARTHEST)
        if noise is not None:
            seen = seen + noise
        features = [eye(images[:, i].float() / 255.0 - 0.5) for i, eye in enumerate(self.eyes)]
        return torch.cat([seen, *features], dim=-1)

    def denoise(self, noisy: Tensor, time: Tensor, context: Tensor) -> Tensor:
        """Return the clean chunk behind a ``noisy`` one, all normalised.

        Args:
            noisy: ``x_t``. Shape (b, horizon, action_dim).
            time: ``t`` in [0, 1). Shape (b,).
            context: From ``context``.
        """
        angles = time[:, None] * torch.pi / 2 * 2.0 ** torch.arange(FREQUENCIES)
        inputs = [context, noisy.flatten(1), angles.sin(), angles.cos()]
        clean: Tensor = self.denoiser(torch.cat(inputs, dim=-1))
        return clean.view_as(noisy)

    def loss(
        self, numbers: Tensor, images: Tensor, chunks: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return the flow-matching loss of every sample (Eq. 11), averaged over a chunk's numbers.

        Shape (b,). The caller weighs and averages them (Eq. 10).
        """
        action = self.chunk_normalizer(self.to_relative(chunks, numbers))
        noise = torch.randn(action.shape, generator=generator)
        latest = 1.0 - 1.0 / self.config.integration_steps
        time = latest * torch.rand(len(action), generator=generator)
        blur = self.config.observation_noise * torch.randn(numbers.shape, generator=generator)
        part = time[:, None, None]
        noisy = (1.0 - part) * noise + part * action
        clean = self.denoise(noisy, time, self.context(numbers, images, blur))
        error: Tensor = (clean - action).square().mean(dim=(1, 2))
        return error / (1.0 - time).square()

    @torch.no_grad()
    def sample(self, numbers: Tensor, images: Tensor, generator: torch.Generator) -> Tensor:
        """Draw one chunk of absolute joint targets for every observation."""
        context = self.context(numbers, images)
        config = self.config
        shape = (len(numbers), config.horizon, config.action_dim)
        chunk = torch.randn(shape, generator=generator)
        for step in range(config.integration_steps):
            time = step / config.integration_steps
            clean = self.denoise(chunk, torch.full((len(numbers),), time), context)
            velocity = (clean - chunk) / (1.0 - time)
            chunk = chunk + velocity / config.integration_steps
        return self.to_absolute(self.chunk_normalizer.inverse(chunk), numbers)


class _Block(nn.Module):
    """A residual layer that starts as the identity."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        last = nn.Linear(width, width)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.residual = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Dropout(dropout), last
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.residual(x)
        return out


def _image_encoder() -> nn.Module:
    """Return a network from images (b, 3, size, size) to features (b, IMAGE_FEATURES)."""
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 5, stride=2, padding=2), nn.SiLU()),
        *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.SiLU()),
        *(nn.Conv2d(32, 32, 3, stride=2, padding=1), nn.SiLU()),
        *(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(32 * 16, IMAGE_FEATURES)),
    )
