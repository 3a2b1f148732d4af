"""The example backends as their readers run them, beside a sidecar and a simulated SnapTrade: by HTTP, and by the page
in a real browser."""

import argparse
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "dashboard"))
from backends import ExampleCase  # noqa: E402
from browser import Browser  # noqa: E402
from calls import FastapiByReply, FastapiCalls, TypeScriptByReply, TypeScriptCalls  # noqa: E402, F401
from clicks import Clicks  # noqa: E402, F401
from processes import run_tests  # noqa: E402


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--binary", required=True, help="snaptrade-sidecar")
    arguments.add_argument("--python", required=True, help="a Python that has the FastAPI backend's requirements")
    arguments.add_argument("tests", nargs="*", help="only these, such as Clicks.test_the_whole_path")
    ExampleCase.settings = arguments.parse_args()
    ExampleCase.settings.browser = Browser()
    try:
        return run_tests(sys.modules[__name__], ExampleCase.settings.tests)
    finally:
        ExampleCase.settings.browser.close()


if __name__ == "__main__":
    sys.exit(main())
