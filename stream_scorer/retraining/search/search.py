"""The search for parameters, without a store of its own: a trainer's state file is the store.

A study is made in memory each time. The finished trials are added to it, and trial n samples with
the seed ``seed + n``. So a search that was killed continues with the same trials as one that was
not. Optuna's own journal is not used: a kill may leave its lock, for which the next process waits.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from stream_scorer.errors import SettingsError
from stream_scorer.retraining.rules.contract import Choice, SearchRange
from stream_scorer.retraining.search.contract import SearchTrial

Parameters = Mapping[str, float | int | str | bool]
Space = Mapping[str, SearchRange | Choice]
_WORST: Final = -1.0
"""Value of a failed fit for the sampler; average precisions are at least 0."""


def search(
    space: Space,
    trials: int,
    seed: int,
    finished: Sequence[SearchTrial],
    judge: Callable[[Parameters], tuple[float, float]],
) -> Iterator[SearchTrial]:
    """Yield the remaining trials of a search, each as it is finished.

    Args:
        space: What is searched, by parameter; empty: one trial with the defaults.
        trials: Number of trials of the complete search.
        seed: Of the search.
        finished: The finished trials, in order.
        judge: Returns the average precision of parameters, NaN if they cannot be fitted, and the
            seconds that it took.
    """
    told = list(finished)
    suggest = _suggestions()
    for number in range(len(told), trials if space else 1):
        parameters = suggest(space, seed + number, told)
        value, seconds = judge(parameters)
        trial = SearchTrial(number, parameters, value, seconds)
        told.append(trial)
        yield trial


def best_of(trials: Sequence[SearchTrial]) -> SearchTrial:
    """Return the trial with the largest value; of equal ones, the first.

    Raises:
        SettingsError: No trial could be fitted.
    """
    fitted = [each for each in trials if not math.isnan(each.value)]
    if not fitted:
        raise SettingsError("search: no trial could be fitted", "change `space` in retrain.toml")
    return max(fitted, key=lambda each: (each.value, -each.number))


def _suggestions() -> Callable[[Space, int, Sequence[SearchTrial]], Parameters]:
    try:
        import optuna  # noqa: F401, PLC0415 an extra
    except ImportError:
        return sampled
    return suggested


def sampled(space: Space, seed: int, _: Sequence[SearchTrial]) -> Parameters:
    """Return random parameters: what is used without Optuna."""
    numbers = np.random.default_rng(seed)
    found: dict[str, float | int | str | bool] = {}
    for name, each in sorted(space.items()):
        if not isinstance(each, SearchRange):
            found[name] = each[int(numbers.integers(len(each)))]
            continue
        low, high = (math.log(each.low), math.log(each.high)) if each.log else (each.low, each.high)
        drawn = float(numbers.uniform(low, high))
        value = math.exp(drawn) if each.log else drawn
        value = min(max(value, each.low), each.high)
        found[name] = round(value) if each.whole else value
    return found


def suggested(space: Space, seed: int, finished: Sequence[SearchTrial]) -> Parameters:
    """Return what Optuna's TPE sampler suggests after the finished trials."""
    import optuna  # noqa: PLC0415 an extra

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {name: _distribution(each) for name, each in sorted(space.items())}
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    for trial in finished:
        value = _WORST if math.isnan(trial.value) else trial.value
        study.add_trial(
            optuna.trial.create_trial(
                params=dict(trial.parameters), distributions=distributions, value=value
            )
        )
    return dict(study.ask(distributions).params)


def _distribution(each: SearchRange | Choice) -> Any:
    from optuna import distributions  # noqa: PLC0415 an extra

    if not isinstance(each, SearchRange):
        return distributions.CategoricalDistribution(each)
    if each.whole:
        return distributions.IntDistribution(round(each.low), round(each.high), log=each.log)
    return distributions.FloatDistribution(each.low, each.high, log=each.log)
