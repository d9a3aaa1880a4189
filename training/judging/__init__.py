"""What a network in training is worth, by images kept apart, and what a step shows of a run."""
