"""slowhttptest's slow bodies, which take as long as the least pace is measured over."""

from __future__ import annotations

from tests.peers.test_scanners import SlowHttp


class SlowBodyTests(SlowHttp):
    """slowhttptest ``-B``."""

    def test_H04_slow_bodies(self) -> None:
        """A thousand connections that send a body by drops are closed, though they never rest."""
        self.attack("-B", "-i", "1", "-x", "20", "-s", "1000000", "-l", "90", "-t", "POST", patience=60)
