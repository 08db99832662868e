"""What is pending, tried where it changes nothing: how long, which locks, what is rewritten."""
