"""What came of it: values, words for people, JSON for programs."""
