"""How soon `pairsmith --help` answers: the median of eleven runs in seconds, process start included.

    python -m tests.bench.cli [--small]

What takes longest to import is listed on stderr.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

from pipeline import ROOT
from tests.bench.measure import arguments, hand_over, say

PAIRSMITH = Path(sys.executable).with_name("pairsmith")


def seconds_to_help() -> float:
    began = time.perf_counter()
    subprocess.run([PAIRSMITH, "--help"], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def slowest_imports(count: int) -> list[str]:
    """Lines of `python -X importtime`, the largest time of a module's own first."""
    command = [sys.executable, "-X", "importtime", str(PAIRSMITH), "--help"]
    output = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stderr
    lines = [line.removeprefix("import time:") for line in output.splitlines() if line.startswith("import time:")]
    timed = [line for line in lines if line.split("|")[0].strip().isdigit()]
    return sorted(timed, key=lambda line: -int(line.split("|")[0]))[:count]


def main() -> None:
    args = arguments(__doc__).parse_args()
    seconds_to_help()  # the first may have to compile
    took = [seconds_to_help() for _ in range(3 if args.small else 11)]
    say("own us | cumulative us | module", *slowest_imports(12), sep="\n")
    hand_over({"help_s": round(statistics.median(took), 3), "slowest_s": round(max(took), 3), "runs": len(took)})


if __name__ == "__main__":
    main()
