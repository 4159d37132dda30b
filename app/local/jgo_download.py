"""Download jars by their Maven coordinates, without Maven: FOLDER REPOSITORY_CACHE COORDINATES...

A script of its own, run where jgo can be imported. Prints the name of each jar as it arrives; the checksums are
compared by the caller, so whatever is in the cache from an interrupted run is fetched again.
"""

import shutil
import sys
from pathlib import Path

from jgo.maven import MavenContext, PythonResolver


def main(folder: Path, repository_cache: Path, coordinates: list[str]) -> None:
    """Copy each jar into ``folder``; an exception of jgo ends the script and is shown by the caller."""
    shutil.rmtree(repository_cache, ignore_errors=True)
    context = MavenContext(repo_cache=repository_cache, resolver=PythonResolver(), timeout=60)
    for text in coordinates:
        group, artifact, version = text.split(":")
        path = context.project(group, artifact).at_version(version).artifact().resolve()
        shutil.copyfile(path, folder / path.name)
        print(path.name, flush=True)  # noqa: T201 - the caller reads it
    shutil.rmtree(repository_cache, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
