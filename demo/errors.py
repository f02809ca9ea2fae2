"""What stops the demo."""


class DemoError(Exception):
    """The demo cannot go on; the message says what stood in the way, and what to do."""
