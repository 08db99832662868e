"""From a request to its view: who it is for, whether it may, and how it ends."""
