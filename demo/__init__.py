"""The demo: two changes on a lab of Linux hosts, carried through the ordinary commands."""
