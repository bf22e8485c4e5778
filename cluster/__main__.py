"""`python -m cluster`: the `videossr` command, run by this interpreter."""

import sys

from cluster.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
