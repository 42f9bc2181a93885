"""What trainings share: where they run, and checkpoints to go on from."""
