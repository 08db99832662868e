"""The commands of operators: a module for each group of them."""

from tenancy.commands import portability, removal

__all__ = ["portability", "removal"]
