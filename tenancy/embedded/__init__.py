"""A real PostgreSQL of one's own, for those who have configured no server.

The data directory holds::

    data/    PostgreSQL's own
    run/     the socket (0700); under the temporary directory where its path would be too long
    log      what the server says
    owner    locked by the process that started the server; names it, then the socket's directory
    lock     locked while any process of the server lives, its children and initdb included

Both locks are flock(2): the kernel drops them with their last holder, however that one ends. So
nothing here trusts a process id, nor PostgreSQL's postmaster.pid, which a power cut leaves behind.
"""

from tenancy.embedded.bootstrap import configured
from tenancy.embedded.home import default_data_dir
from tenancy.embedded.server import Server, start

__all__ = ["Server", "configured", "default_data_dir", "start"]
