"""One tenant taken along: to a file and back, to a second tenant, or to another database.

What travels is an `image.Image`: the structure by pg_dump, the rows by COPY, and what the registry
and the ledger say, all as of one moment. ``../provision/README.md`` is the operator's guide.
"""

from tenancy.portability.abandoning import abandon
from tenancy.portability.cloning import clone
from tenancy.portability.exporting import Exported, export
from tenancy.portability.importing import Imported, import_
from tenancy.portability.moving import move
from tenancy.portability.removing import delete, purge

__all__ = [
    "Exported",
    "Imported",
    "abandon",
    "clone",
    "delete",
    "export",
    "import_",
    "move",
    "purge",
]
