"""What stands where in a checked file: symbols, their occurrences, and new names for them."""
