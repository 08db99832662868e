"""Where a file's statements will run, as far as it decides what they may say."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reading:
    """How the files of a stage are read.

    Attributes:
        tenant: whether they run once in each tenant's schema.
        shared: the schema of the shared stage, which tenants' files may name.
        own: the schema whose name stands for the tenant's own; None: no name does.
        extensions: those that the shared stage makes.
        alone: whether the folder holds migrations itself, so that there is no shared stage.
    """

    tenant: bool = False
    shared: str = "shared"
    own: str | None = None
    extensions: frozenset[str] = frozenset()
    alone: bool = False
