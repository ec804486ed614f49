"""What the maps are trained on: DexHiL's Eq. (1) and (2), and GeoRT's terms.

Lengths count in centimetres here, so that the terms are near one. The paper gives neither
the functions s and f of Eq. (1) nor any weight: these are ours.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
import torch
from torch import Tensor

from dexhil.retarget.keypoints import TIPS
from dexhil.retarget.training.nets import Answer, AnyMap, Batch, contacts

CM: Final = 100.0
GEORT_PINCH_M: Final = 0.015
WAY: Final = 0.05
"""Share of the way to another posture: a frame of a fast motion."""
LARGEST_BEND: Final = np.deg2rad(270.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LossWeights:
    """Weights of the terms.

    Attributes:
        vector: Of wrist-to-tip vectors, Eq. (1) with s = 1 and f = robot reach / human reach x d.
        gamma: Of the joints' distance from the open hand [cm²/rad²].
        side: The same of joints that move a finger sideways: a curled finger turns them at will.
        closing: Of the bend of a whole finger against the person's [cm²/rad²] (not the paper's).
        closed: The same when the person's finger is closed.
        kin: Of vectors between fingertips, Eq. (1) on pairs.
        contact: Weight s of a pair in contact, where f falls to zero, against 1 apart.
        pinch: Of the robot's gap while the person pinches.
        direction: Of the direction in which a tip moves.
        cover: Of the squared Chamfer distance to what the robot can reach [1/cm²].
        flat: Of second differences where single tips move [1/cm²].
        smooth: The same on the way from one person's posture to another's, all fingers moving.
    """

    vector: float = 1.0
    gamma: float = 0.02
    side: float = 1.0
    closing: float = 0.1
    closed: float = 3.0
    kin: float = 2.0
    contact: float = 20.0
    pinch: float = 3.0
    direction: float = 0.05
    cover: float = 0.01
    flat: float = 0.1
    smooth: float = 400.0


def vector_terms(answer: Answer, batch: Batch, map_: AnyMap) -> Tensor:
    """Return Eq. (1)'s data term of every finger [cm²]. Shape (batch, fingers)."""
    rows = list(map_.layout.rows)
    reaches = torch.as_tensor(map_.layout.reaches, dtype=torch.float32)
    wanted = batch.points[:, TIPS[rows]] * (reaches / batch.reaches[:, rows])[..., None]
    return 0.5 * ((answer.tips - wanted) * CM).square().sum(2)


def rest_term(answer: Answer, map_: AnyMap, weights: LossWeights) -> Tensor:
    """Return the weighted squared distance of all joints from the open hand [cm²]."""
    away = (answer.q - map_.rest).square().mean(0)
    bending = (map_.hand.flexion_gains != 0.0).any(0)
    bending[list(map_.layout.own[0])] = True
    return (torch.where(bending, weights.gamma, weights.side) * away).sum()


def bends(batch: Batch, rows: list[int]) -> Tensor:
    """Return how far the person's fingers bend in all [rad]. Shape (batch, fingers)."""
    along = torch.diff(batch.points[:, 1:].view(-1, 5, 4, 3)[:, rows], dim=2)
    x, z = along[..., 0], along[..., 2]
    x = torch.cat((torch.zeros_like(x[..., :1]), x), dim=2)
    z = torch.cat((torch.ones_like(z[..., :1]), z), dim=2)
    sine = z[..., :-1] * x[..., 1:] - x[..., :-1] * z[..., 1:]
    cosine = x[..., :-1] * x[..., 1:] + z[..., :-1] * z[..., 1:]
    return torch.atan2(sine, cosine).sum(2)


def closing_terms(answer: Answer, batch: Batch, map_: AnyMap, weights: LossWeights) -> Tensor:
    """Return weighted squared differences of bend of all but the thumb. Shape (batch, fingers - 1).

    The weight rises smoothly where the person's finger passes 150 degrees.
    """
    human = bends(batch, list(map_.layout.rows[1:]))
    gains = map_.hand.flexion_gains[1:]
    most = (gains.clamp_min(0.0) @ map_.hand.limits[:, 1]).clamp_max(LARGEST_BEND)
    error = answer.q @ gains.T - torch.minimum(human, most)
    weight = weights.closing + weights.closed * torch.sigmoid((human - 2.6) / 0.25)
    return weight * error.square()


