"""Run one emulator: ``python -m dexhil.drivers.emulators NAME``."""

import argparse
import signal
import sys
from typing import Any, cast

from dexhil.drivers.errors import DeviceError
from dexhil.drivers.registry import available, load


def main() -> int:
    """Serve until quit, Ctrl-C, or the end of the standard input if asked to."""
    parser = argparse.ArgumentParser(description="Emulate a device in this process.")
    parser.add_argument("name", help="one of: " + ", ".join(available("emulator")))
    parser.add_argument("--seed", type=int, default=0, help="of noise and chance")
    parser.add_argument("--until-eof", action="store_true", help="end when the standard input ends")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        emulator = cast("Any", load("emulator", arguments.name))(seed=arguments.seed)
        emulator.run(until_eof=arguments.until_eof)
    except DeviceError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
