#!/usr/bin/env python3
"""Tells how many lines of some modules the tests execute, and fails where it is fewer than there have to be.

    cargo test --no-run --message-format json | tests/coverage.py PROFILES

PROFILES is a folder of .profraw files. The programs that wrote them are those that cargo names: built with
-Cinstrument-coverage (see tests/instrument) and run with LLVM_PROFILE_FILE. LLVM's own tools are not needed, which rustup brings as a component
only, and Debian in a version too old for this rustc's files: both formats are read here, as far as line counts take it
(LLVM 19 to 22: raw profiles 9 and 10, coverage mappings 6 and 7; https://llvm.org/docs/CoverageMappingFormat.html).

A line counts if code begins on it or runs over it that is not in a module for tests. It is covered if any program
executed it; of several versions of a generic function one is enough. The fields of a log line are compiled twice, for
`tracing` and for `log`, of which rustc counts the one that never runs: they are taken as executed with the line's macro.
"""

import collections
import hashlib
import json
import pathlib
import struct
import sys
import zlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
PERCENT_MIN = 95.0
MODULES = ["admission", "snaptrade", "guard", "registry"]
# As they stand in mangled names, with their lengths.
TEST_MODULES = [b"5tests", b"10simulation", b"9simulated"]

PROFILE_MAGIC = 0xFF6C70726F667281
PROFILE_VERSIONS = (9, 10)
MAPPING_VERSIONS = (5, 6)  # Counted from 0.
DATA_BYTES = 64


class Bytes:
    """Reads a piece of memory from its beginning."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, length):
        taken = self.data[self.at : self.at + length]
        if len(taken) < length:
            sys.exit("a coverage mapping ends too early: is it of another version of LLVM?")
        self.at += length
        return taken

    def number(self):
        """LEB128, unsigned."""
        value, shift = 0, 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def blob(self):
        """Bytes that may be compressed, after their lengths without and with that."""
        length, compressed = self.number(), self.number()
        return zlib.decompress(self.take(compressed)) if compressed else self.take(length)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    profiles = sorted(pathlib.Path(sys.argv[1]).glob("*.profraw"))
    if not profiles:
        sys.exit(f"there is no .profraw file in {sys.argv[1]}: run the tests with LLVM_PROFILE_FILE set")
    counts = {}
    for profile in profiles:
        read_profile(profile, counts)
    lines = collections.defaultdict(dict)
    for message in map(json.loads, sys.stdin):
        if message.get("executable"):
            read_program(message["executable"], counts, lines)
    return report(lines)


def read_profile(path, counts):
    """Adds the counters of one .profraw file, by function."""
    raw = path.read_bytes()
    header = struct.unpack_from("<16Q", raw)
    magic, version, ids_size, functions, padding = header[:5]
    version &= 0xFFFFFFFF
    if magic != PROFILE_MAGIC or version not in PROFILE_VERSIONS:
        sys.exit(f"{path} is no raw profile of version {PROFILE_VERSIONS}, but {version}: teach this script the new one")
    counters_delta = header[10]
    data_at = struct.calcsize("<16Q") + ids_size
    counters_at = data_at + functions * DATA_BYTES + padding
    for number in range(functions):
        record_at = data_at + number * DATA_BYTES
        name, shape, counter_pointer = struct.unpack_from("<3Q", raw, record_at)
        length = struct.unpack_from("<I", raw, record_at + 48)[0]
        # Both are relative: the pointer to its record, the delta to the first one.
        offset = (counter_pointer - counters_delta + number * DATA_BYTES) & 0xFFFFFFFFFFFFFFFF
        found = struct.unpack_from(f"<{length}Q", raw, counters_at + offset)
        known = counts.get((name, shape))
        counts[name, shape] = found if known is None else tuple(map(sum, zip(known, found, strict=True)))


def sections(program):
    """The sections of an ELF file by name."""
    raw = pathlib.Path(program).read_bytes()
    if raw[:5] != b"\x7fELF\x02":
        sys.exit(f"{program} is no 64-bit ELF file; this script reads no others")
    table, entry, count, names = *struct.unpack_from("<Q", raw, 0x28), *struct.unpack_from("<3H", raw, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", raw, table + entry * number) for number in range(count)]
    named = {}
    for name, _, _, _, offset, size in headers:
        start = headers[names][4] + name
        named[raw[start : raw.index(b"\0", start)].decode()] = raw[offset : offset + size]
    return named


def read_program(program, counts, lines):
    """Adds how often each line of one program's own code was executed."""
    own = sections(program)
    if "__llvm_covfun" not in own:
        sys.exit(f"{program} was built without -Cinstrument-coverage")
    files = file_tables(own["__llvm_covmap"])
    names = function_names(own["__llvm_prf_names"])
    covered, at = own["__llvm_covfun"], 0
    while at + 28 <= len(covered):
        name, size, shape, table = struct.unpack_from("<QIQQ", covered, at)
        mapping = Bytes(covered[at + 28 : at + 28 + size])
        at += 28 + size
        at += -at % 8
        if not any(module in names.get(name, b"") for module in TEST_MODULES):
            add_function(mapping, files[table], counts.get((name, shape), ()), lines)


