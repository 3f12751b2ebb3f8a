"""python3 -m harness: what scripts/study runs."""

import sys

from harness.cli import main

sys.exit(main())
