"""python3 -m study_cli: what scripts/study runs."""

import sys

from study_cli.commands import main

sys.exit(main())
