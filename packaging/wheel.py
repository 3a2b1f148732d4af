#!/usr/bin/env python3
"""Makes a wheel of the program, so that `pip install` puts it on PATH.

The same binary makes the same wheel, byte for byte. Its platform is read from the binary: of the symbol versions of
the GNU C library that it asks for, the newest says which manylinux it is; one that needs no library at all runs on
every Linux."""

import argparse
import base64
import hashlib
import pathlib
import re
import sys
import zipfile

from binary import DESCRIPTION, NAME, Unusable, licence, needs, version

# Of packages in Python, as files are named after them.
MODULE = NAME.replace("-", "_")

# As early as a zip file can say.
TIMESTAMP = (1980, 1, 1, 0, 0, 0)

# What every manylinux has of shared libraries (PEP 600, auditwheel's policies), as far as a program of Rust wants any.
EVERYWHERE = re.compile(r"(libc|libm|libdl|librt|libpthread|libgcc_s|ld-linux-x86-64|ld-linux-aarch64)\.so\.\d+")

# A program without libraries wants only a kernel, and Rust's own documentation says from when on.
STATIC = ["manylinux_2_17", "musllinux_1_1"]


def platforms(binary):
    """The platform tags of PEP 425, of which each is true."""
    found = needs(binary)
    if found.library is None:
        return [f"{tag}_{found.machine}" for tag in STATIC]
    if found.library == "musl":
        raise Unusable("needs musl as a shared library: link it statically (-C target-feature=+crt-static)")
    strangers = [library for library in found.libraries if not EVERYWHERE.fullmatch(library)]
    if strangers:
        raise Unusable(f"needs shared libraries that not every machine has: {', '.join(strangers)}")
    # Older ones are called manylinux2014 and so on, whose tags pip takes as 2_17 and so on.
    major, minor = max(found.glibc, (2, 17))
    return [f"manylinux_{major}_{minor}_{found.machine}"]


def python_version(version):
    """Cargo's version as PEP 440 writes it."""
    found = re.fullmatch(r"(\d+\.\d+\.\d+)(?:-(alpha|beta|rc)\.?(\d+))?", version)
    if not found:
        raise Unusable(f"Python has no version like {version}: use 1.2.3 or 1.2.3-rc.4")
    release, stage, number = found.groups()
    return release + ({"alpha": "a", "beta": "b", "rc": "rc"}[stage] + number if stage else "")


def metadata(version):
    return f"""\
Metadata-Version: 2.4
Name: {NAME}
Version: {version}
Summary: {DESCRIPTION}
License-Expression: MIT
License-File: LICENSE
Requires-Python: >=3.8
Description-Content-Type: text/markdown

{DESCRIPTION}. This package holds the program and nothing of Python:

    snaptrade-sidecar run -- uvicorn app:app --host 0.0.0.0 --port $PORT
"""


def wheel(tags):
    lines = ["Wheel-Version: 1.0", f"Generator: {NAME}", "Root-Is-Purelib: false", *(f"Tag: {tag}" for tag in tags)]
    return "\n".join(lines) + "\n"


def record(files, own):
    """The table of all files, with their hashes; of itself it says none."""
    lines = []
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(data)}")
    return "\n".join([*lines, f"{own},,"]) + "\n"


def build(binary, folder):
    """Writes the wheel into `folder`, and returns its path."""
    number = python_version(version())
    tags = platforms(binary)
    info = f"{MODULE}-{number}.dist-info"
    program = f"{MODULE}-{number}.data/scripts/{NAME}"
    files = {
        program: binary,
        f"{info}/METADATA": metadata(number).encode(),
        f"{info}/WHEEL": wheel([f"py3-none-{tag}" for tag in tags]).encode(),
        f"{info}/licenses/LICENSE": licence(),
    }
    files[f"{info}/RECORD"] = record(files, f"{info}/RECORD").encode()
    path = folder / f"{MODULE}-{number}-py3-none-{'.'.join(tags)}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, TIMESTAMP)
            entry.create_system = 3  # Unix, whatever this is made on: only then the mode counts.
            entry.external_attr = (0o100755 if name == program else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data, compresslevel=9)
    return path


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--binary", required=True, type=pathlib.Path, help="snaptrade-sidecar, built and stripped")
    arguments.add_argument("--out", required=True, type=pathlib.Path, help="the folder for the wheel")
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    try:
        print(build(given.binary.read_bytes(), given.out))
    except (OSError, Unusable) as error:
        sys.exit(f"{given.binary}: {error}")


if __name__ == "__main__":
    main()
