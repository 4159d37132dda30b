"""Two workers of meterstream as one program: as many as the machine of the comparison has cores."""

import os
import signal
import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Run them until told to end, and return the worse of their exit statuses."""
    folder = Path(os.environ["METERSTREAM_DATA_DIR"])
    command = [sys.executable, "-m", "app.cli", "worker"]
    workers = [
        subprocess.Popen(command, env={**os.environ, "METERSTREAM_DATA_DIR": str(folder / f"{number}")})
        for number in range(2)
    ]

    def end(*_: object) -> None:
        for worker in workers:
            worker.terminate()

    signal.signal(signal.SIGTERM, end)
    return max(abs(worker.wait()) for worker in workers)


if __name__ == "__main__":
    sys.exit(main())
