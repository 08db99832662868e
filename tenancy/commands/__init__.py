"""The commands of operators: a module for each group of them."""

from tenancy.commands import ready

__all__ = ["ready"]
