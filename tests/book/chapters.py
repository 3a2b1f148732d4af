"""Makes a book of documents that were written to be read in their folders: mdBook's preprocessor of docs/book.toml.

A chapter may be a file above docs/, such as ../SECURITY.md, which mdBook alone would write beside the book. A link
leads to the chapter that is made of its file; where there is none, to the file at `git-repository-url`, if that is set,
and else it is only named, as in print.
"""

import json
import os.path
import pathlib
import re
import sys

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"
# Blocks and spans of code, in which nothing is a link, and the links.
PARTS = re.compile(
    r"(?P<code>^ *```.*?^ *```$|`[^`\n]+`)|(?P<image>!)?\[(?P<text>[^]]*)\]\((?P<target>[^)\s]+)\)", re.M | re.S
)


def chapters(items):
    for item in items:
        chapter = item.get("Chapter") if isinstance(item, dict) else None
        if chapter:
            yield chapter
            yield from chapters(chapter["sub_items"])


def in_book(source):
    """Where a chapter is in the book, by its file as docs/SUMMARY.md names it."""
    return source.removeprefix("../")


def relinked(chapter, known, repository):
    """The chapter's text, with links that hold in the book. `known` has the place of each chapter by its file."""
    here = os.path.dirname(chapter["source_path"])
    from_here = os.path.dirname(in_book(chapter["source_path"]))

    def link(found):
        text, (path, hash_, heading) = found["text"], found["target"].partition("#")
        if "://" in path or not path:
            return found[0]
        source = os.path.normpath(os.path.join(here, path))
        if source in known:
            to = known[source]
        elif not source.startswith("../") and (DOCS / source).is_file():
            to = source
        elif repository:
            return f"[{text}]({repository}/blob/HEAD/{os.path.normpath(os.path.join('docs', source))})"
        else:
            return text
        return f"{found['image'] or ''}[{text}]({os.path.relpath(to, from_here or '.')}{hash_}{heading})"

    def part(found):
        return found[0] if found["code"] else link(found)

    return PARTS.sub(part, chapter["content"])


def main():
    if sys.argv[1:2] == ["supports"]:
        return
    context, book = json.load(sys.stdin)
    repository = context["config"].get("output", {}).get("html", {}).get("git-repository-url")
    all_chapters = [chapter for chapter in chapters(book["items"]) if chapter["source_path"]]
    for chapter in all_chapters:
        chapter["path"] = in_book(chapter["path"])
    known = {chapter["source_path"]: chapter["path"] for chapter in all_chapters}
    for chapter in all_chapters:
        chapter["content"] = relinked(chapter, known, repository)
    json.dump(book, sys.stdout)


main()
