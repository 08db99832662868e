"""Many schemas at once: who is next, how many at a time, when to stop."""
