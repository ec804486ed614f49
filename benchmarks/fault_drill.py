"""Everything that can break while somebody drives, many times over: is the robot held at once?

    python benchmarks/fault_drill.py [--n 100] [--kinds simulated emulated] [--faults ...]

In each drill somebody drives a rig through the real session: the policy, a person, or a person one
part of the robot and the policy the other. At a random moment one thing breaks. Then it is mended,
and the same person presses again. A drill has a problem unless

- everything is held in time, for a reason that names what broke, and no command of arm or hand
  changes after that: on the simulated clock not by one bit and not even in the tick that sees it,
  in real time in no later tick than the one that was under way; and the far ends stand still;
- no command of the whole drill leaves the range of a joint, is a faster step than the joint's speed
  allows, or takes the palm out of its box, by MuJoCo's kinematics;
- nothing goes on by itself once it is mended; a press goes on, and its first command is the one
  that was held. A device that latched its fault is recovered before, and the attempt begun anew;
- the attempt is in the dataset, frame by frame, and the dataset is sound.

Simulated: on the simulated clock; what reaches the simulated joints is judged. Emulated: a UR, a
LEAP hand, a MANUS glove, a marker cube before a camera, a keyboard and a camera, all emulators in
processes of their own behind the real drivers, in real time and threads, with the policy and the
recorder in processes too; nothing of it was ever tried on hardware. What nobody needs must stop
nobody: in the two rows "not needed" the robot goes on.

held    drills without a problem, of how many
found   from when it could be seen until everything was to be held: median and largest [ms]. What is
        found by its age takes as long as that may be, e.g. 200 ms for the glove
late    commands after that which were other ones, at most; one that was under way may be
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from dexhil.integration.drill.drill import Outcome
from dexhil.integration.drill.series import CATALOGUES, Kind, Series, run_series

RIGS = Path(__file__).parent.parent / "rigs"
EMULATED = Path("emulated")
KINDS: tuple[Kind, ...] = ("simulated", "emulated")


def plan(
    kind: Kind, rigs: Sequence[Path], faults: Sequence[str], n: int, seed: int
) -> list[Series]:
    """Share ``n`` drills of each fault among the rigs."""
    known = [name for name in faults if name in CATALOGUES[kind]]
    return [
        Series(
            kind=kind,
            rig=rig,
            drills=[(name, seed + k) for name in known for k in range(i, n, len(rigs))],
        )
        for i, rig in enumerate(rigs)
    ]


def cell(outcomes: Sequence[Outcome]) -> str:
    """Say what became of the drills of one fault on one rig."""
    if not outcomes:
        return ""
    good = sum(not each.problems for each in outcomes)
    found_ms = [1e3 * each.detected_s for each in outcomes if each.detected_s is not None]
    if not found_ms:
        return f"{good}/{len(outcomes)}   goes on"
    late = max(each.late for each in outcomes)
    held = f"{good}/{len(outcomes)}"
    return f"{held:7}{np.median(found_ms):5.0f}{max(found_ms):6.0f}{late:4}"


def show(outcomes: Sequence[Outcome], faults: Sequence[str]) -> None:
    """Print the matrix, and what is wrong."""
    rigs = list(dict.fromkeys((each.kind, each.rig) for each in outcomes))
    width = 25
    print(f"{'':18}" + "".join(f"{rig:{width}}" for _, rig in rigs))
    print(f"{'':18}" + f"{'held   found   max late':{width}}" * len(rigs))
    for fault in faults:
        row = [
            cell([each for each in outcomes if (each.kind, each.rig, each.fault) == (*rig, fault)])
            for rig in rigs
        ]
        print(f"{fault:18}" + "".join(f"{text:{width}}" for text in row).rstrip())
    for kind in KINDS:
        drills = [each for each in outcomes if each.kind == kind]
        if drills:
            bad = sum(bool(each.problems) for each in drills)
            inside_mm = -1e3 * max(each.outside_m for each in drills)
            print(
                f"\n{kind}: {len(drills)} drills, {bad} with a problem; largest step "
                f"{max(each.step for each in drills):.4f} of what is allowed, palm never nearer "
                f"than {inside_mm:.2f} mm to the end of its box; "
                f"{sum(each.n_spoilt for each in drills)} begun again because the machine was "
                "too busy to keep everything fresh"
            )
    for each in outcomes:
        for problem in each.problems:
            print(f"  {each.rig} / {each.fault} / seed {each.seed} / {each.who}: {problem}")


def main(arguments: list[str] | None = None) -> None:
    """Run the drills and print the matrix; ends with 1 if any drill has a problem."""
    every = list(dict.fromkeys(name for faults in CATALOGUES.values() for name in faults))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=100, help="drills of each fault and kind of rig")
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument(
        "--rigs", nargs="+", help="simulated ones, such as ur5e_leap; all if left out"
    )
    parser.add_argument("--faults", nargs="+", default=every, choices=every, metavar="NAME")
    parser.add_argument("--seed", type=int, default=0, help="of the first drill")
    parser.add_argument("--jobs", type=int, default=2, help="simulated rigs at once")
    parser.add_argument("--out", type=Path, help="write all outcomes as JSON")
    options = parser.parse_args(arguments)
    names = options.rigs or sorted(p.stem.removeprefix("sim_") for p in RIGS.glob("sim_*.toml"))
    outcomes: list[Outcome] = []
    for kind in options.kinds:
        rigs = [RIGS / f"sim_{name}.toml" for name in names] if kind == "simulated" else [EMULATED]
        start_s = time.monotonic()
        series = plan(kind, rigs, options.faults, options.n, options.seed)
        if kind == "emulated" or options.jobs == 1:  # In real time, nothing else may be running.
            found = [run_series(each) for each in series]
        else:
            with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
                found = list(pool.map(run_series, series))
        outcomes += [outcome for each in found for outcome in each]
        print(f"{kind}: {time.monotonic() - start_s:.0f} s", file=sys.stderr)
    show(outcomes, options.faults)
    if options.out is not None:
        options.out.write_text(json.dumps([asdict(each) for each in outcomes], indent=1) + "\n")
    sys.exit(any(each.problems for each in outcomes))


if __name__ == "__main__":
    main()
