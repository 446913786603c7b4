"""Two arms of a task side by side: how far apart, and whether by chance."""

import math

import numpy as np

from benchmarks.paper.results import Outcome
from benchmarks.paper.statistics import permutation_p_value


def is_ahead(first: Outcome, second: Outcome, metric: str) -> bool:
    """Whether the first's median is above the second's by more than the range of either.

    A range takes two runs; an arm of fewer is not ahead.
    """
    return (min(len(first.runs), len(second.runs)) > 1
            and gap(first, second, metric) > max(first.spread(metric), second.spread(metric)))


def gap(first: Outcome, second: Outcome, metric: str) -> float:
    """The first's median less the second's; NaN where one has no runs."""
    return first.median(metric) - second.median(metric)


def p_value(first: Outcome, second: Outcome, metric: str) -> float:
    """Of `permutation_p_value`, over the seeds that both have; NaN where they share none."""
    ones, others = ({run.seed: run.answers for run in each.runs} for each in (first, second))
    shared = sorted(ones.keys() & others.keys())
    if not shared:
        return math.nan
    return permutation_p_value(metric, first.labels, np.array([ones[seed] for seed in shared]),
                               np.array([others[seed] for seed in shared]))
