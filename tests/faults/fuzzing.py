"""What the fuzzers share: where they begin. libFuzzer goes on from seeds, and from words that the formats know."""

import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import atheris


def fuzz(check: Callable[[bytes], None], seeds: Iterable[bytes], words: Iterable[str]) -> None:
    """Fuzz with the options of the command line; seeds are added to its first folder, or to one that is made."""
    options = [argument for argument in sys.argv[1:] if argument.startswith("-")]
    folders = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    if any(Path(each).is_file() for each in folders):  # inputs that once failed, to be run again
        atheris.Setup(sys.argv, check)
        atheris.Fuzz()
        return
    corpus = Path(folders[0] if folders else tempfile.mkdtemp(prefix="meterstream-fuzz-"))
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    dictionary = corpus.with_name(f"{corpus.name}.dict")
    dictionary.write_text("".join(f'"{_quoted(word)}"\n' for word in words), encoding="ascii")
    atheris.Setup([sys.argv[0], f"-dict={dictionary}", *options, str(corpus), *folders[1:]], check)
    atheris.Fuzz()


def _quoted(word: str) -> str:
    return word.replace("\\", "\\\\").replace('"', '\\"')
