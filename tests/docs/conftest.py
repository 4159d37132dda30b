"""The documents: their fenced blocks by the comment before each, and their tables."""

import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = ("README.md", "docs/formats.md", "docs/bills.md", "docs/operations.md")
_BLOCK: Final = re.compile(r"<!-- (?:example|snippet): ([a-z]+) -->\n```[a-z]+\n(.*?)```", re.DOTALL)


class Documents:
    """The pages as texts."""

    def __init__(self) -> None:
        self.pages: Final = {name: (ROOT / name).read_text(encoding="utf-8") for name in PAGES}

    def blocks(self, name: str) -> list[str]:
        """Return the blocks of this name on all pages."""
        return [text for page in self.pages.values() for kind, text in _BLOCK.findall(page) if kind == name]

    def table(self, page: str, name: str) -> list[list[str]]:
        """Return the rows of the table behind a comment, without its head."""
        rows = self.pages[page].split(f"<!-- {name} -->\n", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
        return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


@pytest.fixture(scope="session")
def documents() -> Documents:
    """The pages that people read."""
    return Documents()
