"""Retargeting: errors, pinches, fists, smoothness and time per frame, ours and the peer's.

    python benchmarks/retarget.py [--keypoints FILE.npy] [--filtered] [--robust] ...

The same as ``dexhil retarget bench``; figures are defined in `dexhil.retarget.score`.
"""

import argparse
from pathlib import Path

from dexhil.integration.retargeting.bench import HANDS, METHODS, bench


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("hands", nargs="*", default=HANDS, help=f"default: {' '.join(HANDS)}")
    parser.add_argument("--keypoints", type=Path, help="recorded clip instead of the synthetic one")
    parser.add_argument("--methods", nargs="+", default=METHODS, help="ours")
    parser.add_argument("--runs", type=int, default=3, help="of which the table shows medians")
    parser.add_argument("--frames", type=int, help="how much of the clip")
    parser.add_argument("--paced", action="store_true", help="a frame every 10 ms")
    parser.add_argument("--filtered", action="store_true", help="also at the peer's smoothness")
    parser.add_argument("--robust", action="store_true", help="also wrong frames, other people")
    parser.add_argument("--stock", action="store_true", help="also the peer as it comes")
    parser.add_argument("--endurance", type=int, default=0, help="frames of a long run of ours")
    parser.add_argument("--out", type=Path, help="everything as JSON")
    options = vars(parser.parse_args())
    bench(**options | {"methods": tuple(options["methods"])})


if __name__ == "__main__":
    main()
