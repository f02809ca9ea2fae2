"""Real Linux hosts on one machine, for the demo, the tests, the benchmarks and Molecule; the product never imports it."""

from lab.errors import LabError
from lab.instance import Lab

__all__ = ["Lab", "LabError"]
