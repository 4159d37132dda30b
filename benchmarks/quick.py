"""Is a worker still as fast as it was? Its cost beside the bare loop of the same run, compared with the ratio that is kept here.

Warns below 90 % of it, and never fails for slowness: machines are noisy, and a ratio is too, though less than a time. What
fails is a wrong answer. After a change that is meant to be faster or slower, `--keep` writes the new ratio.
"""

import argparse
import asyncio
import json
import os
import statistics
from pathlib import Path
from typing import Final

from benchmarks import throughput
from benchmarks.setting import broker

KEPT: Final = Path(__file__).with_name("ratio.json")
LOCATIONS: Final = 10_000
STEPS: Final = 20
RUNS: Final = 3
LEAST: Final = 0.9


def judge(kept: float, found: float) -> str:
    """Return a line about a ratio (CPU of the worker by that of the bare loop: less is faster) beside the one that is kept."""
    speed = kept / found
    line = f"a record costs {found:.2f} times the bare loop; kept is {kept:.2f}: {speed:.0%} of the speed"
    if speed < LEAST:
        return f"WARNING: {line}, less than {LEAST:.0%}: is it the machine, or the last changes?"
    return line


def main(arguments: list[str] | None = None) -> None:
    """Run both sides some times, and compare the median of their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="write the ratio that was found, instead of comparing it")
    options = parser.parse_args(arguments)
    ratios = []
    with broker() as bootstrap_servers:
        for run in range(RUNS):
            load = os.getloadavg()[0]
            figures = asyncio.run(throughput.measure(bootstrap_servers, throughput.Load(LOCATIONS, STEPS)))
            ratios.append(figures["ratio_to_bare_loop"])
            print(
                f"run {run + 1}: {figures['records_per_cpu_second']:,.0f} records a CPU-second, "
                f"{ratios[-1]:.2f} times the bare loop (load of the machine {load:.1f})",
                flush=True,
            )
    found = statistics.median(ratios)
    if options.keep:
        KEPT.write_text(json.dumps({"ratio_to_bare_loop": round(found, 2)}) + "\n", encoding="ascii")
        print(f"kept: {found:.2f}")
    else:
        print(judge(json.loads(KEPT.read_text(encoding="ascii"))["ratio_to_bare_loop"], found))


if __name__ == "__main__":
    main()
