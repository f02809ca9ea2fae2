"""What carries the work: it decides nothing, and the journal stays the truth without it."""
