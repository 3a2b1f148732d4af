#!/usr/bin/env python3
"""Makes npm packages of the program: one for each platform, which holds the binary, and one that names them all, so
that `npm install` takes the one that fits. The same binaries make the same packages, byte for byte.

There is no install script: more and more package managers do not run any."""

import argparse
import gzip
import io
import json
import pathlib
import sys
import tarfile

from binary import DESCRIPTION, NAME, Unusable, licence, needs, version

# As Node calls them (process.arch).
MACHINES = {"x86_64": "x64", "aarch64": "arm64"}

# That of npm itself, 1985-10-26: with 0, files are said to be lost on the way of some tools.
TIMESTAMP = 499162500

LAUNCHER = pathlib.Path(__file__).with_name("launcher.cjs")


def common(name):
    return {
        "name": name,
        "version": version(),
        "description": DESCRIPTION,
        "license": "MIT",
    }


def platform(binary):
    """The package that holds this binary: what its package.json says, and its files."""
    found = needs(binary)
    machine = MACHINES[found.machine]
    # One for glibc has no suffix, nor has one without any library, which runs beside both.
    suffix = "-musl" if found.library == "musl" else ""
    manifest = common(f"@{NAME}/linux-{machine}{suffix}")
    manifest |= {"os": ["linux"], "cpu": [machine], "preferUnplugged": True}
    if found.library:
        manifest["libc"] = [found.library]
    readme = f"The program of the package {NAME}, which installs this one where it fits.\n"
    return manifest, {f"bin/{NAME}": binary, "README.md": readme.encode()}


def main_package(platforms):
    manifest = common(NAME)
    manifest |= {
        "bin": {NAME: f"bin/{NAME}.cjs"},
        "engines": {"node": ">=18"},
        "optionalDependencies": {name: version() for name in sorted(platforms)},
    }
    readme = f"{DESCRIPTION}.\n\n    npx {NAME} run -- node server.js\n"
    return manifest, {f"bin/{NAME}.cjs": LAUNCHER.read_bytes(), "README.md": readme.encode()}


def pack(manifest, files, folder):
    """Writes the package into `folder`, named as `npm pack` names it, and returns its path."""
    text = json.dumps(manifest, indent=2) + "\n"
    files = {"package.json": text.encode(), "LICENSE": licence(), **files}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size, entry.mtime = len(data), TIMESTAMP
            entry.mode = 0o755 if name.startswith("bin/") else 0o644
            tar.addfile(entry, io.BytesIO(data))
    path = folder / f"{manifest['name'].lstrip('@').replace('/', '-')}-{manifest['version']}.tgz"
    path.write_bytes(gzip.compress(archive.getvalue(), compresslevel=9, mtime=0))
    return path


def build(binaries, folder):
    """Writes all packages; the first is the one that names the others."""
    packages = [platform(binary) for binary in binaries]
    names = [manifest["name"] for manifest, _ in packages]
    if len(set(names)) < len(names):
        raise Unusable(f"two binaries for one platform: {', '.join(sorted(names))}")
    return [pack(*package, folder) for package in [main_package(names), *packages]]


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument(
        "--binary",
        required=True,
        action="append",
        type=pathlib.Path,
        help="snaptrade-sidecar, built and stripped; once for each platform",
    )
    arguments.add_argument("--out", required=True, type=pathlib.Path, help="the folder for the packages")
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    try:
        print(*build([path.read_bytes() for path in given.binary], given.out), sep="\n")
    except (OSError, Unusable) as error:
        sys.exit(f"{' '.join(map(str, given.binary))}: {error}")


if __name__ == "__main__":
    main()
