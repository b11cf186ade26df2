"""``python -m undiffuse`` is ``undiffuse``."""

import sys

from undiffuse.cli import main

if __name__ == "__main__":
    sys.exit(main())
