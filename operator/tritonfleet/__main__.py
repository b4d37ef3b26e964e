"""`python -m tritonfleet` is `tritonfleet`, and the operator if no subcommand is given."""

import sys

from tritonfleet.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["operator"]))
