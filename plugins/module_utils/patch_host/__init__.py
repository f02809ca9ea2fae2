"""What the patch modules share on the managed host; runs on Python 3.6 with the standard library alone."""
