"""Which finger is which, in every picture of hands."""

from typing import Final

COLOURS: Final = {
    "thumb": "#d8743a",
    "index": "#3a78c2",
    "middle": "#2f9c84",
    "ring": "#b565a7",
    "little": "#c9a227",
}
"""Of the fingers, distinct for colour-blind eyes too."""
PALM: Final = "#bdc2cc"
