"""What the documents speak of: commands, keys, variables, metrics and codes, each of which has to be there."""

import itertools
import re
import shlex
import subprocess
import tomllib
import urllib.request

from pages import ROOT
from play import ASSIGNMENT, PROGRAM, commands
from processes import CALL_SECONDS_MAX, environment

SECTIONS = ("proxy", "ops", "webhooks", "log", "registry", "tenants")
# Sections of a tenant, which are also named without it.
OF_TENANT = ("eviction", "limit_error")
KEY = re.compile(rf"^(?:{'|'.join(SECTIONS + OF_TENANT)})(?:\.[\w*<>-]+)+(?= =|=|$)")
OWN_VARIABLE = re.compile(r"\bSNAPTRADE_SIDECAR__[A-Z0-9_]*[A-Z0-9]")
OTHER_VARIABLE = re.compile(r"\b(?:SNAPTRADE|OTEL)_(?!SIDECAR__)[A-Z][A-Z_]*[A-Z]\b(?!_)")
METRIC = re.compile(r"\bsnaptrade_sidecar_[a-z_]*[a-z]\b")
SHORT_METRIC = re.compile(r"^[a-z_]+_total\b")
CODE = re.compile(r"^sidecar_[a-z_]+$")
# Of a histogram, beside its name.
SAMPLES = ("_bucket", "_sum", "_count")
OPERATORS = {"|", "||", "&", "&&", ";"}


def command_lines(page):
    """Every command line of the program that a page has, in a block or between words, with its line."""
    found = []
    for block in page.blocks():
        if block.language in ("sh", ""):
            found += [(block.line, line) for line in commands(block.text)]
    found += page.spans()
    lines = []
    for at, text in found:
        for words in split(text):
            while words and (ASSIGNMENT.match(words[0]) or words[0] == "exec"):
                words = words[1:]
            if words[:2] == ["cargo", "run"] and "--" in words:
                words = [PROGRAM, *words[words.index("--") + 1 :]]
            # The name alone may be a file's or a container's.
            if words[:1] == [PROGRAM] and len(words) > 1:
                lines.append((at, words[1:]))
    return lines


def split(text):
    """The words of each command in a line."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        words = list(lexer)
    except ValueError:
        # Half of a quotation: it is no command line.
        return []
    found = [[]]
    for word in words:
        if word in OPERATORS:
            found.append([])
        else:
            found[-1].append(word)
    # Without what its output goes to.
    return [list(itertools.takewhile(lambda word: not set(word) <= {"<", ">"}, words)) for words in found]


def fault_of_command(binary, arguments):
    """What the program says of these arguments, if it does not understand them: with --help it does nothing else."""
    # What follows -- is another program's.
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    done = subprocess.run(
        [binary, *own, "--help"], env=environment(), capture_output=True, encoding="utf-8", timeout=30, check=False
    )
    return done.stderr.strip() if done.returncode else None


def known_keys(binary):
    """The path of every key, with `*` for a tenant, as the program tells them."""
    text = subprocess.run([binary, "check", "--reference"], capture_output=True, encoding="utf-8", check=True).stdout

    def paths(table, before):
        for name, value in table.items():
            path = [*before, "*" if before == ["tenants"] else name]
            if isinstance(value, dict):
                yield from paths(value, path)
            else:
                yield ".".join(path)

    # One is off, so that whoever copies the file does not set it by that.
    text = re.sub(r"^# (max_users = )", r"\1", text, flags=re.MULTILINE)
    found = set(paths(tomllib.loads(text), []))
    assert len(found) > 50, found
    return found


def keys(page):
    """What looks like a key between words, with its line."""
    for at, span in page.spans():
        named = KEY.match(span)
        if named:
            yield at, named[0]


def variables(page):
    for at, line in enumerate(page.text.splitlines(), 1):
        for found in OWN_VARIABLE.finditer(line):
            yield at, found[0]


def is_key(path, known):
    """Whether it is a key, or a section."""
    parts = path.split(".")
    if parts[0] in OF_TENANT:
        parts = ["tenants", "*", *parts]
    if parts[0] == "tenants" and len(parts) > 1:
        parts[1] = "*"
    path = ".".join(parts)
    return path in known or any(key.startswith(f"{path}.") for key in known)


def is_variable(name, known):
    return is_key(name.removeprefix("SNAPTRADE_SIDECAR__").lower().replace("__", "."), known)


def other_variables(page):
    for at, line in enumerate(page.text.splitlines(), 1):
        for found in OTHER_VARIABLE.finditer(line):
            yield at, found[0]


def known_variables():
    """The variables without a key: constants of the code, those of the traces, and those of the example backends."""
    found = set(re.findall(r'"(OTEL_\w+)"', (ROOT / "src/config/otel.rs").read_text(encoding="utf-8")))
    for path in (ROOT / "src").rglob("*.rs"):
        found |= set(re.findall(r': &str = "(SNAPTRADE_[A-Z_]+)"', path.read_text(encoding="utf-8")))
    for path in (ROOT / "examples").rglob("*.*"):
        if path.suffix in (".py", ".ts") and "node_modules" not in path.parts:
            found |= set(re.findall(r"\bSNAPTRADE_[A-Z_]+", path.read_text(encoding="utf-8")))
    # The application's, by which it can go back, and what all of the sidecar's own begin with.
    return found | {"SNAPTRADE_API_HOST", "SNAPTRADE_SIDECAR"}


def metrics(page):
    """Every metric that is named, with its whole name."""
    for at, line in enumerate(page.text.splitlines(), 1):
        for found in METRIC.finditer(line):
            yield at, found[0]
    for at, span in page.spans():
        found = SHORT_METRIC.match(span)
        if found and not span.startswith("process_"):
            yield at, "snaptrade_sidecar_" + found[0].removeprefix("snaptrade_sidecar_")


def exported(sidecar):
    """The families of a sidecar that has forwarded a call."""
    urllib.request.urlopen(f"{sidecar.url}/", timeout=CALL_SECONDS_MAX).close()
    with urllib.request.urlopen(f"{sidecar.ops}/metrics", timeout=CALL_SECONDS_MAX) as reply:
        text = reply.read().decode()
    return set(re.findall(r"^# TYPE (\S+)", text, re.M))


def is_exported(name, families):
    return name in families or any(name.removesuffix(end) in families for end in SAMPLES)


def codes(page):
    for at, span in page.spans():
        if CODE.match(span):
            yield at, span


def known_codes():
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.rs"))
    return set(re.findall(r'"(sidecar_[a-z_]+)"', "".join(sources)))
