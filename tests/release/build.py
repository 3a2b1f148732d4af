"""Follows the build of the Dockerfile: what it copies into a folder of its own, what it runs there, with this machine's
toolchain."""

import argparse
import os
import pathlib
import re
import shlex
import subprocess
import tempfile

import dockerfile

SOURCE = pathlib.Path(__file__).resolve().parent.parent.parent


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--out", type=pathlib.Path, required=True, help="where the program goes")
    arguments.add_argument("--target", type=pathlib.Path, required=True, help="where what is compiled is kept")
    arguments.add_argument("--commit", required=True, help="the argument REVISION")
    given = arguments.parse_args()
    build, _ = dockerfile.read(SOURCE)
    with tempfile.TemporaryDirectory() as name:
        context = pathlib.Path(name)
        dockerfile.copy_context(SOURCE, build, context)
        (run,) = [dockerfile.shell_of(rest) for word, rest in build if word == "RUN"]
        run = re.sub(r"(?<= )/out\b", shlex.quote(str(given.out.resolve())), run)
        told = {**os.environ, "REVISION": given.commit, "CARGO_TARGET_DIR": str(given.target.resolve())}
        subprocess.run(["sh", "-ec", run], cwd=context, env=told, check=True)


if __name__ == "__main__":
    main()
