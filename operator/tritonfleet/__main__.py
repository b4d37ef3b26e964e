"""`python -m tritonfleet`: the operator."""

import sys

from tritonfleet.cli import main

if __name__ == "__main__":
    sys.exit(main(["operator"]))
