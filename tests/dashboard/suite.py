"""The dashboard in a real browser: what an operator sees and does, and what the page must never do."""

import argparse
import pathlib
import sys

import scenes
from acts import Acts  # noqa: F401
from browser import Browser
from case import settings
from looks import Looks, Watch  # noqa: F401
from shown import Shown  # noqa: F401
from trouble import Connections, Many, Readers, Tenants, Tokens  # noqa: F401

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from processes import run_tests  # noqa: E402


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    path = {"type": lambda text: pathlib.Path(text).resolve()}
    arguments.add_argument("--binary", required=True, help="snaptrade-sidecar", **path)
    arguments.add_argument("--page", metavar="FOLDER", help="where the page's files are, if not in the program", **path)
    arguments.add_argument("--screenshots", metavar="FOLDER", help="take the documents' pictures only", **path)
    arguments.add_argument("tests", nargs="*", help="only these, such as Acts.test_pause_and_resume")
    arguments.parse_args(namespace=settings)
    settings.browser = Browser()
    try:
        if settings.screenshots:
            return run_tests(scenes, [])
        return run_tests(sys.modules[__name__], settings.tests)
    finally:
        settings.browser.close()


if __name__ == "__main__":
    sys.exit(main())