def file_tables(raw):
    """The lists of file names, by their hashes, by which functions refer to them."""
    tables, at = {}, 0
    while at + 16 <= len(raw):
        _, size, _, version = struct.unpack_from("<4I", raw, at)
        if version not in MAPPING_VERSIONS:
            sys.exit(f"the coverage mapping has version {version + 1}: teach this script the new one")
        blob = raw[at + 16 : at + 16 + size]
        at += 16 + size
        at += -at % 8
        table = Bytes(blob)
        count = table.number()
        names = Bytes(table.blob())
        paths = [names.take(names.number()).decode() for _ in range(count)]
        # The first is the folder that the others are relative to.
        tables[key(blob)] = [pathlib.Path(paths[0]) / path for path in paths]
    return tables


def function_names(raw):
    names, section = {}, Bytes(raw)
    while section.at < len(raw):
        if raw[section.at] == 0:
            section.take(1)
            continue
        names.update((key(name), name) for name in section.blob().split(b"\x01"))
    return names


def key(text):
    return struct.unpack("<Q", hashlib.md5(text, usedforsecurity=False).digest()[:8])[0]


def add_function(mapping, table, counters, lines):
    files = [table[mapping.number()] for _ in range(mapping.number())]
    expressions = [(mapping.number(), mapping.number()) for _ in range(mapping.number())]
    for path in files:
        regions = list(code_regions(mapping, expressions, counters))
        if path.is_relative_to(ROOT / "src"):
            known = lines[path.relative_to(ROOT).as_posix()]
            for line, count in line_counts(regions):
                known[line] = max(known.get(line, 0), count)


def code_regions(mapping, expressions, counters):
    """(start, end, count) of each piece of code, with places as (line, column), and whether it is a gap."""
    line = 0
    for _ in range(mapping.number()):
        head = mapping.number()
        kind = 0
        if head & 3 == 0:
            # The lowest bits of what is no counter tell an expansion, or else another kind of region.
            kind = 1 if head & 4 else head >> 3
        if kind in (4, 6):
            mapping.number(), mapping.number()
        if kind == 5:
            mapping.number(), mapping.number()
        if kind == 6:
            mapping.number(), mapping.number(), mapping.number()
        line += mapping.number()
        column, height, last = mapping.number(), mapping.number(), mapping.number()
        is_gap, last = bool(last & 1 << 31), last & (1 << 31) - 1
        if kind == 0:
            yield (line, column), (line + height, last), evaluated(head, expressions, counters), is_gap


def evaluated(counter, expressions, counters):
    """The count that a counter, or an expression of some, comes to. Of a function that never ran there are none."""
    kind, place = counter & 3, counter >> 2
    if kind == 0 or not counters:
        return 0
    if kind == 1:
        return counters[place]
    left, right = (evaluated(side, expressions, counters) for side in expressions[place])
    return left - right if kind == 2 else left + right


def line_counts(regions):
    """As llvm-cov tells it: the most of the regions that begin on a line, and of the innermost that runs into it."""
    if not regions:
        return
    first, last = min(region[0][0] for region in regions), max(region[1][0] for region in regions)
    for line in range(first, last + 1):
        begun = [count for start, _, count, is_gap in regions if start[0] == line and not is_gap]
        over = [(start, count) for start, end, count, _ in regions if start[0] < line and end > (line, 1)]
        over = [max(over)[1]] if over else []
        if begun or over:
            yield line, max(begun + over)


def join_log_lines(path, counts):
    """Has the lines of a `tracing` macro counted as its first one is."""
    first, end = None, None
    for number, text in enumerate((ROOT / path).read_text().splitlines(), start=1):
        indent = text[: len(text) - len(text.lstrip())]
        if end is None and text.lstrip().startswith("tracing::") and text.endswith("!("):
            first, end = number, indent + ")"
        elif end is not None:
            if number in counts:
                counts[number] = max(counts[number], counts.get(first, 0))
            if text.startswith(end):
                end = None


def report(lines):
    failed = 0
    for path, counts in lines.items():
        join_log_lines(path, counts)
    for module in MODULES:
        files = {path: counts for path, counts in sorted(lines.items()) if is_of(path, module)}
        total = sum(len(counts) for counts in files.values())
        missed = {path: [line for line in sorted(counts) if not counts[line]] for path, counts in files.items()}
        covered = total - sum(map(len, missed.values()))
        percent = 100 * covered / total if total else 0.0
        verdict = "" if percent >= PERCENT_MIN else f"  FAILED: at least {PERCENT_MIN} % are wanted"
        failed += bool(verdict)
        print(f"{module:<10} {percent:6.2f} % of {total} lines{verdict}")
        for path, numbers in missed.items():
            if numbers:
                print(f"    {path} never runs {ranges(numbers)}")
    print(f"{len(MODULES) - failed} passed, {failed} failed")
    return 1 if failed else 0


def is_of(path, module):
    return path == f"src/{module}.rs" or path.startswith(f"src/{module}/")


def ranges(numbers):
    """[1, 2, 3, 7] as 1-3, 7."""
    parts = []
    for number in numbers:
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


if __name__ == "__main__":
    sys.exit(main())
