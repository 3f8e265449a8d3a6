"""How long the long tests take."""

from __future__ import annotations

import os

#: Minutes for each test that goes on for as long as one likes (``make soak MINUTES=60``).
MINUTES = float(os.environ.get("SOAK_MINUTES", "60"))
