"""What ``slo.yaml`` says: read, checked, every problem at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from obskit import semconv

Percent = Annotated[float, Field(gt=0, lt=100, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Text = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\x00-\x1f\x7f]+$")]


class SloError(Exception):
    """What is wrong with the objectives, one sentence each.

    Args:
        problems: the sentences; each begins with the place, as ``objectives.2.latency.threshold``.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Latency(_Strict):
    """A share of the answers comes within a time."""

    objective: Percent
    threshold: Seconds


class Objective(_Strict):
    """One promise: of a service, of one of its routes, of one method of that."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    service: Text
    namespace: Text | None = None
    environment: Text | None = None
    route: Annotated[str, StringConstraints(pattern=r"^/[^\x00-\x1f\x7f]*$")] | None = None
    method: Annotated[str, StringConstraints(pattern=r"^[A-Z]+$")] | None = None
    availability: Percent | None = None
    latency: Latency | None = None
    buckets: Annotated[tuple[Seconds, ...], Field(min_length=1, strict=False)] = semconv.DURATION_BUCKETS

    @model_validator(mode="after")
    def _promises_one_thing(self) -> Self:
        if (self.availability is None) == (self.latency is None):
            msg = "give either availability or latency"
            raise ValueError(msg)
        if self.latency is not None and self.latency.threshold not in self.buckets:
            bounds = ", ".join(f"{bound:g}" for bound in self.buckets)
            msg = (
                f"the threshold {self.latency.threshold:g} is no bound of a bucket, so the histogram cannot tell who is"
                f" slower; bounds are {bounds} seconds (buckets says which the service has)"
            )
            raise ValueError(msg)
        return self

    @property
    def ratio(self) -> float:
        """The share that is promised: 0.999 of 99.9 percent."""
        percent = self.availability if self.latency is None else self.latency.objective
        return round((percent or 0) / 100, 12)


class Objectives(_Strict):
    """All promises, and what their alerts have in common."""

    window: Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,2}d$")] = "30d"
    minimum_requests: Annotated[int, Field(ge=1)] = 100
    runbook_url: Text
    dashboard_url: Text
    objectives: Annotated[tuple[Objective, ...], Field(strict=False)]

    @field_validator("objectives")
    @classmethod
    def _some_each_with_a_name_of_its_own(cls, objectives: tuple[Objective, ...]) -> tuple[Objective, ...]:
        if not objectives:
            msg = "there are none"
            raise ValueError(msg)
        twice = [name for name, count in Counter(each.name for each in objectives).items() if count > 1]
        if twice:
            msg = f"each needs a name of its own; taken twice: {', '.join(twice)}"
            raise ValueError(msg)
        return objectives


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Refuses a key that stands twice, of which YAML's rules would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002  (PyYAML's)
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for position, key in enumerate(keys):
            if key in keys[:position]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", node.value[position][0].start_mark
                )
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
        return mapping


def parse(text: str) -> Objectives:
    """Read ``slo.yaml``.

    Args:
        text: YAML 1.1, as PyYAML reads it.

    Returns:
        The objectives, all checked.

    Raises:
        SloError: whatever is wrong, every problem of the file in one.
    """
    try:
        return Objectives.model_validate(yaml.load(text, _Loader))  # noqa: S506  (a safe loader)
    except ValidationError as error:
        raise SloError([_sentence(problem) for problem in error.errors()]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a ValueError: a date that is none
        raise SloError([f"no YAML: {' '.join(str(error).split())}"]) from None


def _sentence(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"]) or "the file"
    return f"{where}: {problem['msg'].removeprefix('Value error, ')}"
