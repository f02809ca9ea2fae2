"""What can go wrong in the lab, told as what was asked, what stood in the way and what to do next."""


class LabError(Exception):
    """The lab could not do what it was asked to."""
