"""``python -m obskit``: the ``obskit`` command, where its script is not on PATH."""

import sys

from obskit.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
