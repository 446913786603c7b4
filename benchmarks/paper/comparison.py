"""Arms of a task side by side, and baselines: how far apart, and whether by chance."""

import math

import numpy as np

from benchmarks.paper.campaign import Campaign
from benchmarks.paper.results import Outcome
from benchmarks.paper.statistics import permutation_p_value


def is_ahead(first: Outcome, second: Outcome, metric: str) -> bool:
    """Whether the first's median is above the second's by more than the range of either.

    A range takes two runs; an arm of fewer is not ahead, and none is while seeds are missing.
    """
    return (not missing(first, second) and min(len(first.runs), len(second.runs)) > 1
            and gap(first, second, metric) > max(first.spread(metric), second.spread(metric)))


def missing(*outcomes: Outcome) -> str:
    """How many seeds are done, for a line of the bar, as "; 2 of 5 seeds"; "" where all are."""
    least = min(outcomes, key=lambda outcome: outcome.finished - outcome.asked)
    return f"; {least.finished} of {least.asked} seeds" * (least.finished < least.asked)


def baseline_scores(campaign: Campaign, name: str, task: str, rows: int) -> list[float]:
    """Of a baseline fitted on the rows of each seed; all rows (0) are the same for each."""
    seeds = campaign.settings.seeds if rows else [1]
    return [campaign.baselines(task, rows, seed)[name][campaign.metric(task)] for seed in seeds]


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
