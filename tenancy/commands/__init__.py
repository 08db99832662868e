"""The commands of operators: a module for each group of them."""

# Each adds its commands to the group of `tenants`.
from tenancy.commands import domains, life, portability, removal

__all__ = ["domains", "life", "portability", "removal"]
