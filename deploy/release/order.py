"""Of what `llvm-profdata show --all-functions --counts` prints, the functions that were executed, most often first: laid down in
this order, they share pages, and no page of what is never executed need be in memory."""

import re
import sys


def main():
    executed, name = {}, None
    for line in sys.stdin:
        if begun := re.fullmatch(r"  (\S.*):\n", line):
            # One that is not seen from outside has its unit's name before its own.
            name = begun[1].rpartition(";")[2]
        elif counts := re.fullmatch(r"    (?:Function count: |Block counts: \[)([\d, ]+)\]?\n", line):
            most = max(map(int, counts[1].split(",")))
            executed[name] = max(executed.get(name, 0), most)
    # Of equal ones by name, so that the same profile gives the same order.
    for name in sorted(executed, key=lambda name: (-executed[name], name)):
        if executed[name]:
            print(name)


if __name__ == "__main__":
    main()
