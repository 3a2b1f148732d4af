"""What both package builders want to know: the project's version, and what an executable needs of a machine."""

import dataclasses
import pathlib
import re
import struct
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent

NAME = "snaptrade-sidecar"
DESCRIPTION = "A sidecar reverse proxy that keeps a SnapTrade API key under its user limit"

# e_machine of elf(5), as the names of Python's platforms say it.
MACHINES = {62: "x86_64", 183: "aarch64"}

PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_NEEDED, DT_STRTAB, DT_VERNEED, DT_VERNEEDNUM = 1, 5, 0x6FFFFFFE, 0x6FFFFFFF


class Unusable(Exception):
    """Why nothing can be made of what was given."""


@dataclasses.dataclass
class Needs:
    """What an executable needs of a machine."""

    machine: str
    # "glibc", "musl" or None: none at all.
    library: str | None
    # The newest symbol version of the C library that it asks for, such as (2, 34).
    glibc: tuple[int, int]
    # Of shared libraries, by their names.
    libraries: list[str]


def version():
    with open(ROOT / "Cargo.toml", "rb") as manifest:
        return tomllib.load(manifest)["package"]["version"]


def licence():
    return (ROOT / "LICENSE").read_bytes()


def needs(binary):
    """Reads what the dynamic linker would read, not the section headers, which may be stripped."""
    try:
        return _Elf(binary).needs()
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise Unusable(f"the executable cannot be read: {error}") from error


class _Elf:
    """An executable of 64 bits, little-endian; see elf(5)."""

    def __init__(self, data):
        self.data = data
        if data[:6] != b"\x7fELF\x02\x01":
            raise Unusable("not an executable for Linux (ELF, 64 bits, little-endian)")
        (machine,) = struct.unpack_from("<H", data, 18)
        if machine not in MACHINES:
            raise Unusable(f"an executable for another machine (e_machine {machine}); known are {MACHINES}")
        self.machine = MACHINES[machine]
        (table,) = struct.unpack_from("<Q", data, 32)
        size, count = struct.unpack_from("<HH", data, 54)
        # Type, offset, address and size in the file of each segment.
        self.segments = []
        for at in range(table, table + size * count, size):
            kind, _, offset, address, _, in_file = struct.unpack_from("<IIQQQQ", data, at)
            self.segments.append((kind, offset, address, in_file))

    def needs(self):
        interpreter = next((self._text(offset) for kind, offset, *_ in self.segments if kind == PT_INTERP), None)
        if interpreter is None:
            return Needs(self.machine, None, (0, 0), [])
        entries = self._dynamic()
        strings = self._offset(next(value for tag, value in entries if tag == DT_STRTAB))
        libraries = [self._text(strings + value) for tag, value in entries if tag == DT_NEEDED]
        if "ld-musl" in interpreter:
            return Needs(self.machine, "musl", (0, 0), libraries)
        versions = [found for name in self._versions(dict(entries), strings) if (found := _glibc(name))]
        return Needs(self.machine, "glibc", max(versions, default=(2, 0)), libraries)

    def _dynamic(self):
        """The entries of the dynamic section, each a tag and a value."""
        for kind, offset, _, size in self.segments:
            if kind == PT_DYNAMIC:
                return list(struct.iter_unpack("<qQ", self.data[offset : offset + size]))
        return []

    def _versions(self, entries, strings):
        """The symbol versions that it asks for, of every library (Elf64_Verneed and Elf64_Vernaux)."""
        if DT_VERNEED not in entries:
            return
        at = self._offset(entries[DT_VERNEED])
        for _ in range(entries[DT_VERNEEDNUM]):
            _, count, _, first, following = struct.unpack_from("<HHIII", self.data, at)
            auxiliary = at + first
            for _ in range(count):
                _, _, _, name, step = struct.unpack_from("<IHHII", self.data, auxiliary)
                yield self._text(strings + name)
                auxiliary += step
            at += following

    def _offset(self, address):
        for kind, offset, begin, size in self.segments:
            if kind == PT_LOAD and begin <= address < begin + size:
                return address - begin + offset
        raise Unusable(f"no segment holds the address {address:#x}")

    def _text(self, offset):
        return self.data[offset : self.data.index(b"\0", offset)].decode()


def _glibc(symbol_version):
    """(2, 34) of GLIBC_2.34; None of other libraries' versions, and of GLIBC_PRIVATE."""
    found = re.fullmatch(r"GLIBC_(\d+)\.(\d+)(\.\d+)?", symbol_version)
    return (int(found[1]), int(found[2])) if found else None