def kin_term(answer: Answer, batch: Batch, map_: AnyMap, weights: LossWeights) -> Tensor:
    """Return Eq. (1) on the vectors between all fingertips, as one number [cm²].

    With the thumb, contact takes the wanted vector smoothly to zero and raises its weight.
    """
    rows = list(map_.layout.rows)
    tips = batch.points[:, TIPS[rows]]
    reaches = torch.as_tensor(map_.layout.reaches, dtype=torch.float32)
    scale = (reaches / batch.reaches[:, rows]).mean(1)[:, None, None]
    first, second = (
        list(column) for column in zip(*combinations(range(len(rows)), 2), strict=True)
    )
    touch = torch.zeros(len(tips), len(first))
    touch[:, : len(rows) - 1] = contacts(batch, map_.layout.rows)  # The thumb's pairs come first.
    wanted = scale * (1.0 - touch)[..., None] * (tips[:, second] - tips[:, first])
    error = (answer.tips[:, second] - answer.tips[:, first] - wanted) * CM
    weight = 1.0 + touch * (weights.contact - 1.0)
    return 0.5 * (weight * error.square().sum(2)).mean()


def pinch_term(answer: Answer, batch: Batch, rows: tuple[int, ...], *, hard: bool) -> Tensor:
    """Return the mean squared gap of the robot where the person pinches [cm²].

    Args:
        answer: Of the map.
        batch: What it answers.
        rows: Human finger of each robot finger.
        hard: Use GeoRT's threshold of 15 mm instead of the smooth contact.
    """
    touch = contacts(batch, rows)
    if hard:
        tips = batch.points[:, TIPS[list(rows)]]
        gaps = torch.linalg.vector_norm(tips[:, 1:] - tips[:, :1], dim=2)
        touch = (gaps < GEORT_PINCH_M).float()
    gap = ((answer.tips[:, 1:] - answer.tips[:, :1]) * CM).square().sum(2)
    return (touch * gap).sum() / (touch.sum() + 1e-7)


def moved(batch: Batch, steps: Tensor, rows: list[int]) -> Batch:
    """Return the batch with tips moved and their fingers along; steps are (batch, fingers, 3)."""
    points = batch.points.clone()
    fingers = points[:, 1:].view(-1, 5, 4, 3)
    share = torch.tensor([0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0])[:, None]
    fingers[:, rows] = fingers[:, rows] + share * steps[:, :, None]
    return Batch(points, batch.reaches)


def motions(
    map_: AnyMap, batch: Batch, rows: list[int], generator: torch.Generator
) -> tuple[Batch, Tensor]:
    """Return frames to go with ``batch``: tips far ahead, ahead and behind, as one batch.

    Args:
        map_: Whose frames they are.
        batch: Frames around which the tips are moved.
        rows: Robot fingers whose tips are moved, each in a direction of its own.
        generator: Draws the directions, also returned. Shape (batch, fingers, 3).
    """
    human = [map_.layout.rows[row] for row in rows]
    steps = torch.randn((len(batch.points), len(rows), 3), generator=generator)
    steps = steps / torch.linalg.vector_norm(steps, dim=2, keepdim=True)
    far = 0.001 + 0.01 * torch.rand((len(steps), len(rows), 1), generator=generator)
    there = [moved(batch, length * steps, human) for length in (far, 0.002, -0.002)]
    return Batch(*(torch.cat(columns) for columns in zip(*there, strict=True))), steps


def motion_terms(tips: Tensor, there: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
    """Return GeoRT's direction and flatness terms.

    Args:
        tips: Of the robot. Shape (batch, fingers, 3).
        there: The same for `motions`. Shape (3 x batch, fingers, 3).
        steps: Directions of the person's tips. Shape (batch, fingers, 3).
    """
    far, ahead, behind = there.view(3, *tips.shape)
    cosine = torch.nn.functional.cosine_similarity(far - tips, steps, dim=2, eps=1e-5)
    bend = (ahead + behind - 2.0 * tips) * CM
    return -cosine.mean(), bend.square().sum(2).mean()


def between(batch: Batch, few: int) -> Batch:
    """Return the first few frames moved towards and away from their neighbours in the batch."""
    step = WAY * (batch.points[1 : few + 1] - batch.points[:few])
    points = torch.cat((batch.points[:few] + step, batch.points[:few] - step))
    return Batch(points, batch.reaches[:few].repeat(2, 1))


def smooth_term(tips: Tensor, around: Tensor) -> Tensor:
    """Return the mean squared second difference of fingertips over `between` [cm²]."""
    ahead, behind = around.view(2, *tips.shape)
    bend = (ahead + behind - 2.0 * tips) * CM
    return torch.mean(bend.square().sum(2))


def cover_term(tips: Tensor, reachable: Tensor) -> Tensor:
    """Return the squared Chamfer distance of two clouds, both ways [cm²].

    Args:
        tips: Of the map. Shape (batch, fingers, 3).
        reachable: Of the robot. Shape (samples, fingers, 3).
    """
    a, b = tips.transpose(0, 1) * CM, reachable.transpose(0, 1) * CM
    squares = (
        a.square().sum(2)[:, :, None] + b.square().sum(2)[:, None] - 2.0 * a @ b.transpose(1, 2)
    ).clamp_min(0.0)
    return squares.amin(2).mean() + squares.amin(1).mean()
