"""The shape of the workflows: which steps follow each other."""

#: Raise it exactly when a sequence of steps changes, or what a shard may be asked to do, and never for a release: a
#: worker carries its own shape only.
SHAPE = "3"
