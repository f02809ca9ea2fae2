"""Real Linux hosts on one machine for the demo, the tests, the benchmarks and Molecule; no part of the product."""

from lab.errors import LabError
from lab.instance import Lab

__all__ = ["Lab", "LabError"]
