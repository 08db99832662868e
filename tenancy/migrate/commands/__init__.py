"""``python -m tenancy.migrate``: one module for each group of commands."""
