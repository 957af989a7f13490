"""All experiments by name."""

from nav_meta.experiments import bandits, harlow, mdp, restless, two_step
from nav_meta.experiments.base import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (
        *bandits.EXPERIMENTS,
        *restless.EXPERIMENTS,
        *two_step.EXPERIMENTS,
        *harlow.EXPERIMENTS,
        *mdp.EXPERIMENTS,
    )
}
"""Bandits, the restless bandit, the two-step task, Harlow's task, Markov decision processes."""
