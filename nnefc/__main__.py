"""``python -m nnefc`` is the same as ``nnefc``."""

from __future__ import annotations

import sys

from nnefc.cli import main

sys.exit(main())
