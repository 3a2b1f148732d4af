"""The documents: their blocks of code, and what stands in `code` between words."""

import dataclasses
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Not the project's own, or not for its readers.
ELSEWHERE = {".git", ".venv", "__pycache__", "node_modules", "target", "corpus"}

FENCE = re.compile(r"^( *)(```+)(.*)$")
SPAN = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")


@dataclasses.dataclass(frozen=True)
class Block:
    """A block of code. Its first line says ```language,word,word."""

    page: str
    line: int
    language: str
    words: tuple
    text: str

    def place(self):
        return f"{self.page}:{self.line}"


@dataclasses.dataclass(frozen=True)
class Page:
    path: str
    text: str

    def blocks(self):
        return self._parts()[0]

    def prose(self):
        """The lines that are in no block, with their numbers."""
        return self._parts()[1]

    def spans(self):
        """What stands in backticks, also over the end of a line, with the number of the line in which it begins."""
        at, paragraph, found = 0, [], []
        for number, line in [*self.prose(), (0, "")]:
            if line.strip():
                at = at if paragraph else number
                paragraph.append(line)
                continue
            text = "\n".join(paragraph)
            for span in SPAN.finditer(text):
                found.append((at + text.count("\n", 0, span.start()), " ".join(span[2].split())))
            paragraph = []
        return found

    def _parts(self):
        blocks, prose, opened, begun, lines = [], [], None, 0, []
        for number, line in enumerate(self.text.splitlines(), 1):
            fence = FENCE.match(line)
            if opened is None and fence:
                opened, begun, lines = fence, number, []
            elif opened is None:
                prose.append((number, line))
            elif fence and fence[2] == opened[2] and not fence[3].strip():
                language, *words = opened[3].strip().split(",")
                indent = len(opened[1])
                text = "\n".join(line[indent:] for line in lines) + "\n"
                blocks.append(Block(self.path, begun, language, tuple(words), text))
                opened = None
            else:
                lines.append(line)
        assert opened is None, f"{self.path}:{begun}: this block does not end"
        return blocks, prose


def pages():
    """Every document of the repository."""
    found = []
    for path in sorted(ROOT.rglob("*.md")):
        inside = path.relative_to(ROOT)
        if not ELSEWHERE.intersection(inside.parts):
            found.append(Page(inside.as_posix(), path.read_text(encoding="utf-8")))
    assert len(found) > 20, found
    return found
