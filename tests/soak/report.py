"""The report: what was done, what went wrong and why, and what the rules say to it, as a page to read."""

import platform
import statistics
import subprocess
from collections import Counter

CHART_COLUMNS = 12


def table(head, rows):
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return lines + [f"| {' | '.join(str(cell).replace('|', '/') for cell in row)} |" for row in rows]


def versions(binary):
    own = subprocess.run([binary, "--version"], capture_output=True, encoding="utf-8", check=True).stdout.strip()
    return f"{own}; Python {platform.python_version()}; {platform.system()} {platform.machine()}"


def calls(book):
    rows = []
    for shape in sorted({call.shape for call in book.calls}):
        of_it = [call for call in book.calls if call.shape == shape]
        left = sum(call.left for call in of_it)
        errors = sum(call.is_error for call in of_it)
        rows.append((shape, len(of_it), len(of_it) - left - errors, errors, left))
    total = [sum(row[place] for row in rows) for place in range(1, 5)]
    return table(("calls", "made", "good", "errors", "left by their callers"), [*rows, ("all", *total)])


def troubles(book, facts):
    counts = Counter(trouble.kind for trouble in book.troubles)
    seconds = Counter()
    for trouble in book.troubles:
        seconds[trouble.kind] += trouble.ended - trouble.began
    outside = table(
        ("trouble", "times", "seconds in all"),
        [(kind, count, round(seconds[kind])) for kind, count in sorted(counts.items())],
    )
    struck = Counter((entry.fault, entry.call) for entry in facts.entries.values() if entry.fault)
    kinds = ("other", "register", "list", "delete")
    names = sorted({fault for fault, _ in struck})
    rows = [(f"`{name}`", *(struck[name, kind] for kind in kinds)) for name in names]
    return [*outside, "", *table(("fault", "passed through", "registerUser", "listUsers", "deleteUser"), rows)]


def errors(explained):
    rows = [(outcome, why, count) for (outcome, why), count in sorted(explained.items())]
    return table(("what the caller saw", "what explains it", "calls"), rows)


def chart(samples, began, ended):
    """Medians over equal spans of time, for each replica."""
    span = (ended - began) / CHART_COLUMNS
    rows = []
    for replica in sorted({each.replica for each in samples}):
        own = [each for each in samples if each.replica == replica]
        for name, unit in (("rss_kib", "MiB"), ("descriptors", ""), ("threads", "")):
            cells = []
            for column in range(CHART_COLUMNS):
                first = began + column * span
                found = [getattr(each, name) for each in own if first <= each.at < first + span]
                value = statistics.median(found) if found else None
                cells.append("–" if value is None else round(value / 1024, 1) if unit else round(value))
            rows.append((f"{replica}: {'memory, MiB' if unit else name}", *cells))
    minutes = [f"{(column + 1) * span / 60:.2g}" for column in range(CHART_COLUMNS)]
    return table(("until minute", *minutes), rows)


def write(path, soak):
    """`soak` has everything that is told here."""
    lines = [
        "# Soak",
        "",
        f"{soak.verdict}. {soak.seconds} s of load and trouble, seed {soak.seed}. {versions(soak.binary)}.",
        "",
        *soak.notes,
        "",
        "## Calls",
        "",
        *calls(soak.book),
        "",
        "## What went wrong around the sidecars",
        "",
        *troubles(soak.book, soak.facts),
        "",
        "## Errors that callers saw",
        "",
        "Each is explained by a fault that struck this very call, or by a trouble that can bring it about.",
        "",
        *errors(soak.explained),
        "",
        "## Rules and bounds",
        "",
        *table(("check", "looked at", "result"), soak.checks),
        "",
        "## Memory, descriptors, threads",
        "",
        *chart(soak.samples, soak.began, soak.ended),
        "",
        "## What the sidecars' logs complained of",
        "",
        *table(("words", "lines"), sorted(soak.logged.items())),
        "",
    ]
    if soak.faults:
        lines += ["## Faults", "", *[f"- {fault}" for fault in soak.faults], ""]
    path.write_text("\n".join(lines))
