"""Attempts are limited, each client's apart from all others'."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txregistry.auth.throttle import Throttle, network


class ThrottleTests(SynchronousTestCase):
    """Ten attempts a minute."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.throttle = Throttle(self.clock, 10, 60, size=100)

    def take(self, number: int, key: str = "a") -> None:
        for _ in range(number):
            self.assertEqual(self.throttle.wait(key), 0)
            self.throttle.take(key)

    def test_burst(self) -> None:
        """As many attempts as fill a bucket may be made at once, and then none until one has come back."""
        self.take(10)
        self.assertEqual(self.throttle.wait("a"), 6)
        self.clock.advance(4.5)
        self.assertEqual(self.throttle.wait("a"), 2)

    def test_wait_is_long_enough(self) -> None:
        """After the time that was told there is an attempt, however the fractions fall."""
        for _ in range(200):
            while not (wait := self.throttle.wait("a")):
                self.throttle.take("a")
            self.clock.advance(wait)
            self.assertEqual(self.throttle.wait("a"), 0)
            self.throttle.take("a")
            self.clock.advance(0.1)

    def test_rate(self) -> None:
        """In an hour of trying all the time there are no more than the first ten and ten a minute."""
        taken = 0
        for _ in range(3600):
            if not self.throttle.wait("a"):
                self.throttle.take("a")
                taken += 1
            self.clock.advance(1)
        self.assertIn(taken, range(600, 611))

    def test_others(self) -> None:
        """What one has used up is no one else's loss."""
        self.take(10)
        self.take(10, "b")

    def test_full_again(self) -> None:
        """A minute without an attempt makes up for all, and for no more than all."""
        self.take(10)
        self.clock.advance(6000)
        self.take(10)
        self.assertNotEqual(self.throttle.wait("a"), 0)

    def test_put_back(self) -> None:
        """An attempt that is put back can be made again, and a bucket holds no more than it did at first."""
        self.take(10)
        self.throttle.put_back("a")
        self.take(1)
        self.assertNotEqual(self.throttle.wait("a"), 0)
        for _ in range(20):
            self.throttle.put_back("a")
        self.assertEqual(len(self.throttle), 0)
        self.take(10)
        self.assertNotEqual(self.throttle.wait("a"), 0)

    def test_memory(self) -> None:
        """However many make attempts, few are remembered, and those the latest."""
        for number in range(1000):
            self.take(10, str(number))
            self.assertLessEqual(len(self.throttle), 100)
        self.assertNotEqual(self.throttle.wait("999"), 0)
        self.assertEqual(self.throttle.wait("0"), 0)

    def test_latest(self) -> None:
        """One who goes on making attempts is not forgotten for having begun long ago."""
        self.take(5)
        for number in range(99):
            self.take(1, str(number))
        self.take(5)
        for number in range(99, 150):
            self.take(1, str(number))
        self.assertNotEqual(self.throttle.wait("a"), 0)

    def test_forgotten(self) -> None:
        """Those whose bucket is full again take up no memory once another makes an attempt."""
        for number in range(100):
            self.take(1, str(number))
        self.clock.advance(60)
        self.take(1)
        self.assertEqual(len(self.throttle), 1)

    def test_clock_set_back(self) -> None:
        """A clock that is set back locks no one out."""
        self.take(10)
        self.clock.rightNow -= 3600
        self.assertEqual(self.throttle.wait("a"), 0)


class NetworkTests(SynchronousTestCase):
    """What is taken for one client."""

    def test_one_client(self) -> None:
        """An IPv4 address is one client however it is written; so is the /64 of an IPv6 address."""
        for address, client in (
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
            ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
            ("fe80::1%eth0", "fe80::/64"),
            ("unix", "unix"),
            ("", ""),
        ):
            self.assertEqual(network(address), client)
