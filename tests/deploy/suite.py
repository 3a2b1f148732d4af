"""The deployment files of deploy/: each read by its own tool or held against its schema, and carried out with the real
program."""

import argparse
import sys

# What unittest finds here is what it runs.
from blueprint import RenderBlueprint
from compose import Compose, ComposeFiles, ComposeWithPostgres
from pods import Kubernetes, KubernetesFiles, KubernetesWithPostgres
from processes import run_tests
from story import settings
from units import Systemd, SystemdUnit


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--binary", required=True, help="snaptrade-sidecar")
    arguments.add_argument(
        "--backend", required=True, help="a Python with the requirements of examples/fastapi-backend"
    )
    arguments.add_argument("tests", nargs="*", help="only these, such as Systemd")
    arguments.parse_args(namespace=settings)
    return run_tests(sys.modules[__name__], settings.tests)


if __name__ == "__main__":
    sys.exit(main())
