"""The commands of operators: a module for each group of them."""
