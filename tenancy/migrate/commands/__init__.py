"""``python -m tenancy.migrate``: one module for each command, but `resume` is in up."""
