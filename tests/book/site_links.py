"""The book as it was built: every link in it leads somewhere."""

import html.parser
import os.path
import urllib.parse


class Sheet(html.parser.HTMLParser):
    """The addresses that a page of HTML names, and those in it that can be named."""

    def __init__(self, text):
        super().__init__()
        self.links, self.ids = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.ids |= {attributes[name] for name in ("id", "name") if attributes.get(name)}
        for name in ("href", "src"):
            if attributes.get(name):
                self.links.append((self.getpos()[0], attributes[name]))


def broken_links(book):
    """Of all pages of a book, as `page:line: link`."""
    paths = {path.relative_to(book).as_posix(): path for path in book.rglob("*.html")}
    sheets = {name: Sheet(path.read_text(encoding="utf-8")) for name, path in paths.items()}
    assert len(sheets) > 20, sheets.keys()
    # The parts that are shown inside others, with links that count from there, and the page that may be shown anywhere.
    apart = {"toc.html", "404.html"}
    broken = []
    for name, sheet in sheets.items():
        for line, link in sheet.links if name not in apart else ():
            url = urllib.parse.urlsplit(link)
            if url.scheme or url.netloc:
                continue
            path = urllib.parse.unquote(url.path)
            target = os.path.normpath(os.path.join(os.path.dirname(name), path)) if path else name
            is_there = (book / target).is_file() and not target.startswith("..")
            if not is_there or url.fragment and urllib.parse.unquote(url.fragment) not in sheets[target].ids:
                broken.append(f"{name}:{line}: {link}")
    return broken
