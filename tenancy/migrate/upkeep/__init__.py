"""What is done to a fleet besides migrating it: compared, taken over, put right."""
