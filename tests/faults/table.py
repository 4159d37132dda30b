"""Make the table of docs/reliability.md from the counts of a run: `python -m tests.faults.table build/faults.jsonl`.

With `--write docs/reliability.md` the table there, between its two comments, is replaced.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any, Final

BEGIN: Final = "<!-- faults -->"
END: Final = "<!-- /faults -->"


def table(lines: list[str]) -> str:
    """Return the Markdown table of the counts in a run's lines, in the order of the tests' names."""
    rows = ["| What was done | Counted | Seconds | Test |", "|---|---|---|---|"]
    for entry in sorted(map(json.loads, lines), key=lambda each: each["test"]):
        counted = ", ".join(f"{_shown(value)} {name.replace('_', ' ')}" for name, value in entry["counts"].items())
        rows.append(f"| {entry['story']} | {counted} | {entry['seconds']} | `{_short(entry['test'])}` |")
    return "\n".join(rows)


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)


def _short(test: str) -> str:
    return re.sub(r"^tests/", "", test).replace("::", " ").split("[")[0]


def main(arguments: list[str]) -> None:
    """Print the table, or write it into a page."""
    made = table(Path(arguments[0]).read_text(encoding="utf-8").splitlines())
    if "--write" not in arguments:
        sys.stdout.write(made + "\n")
        return
    page = Path(arguments[arguments.index("--write") + 1])
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        sys.exit(f"{page} has no {BEGIN} and {END} between which the table belongs")
    page.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
