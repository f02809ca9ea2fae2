"""The shape of the workflows: which steps follow each other."""

#: Raise it exactly when a sequence of steps changes, never for a release: a worker carries its own shape only.
SHAPE = "2"
