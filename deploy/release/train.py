"""`make profile`: runs an instrumented sidecar through what it is for, so that the compiler learns what is worth its while."""

import argparse
import pathlib
import tempfile

import admission
import measure
import peers
from load import saturate
from rig import Rig

SECONDS = 1


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", type=pathlib.Path, required=True, help="the sidecar, built with -Cprofile-generate")
    binary = parser.parse_args().binary.resolve()
    with tempfile.TemporaryDirectory(prefix="train-", ignore_cleanup_errors=True) as name:
        folder = pathlib.Path(name)
        # Workers of nginx run as somebody else when it is started by root.
        folder.chmod(0o755)
        with Rig(folder, binary, binary, binary) as rig:
            for case in measure.cases():
                with rig.proxies([peers.SIDECAR], case.tls, case.workers) as running:
                    _, port = running[peers.SIDECAR]
                    saturate(rig.folder, peers.SIDECAR, port, case.path, case.body_bytes, SECONDS)
            admission.cpu(rig)


if __name__ == "__main__":
    main()
