"""Windows hosts for demo and tests: WinRM spoken for real, the inside of the host simulated."""
