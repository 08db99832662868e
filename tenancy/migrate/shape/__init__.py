"""What a schema looks like, whichever its name: as one digest, as objects, and as differences."""
