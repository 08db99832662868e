"""What is to be applied: a folder of files, read and checked whole."""
