"""`python -m tritonfleet`: any of the commands, and the operator if none is named."""

import sys

from tritonfleet.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["operator"]))
