"""The commands of operators: a module for each of them, or for some that belong together."""
