"""The first look at a store, before the reactor runs."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from collections.abc import Callable

from twisted.logger import Logger

from txregistry.objects.transport import Request

_log = Logger()

#: Seconds that it may take.
_PATIENCE = 5.0


def first_look(
    made: Request,
    what: str,
    problem_of: Callable[[urllib.error.HTTPError], str],
    skipverify: bool = False,
) -> None:
    """Send a request, and log what is wrong if the store cannot be reached, or is in trouble.  This blocks.

    :param what: what is looked at, as the log calls it.
    :param problem_of: says what an answer of 300 or more means; raises what keeps the server from starting.
    :param skipverify: whether any certificate will do.
    """
    request = urllib.request.Request(made.url, headers=dict(made.headers))  # noqa: S310 (http or https)
    context = ssl.create_default_context()
    if skipverify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE, context=context):  # nosec B310 # noqa: S310
            return
    except urllib.error.HTTPError as error:
        problem = problem_of(error)
    except OSError as error:
        problem = str(getattr(error, "reason", error))
    _log.warn("the store of {what} cannot be reached yet: {why}", what=what, why=problem)
