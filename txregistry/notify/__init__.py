"""Telling others what happens: what keeps events until they are delivered, and the built-in notifier."""
