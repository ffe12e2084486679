"""What ``slo.yaml`` says: read, checked, every problem at once."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Annotated, Any

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from obskit import semconv


def _promised(percent: float) -> float:
    """Refuse, above all, a ratio: 0.999 for 99.9 would allow nearly all to fail, and its alerts would never fire."""
    if not 50 <= percent < 100:  # noqa: PLR2004  (percent)
        msg = "an objective is in percent, from 50 to less than 100, as 99.9"
        raise ValueError(msg)
    return percent


Percent = Annotated[float, AfterValidator(_promised)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Text = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\x00-\x1f\x7f]+$")]


class SloError(Exception):
    """What is wrong with the objectives, one sentence each.

    Args:
        problems: the sentences; each begins with the place, as ``line 9: objectives.2.latency.threshold``.
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
    buckets: Annotated[tuple[Seconds, ...], Field(min_length=1, strict=False)] = semconv.DURATION_BUCKETS
    latency: Annotated[Latency | None, Field(validate_default=True)] = (
        None  # the last, for it is held against the others
    )

    @field_validator("latency")
    @classmethod
    def _promises_one_thing(cls, latency: Latency | None, info: ValidationInfo) -> Latency | None:
        found, wrong = info.data, []  # without what is wrong by itself, which is told by itself
        if "availability" in found and (found["availability"] is None) == (latency is None):
            wrong.append("give either availability or latency")
        if latency is not None and latency.threshold not in found.get("buckets", [latency.threshold]):
            bounds = ", ".join(f"{bound:g}" for bound in found["buckets"])
            wrong.append(
                f"the threshold {latency.threshold:g} is no bound of a bucket, so the histogram cannot tell who is"
                f" slower; bounds are {bounds} seconds (buckets says which the service has)"
            )
        if wrong:
            raise ValueError("; ".join(wrong))
        return latency

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
    objectives: Annotated[tuple[Objective, ...], Field(min_length=1, strict=False)]


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
        loader = _Loader(text)
        tree = loader.get_single_node()
        document = None if tree is None else loader.construct_document(tree)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a ValueError: a date that is none
        raise SloError([f"no YAML: {' '.join(str(error).split())}"]) from None
    wrong = _taken_twice(document)
    try:
        objectives = Objectives.model_validate(document)
    except ValidationError as error:
        wrong += [(problem["loc"], _said(problem)) for problem in _causes(error.errors())]
    if wrong:
        told = sorted((_line(tree, place), _name(place), said) for place, said in wrong)
        # A key or a name may be any text; each problem stays one line.
        raise SloError([" ".join(f"line {line}: {name}: {said}".split()) for line, name, said in told])
    return objectives


_Place = tuple[int | str, ...]


def _taken_twice(document: Any) -> list[tuple[_Place, str]]:
    """Names that several objectives have; asked of the document, whatever else may be wrong in it."""
    entries = document.get("objectives") if isinstance(document, dict) else None
    entries = entries if isinstance(entries, list) else []
    names = [each.get("name") if isinstance(each, dict) else None for each in entries]
    return [
        (
            ("objectives", at, "name"),
            f"{name!r} is taken by objectives.{names.index(name)}; each needs a name of its own",
        )
        for at, name in enumerate(names)
        if isinstance(name, str) and name in names[:at]
    ]


#: What is to be written at a depth, for whom has written something else there.
_KEYS: dict[int, type[BaseModel]] = {1: Objectives, 3: Objective, 4: Latency}


def _causes(problems: list[Any]) -> Iterator[Any]:
    """Without what only follows: that there are none, where there are some and all are wrong."""
    for problem in problems:
        place = problem["loc"]
        below = any(other["loc"][: len(place)] == place for other in problems if other is not problem)
        if not (problem["type"] == "too_short" and below):
            yield problem


def _said(problem: Any) -> str:
    if problem["type"] == "extra_forbidden":
        return f"there is no such key; keys are {', '.join(_KEYS[len(problem['loc'])].model_fields)}"
    if problem["type"] == "missing":
        return "is missing"
    if problem["type"] == "too_short":
        return "there are none"
    said: str = problem["msg"].removeprefix("Value error, ")
    return said


def _name(place: _Place) -> str:
    return ".".join(str(part) for part in place) or "the file"


def _line(tree: Any, place: _Place) -> int:
    """The line where the place is, or of what encloses it where it is missing."""
    line, node = 1, tree
    for part in place:
        below = None
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == part]
            line, below = (found[0][0].start_mark.line + 1, found[0][1]) if found else (line, None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            below = node.value[part]
            line = below.start_mark.line + 1
        node = below
    return line
