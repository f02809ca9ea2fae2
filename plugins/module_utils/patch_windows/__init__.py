"""Windows hosts: what is decided about them, on the controller. No Python runs on the host."""
