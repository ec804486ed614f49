"""Everything retargeting may raise."""


class RetargetError(ValueError):
    """The keypoints cannot be turned into joint targets; hold the hand."""
