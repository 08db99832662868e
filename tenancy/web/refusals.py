"""What the operators' log says of a request that failed: which code, which view, which tenant."""

import logging
import time

from tenancy import tenant
from tenancy.errors import (
    PoolExhaustedError,
    RegistryBusyError,
    ShuttingDownError,
    TenancyError,
    TenantBusyError,
)
from tenancy.problems import Problem
from tenancy.registry.bucket import Bucket

_log = logging.getLogger(__name__)

BUSY_LINES_PER_SECOND = 3.0

# Under load there are thousands a second, each as planned: lines enough to see that, and how many.
_BUSY = (PoolExhaustedError, RegistryBusyError, ShuttingDownError, TenantBusyError)


class Log:
    """Writes a line for each failed request, and a few a second for those refused for load."""

    def __init__(self) -> None:
        self._bucket = Bucket(BUSY_LINES_PER_SECOND)
        self._left_out = 0

    def write(self, answer: Problem, error: Exception, where: str) -> None:
        """Write why the request at *where*, its method and route, was answered by *answer*.

        The database's own words may hold a row, and are left out.
        """
        request = tenant.request()
        whose = request.tenant.slug if request is not None and request.tenant is not None else "-"
        words = error if isinstance(error, TenancyError) else type(error).__name__
        line = f"{where} tenant={whose}: {answer.code}: {words}"
        if not isinstance(error, _BUSY):
            _log.error("%s", line)
        elif self._bucket.take(time.monotonic()):
            more = f" (and {self._left_out} like it before)" if self._left_out else ""
            self._left_out = 0
            _log.warning("%s%s", line, more)
        else:
            self._left_out += 1


log = Log()
