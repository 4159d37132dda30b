"""Run all measurements: this project by itself, and then beside its peers, in tables of ratios."""

import argparse

from benchmarks import budget, engine, latency, recovery, repricing, throughput
from benchmarks.peers import __main__ as peers


def main() -> None:
    """Run them one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one run of each, with fewer records")
    parser.add_argument("--alone", action="store_true", help="without the peers")
    options = parser.parse_args()
    quick = options.quick
    print("== the tariff engine alone (python -m benchmarks.engine)", flush=True)
    engine.main()
    print("== where the time of a record goes (python -m benchmarks.budget)", flush=True)
    budget.main(["--runs", "1", "--locations", "2000"] if quick else [])
    print("== throughput from meter.records to meter.priced, one worker (python -m benchmarks.throughput)", flush=True)
    throughput.main(["--runs", "1", "--steps", "10"] if quick else [])
    print("== latency from producer to priced record (python -m benchmarks.latency)", flush=True)
    latency.main(["--runs", "1", "--seconds", "10"] if quick else [])
    print("== a year of one location priced again (python -m benchmarks.repricing)", flush=True)
    repricing.main(["--runs", "1"] if quick else [])
    print("== stores rebuilt from their changelogs, beside stock Faust (python -m benchmarks.recovery)", flush=True)
    recovery.main(["--runs", "1", "--locations", "1000", "--stock", "10000"] if quick else [])
    if not options.alone:
        print("== the same job beside other systems (python -m benchmarks.peers)", flush=True)
        peers.main(["--runs", "1", "--records", "100000"] if quick else [])


if __name__ == "__main__":
    main()
