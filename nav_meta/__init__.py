"""The learner: tasks, rollouts, losses, training, evaluation, and the record of a run."""
