"""Plausible answers to the steps of a rehearsal, derived from what each activity of the contract declares to return.

What is known is answered with: the deployment's facts, and what the question itself holds. Everything else is made up
by its type, and a made-up text says that it is only planned (`planned:network_id`), so that a later question which
depends on it can be told from one about what exists. Two answers are computed, because they need no cloud: zones with
machine types, and address ranges.
"""

from __future__ import annotations

import builtins
import types
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, TypeGuard, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from activities.contracts import AddressQuestion, CapacityQuestion
from activities.step_contracts import STEP_CONTRACTS
from activities.upgrade_contracts import ControlPlaneUpgrade
from domain.addresses import AddressesUnusableError, plan_ranges
from domain.catalogue import Catalogue
from domain.clouds import Cloud
from domain.cost import PriceList
from domain.facts import AddressPlan, DeploymentFacts, Machine, Placement
from domain.sizing import ZONES
from domain.state import OperationOrder
from domain.upgrade import Check, Counters, Measurement

PLANNED = "planned:"
"""How a made-up text begins."""

NOW = datetime(2026, 1, 1, tzinfo=UTC)
"""The instant of whatever happens in a rehearsal: answers do not depend on when it is held."""


class CannotAnswer(TypeError):  # noqa: N818 - it names what is so
    """Nothing plausible can be made of what an activity declares to return; the message names both."""


class Asked:
    """One activity of the contract: what it takes and what it returns."""

    def __init__(self, method: Callable[..., Any]) -> None:
        hints = get_type_hints(method)
        self.name = method.__name__
        self.returns: Any = hints.pop("return")
        (self.takes,) = hints.values()


ACTIVITIES: Mapping[str, Asked] = {
    name: Asked(getattr(contract, name)) for contract in STEP_CONTRACTS for name in sorted(contract.__abstractmethods__)
}
"""Every activity that a step runs, keyed by name."""


class Answers:
    """Answers on behalf of a cloud, about one deployment."""

    def __init__(self, facts: DeploymentFacts, catalogue: Catalogue, prices: PriceList | None) -> None:
        self._facts = facts
        self._catalogue = catalogue
        self._prices = prices
        self._looks = 0

    def answer(self, activity: str, question: Any) -> Any:  # noqa: ANN401 - each activity has types of its own
        """Return a plausible answer; the same question always gets the same one, but for what counts.

        Raises:
            CannotAnswer: The activity is not of the contract, or nothing can be made of its return type.
        """
        asked = ACTIVITIES.get(activity)
        if asked is None:
            raise CannotAnswer(f"{activity} is no activity of the contract")
        match question:
            case CapacityQuestion() if asked.returns is Placement:
                return self._facts.placement or self._placement(question)
            case AddressQuestion() if question.network.existing is None:
                return _addresses(question)
            case ControlPlaneUpgrade():
                return question.cluster.model_copy(update={"version": question.kubernetes})
        if asked.returns in (type(None), Check, Measurement) or is_search(activity):
            return self._nothing_bad(activity, asked.returns)
        known = _known(asked.returns, self._facts, question)
        return known if known is not None else _made_up(asked.returns, activity, question)

    def _nothing_bad(self, activity: str, returns: Any) -> Any:  # noqa: ANN401 - as above
        """Return what an activity says that finds nothing wrong."""
        if returns is Check:
            return Check(name=f"{PLANNED}{activity}", passed=True, evidence=f"{PLANNED}evidence")
        if returns is Measurement:
            return self._measured()
        return () if is_search(activity) else None

    def _measured(self) -> Measurement:
        """Return canary and control that do equally well; each look finds more than the one before."""
        self._looks += 1
        requests = 1000 * self._looks
        counted = Counters(pods=1, ready=1, requests=requests, latency={"+Inf": requests, "0.05": requests})
        return Measurement(at=NOW, canary=counted, control=counted)

    def placement_of(self, order: OperationOrder) -> Placement:
        """Return where an order's deployment runs, or will run."""
        question = CapacityQuestion(
            site=order.site,
            shape=order.shape,
            high_availability=order.spec.high_availability,
            network=order.spec.network,
        )
        return self._facts.placement or self._placement(question)

    def _placement(self, question: CapacityQuestion) -> Placement:
        """Return the zones and machines that are preferred; the cloud may not offer them together."""
        region = self._catalogue.clouds[Cloud(question.site.cloud)].region(question.site.region)
        zones = region.zones[:ZONES] if region else ()
        pools = question.shape.pools
        if question.high_availability and question.shape.highly_available_pools:
            pools = question.shape.highly_available_pools
        return Placement(
            zones=zones,
            machines=tuple(
                Machine(
                    pool=pool,
                    instance_type=self._prices.preferred(size) if self._prices else f"{PLANNED}instance_type",
                    minimum=size.minimum,
                    maximum=size.maximum,
                )
                for pool, size in pools.items()
            ),
        )


def is_search(activity: str) -> bool:
    """Return whether an activity of the contract looks for things of which there should be none."""
    return get_origin(ACTIVITIES[activity].returns) is tuple


def is_planned(value: object) -> bool:
    """Return whether anything in a question (as JSON) does not exist yet."""
    match value:
        case str():
            return value.startswith(PLANNED)
        case Mapping():
            return any(is_planned(each) for each in value.values())
        case list() | tuple():
            return any(is_planned(each) for each in value)
        case _:
            return False


def _addresses(question: AddressQuestion) -> AddressPlan:
    try:
        return plan_ranges(Cloud(question.site.cloud), question.network.cidr, len(question.placement.zones))
    except AddressesUnusableError as error:
        raise CannotAnswer(f"network.cidr: {error}") from error


def _known(wanted: type[BaseModel], facts: DeploymentFacts, question: BaseModel) -> BaseModel | None:
    """Return the fact of this type, or what the question holds of it; of several, the one that is asked about."""
    candidates = [*_of_type(wanted, facts), *_of_type(wanted, question)]
    about = {name: value for name, value in _fields(question) if isinstance(value, Enum)}
    return next(
        (each for each in candidates if all(getattr(each, name, value) == value for name, value in about.items())), None
    )


def _of_type(wanted: type[BaseModel], value: object) -> Iterator[BaseModel]:
    if isinstance(value, wanted):
        yield value
    elif isinstance(value, BaseModel):
        for _, part in _fields(value):
            yield from _of_type(wanted, part)
    elif isinstance(value, tuple):
        for part in value:
            yield from _of_type(wanted, part)


def _fields(model: BaseModel) -> Iterator[tuple[str, Any]]:
    return ((name, getattr(model, name)) for name in type(model).model_fields)


def _made_up(wanted: type[BaseModel], activity: str, question: BaseModel) -> BaseModel:
    """Return a model of this type: what it shares with the question by name and type, and made-up values."""
    shared = dict(_fields(question))
    values = {}
    for name, field in wanted.model_fields.items():
        if name in shared and isinstance(field.annotation, type) and isinstance(shared[name], field.annotation):
            values[name] = shared[name]
        elif field.is_required():
            values[name] = _value(field.annotation, name, activity, question)
        elif isinstance(field.default, str) and not field.default:
            values[name] = f"{PLANNED}{name}"
    return wanted.model_validate(values)


def _value(wanted: Any, name: str, activity: str, question: BaseModel) -> Any:  # noqa: ANN401 - any type of a field
    origin, arguments = get_origin(wanted), get_args(wanted)
    match origin:
        case types.UnionType if type(None) in arguments:
            return None
        case builtins.tuple:
            # One for each zone is what most lists of the contract are; how many there are does not change a plan.
            return (_value(arguments[0], name, activity, question),)
        case builtins.dict if _is_enum(arguments[0]):
            return {key: _value(arguments[1], name, activity, question) for key in arguments[0]}
        case None if isinstance(wanted, type):
            return _plain_value(wanted, name, activity, question)
    raise CannotAnswer(f"{activity}: nothing plausible can be made for {name} of type {wanted}")


def _plain_value(wanted: type, name: str, activity: str, question: BaseModel) -> Any:  # noqa: ANN401 - as above
    if issubclass(wanted, BaseModel):
        return _made_up(wanted, activity, question)
    if _is_enum(wanted):
        return next(iter(wanted))
    if issubclass(wanted, str):
        return f"{PLANNED}{name}"
    for plain, value in _PLAIN.items():
        if issubclass(wanted, plain):
            return value
    raise CannotAnswer(f"{activity}: nothing plausible can be made for {name} of type {wanted}")


def _is_enum(wanted: Any) -> TypeGuard[type[Enum]]:  # noqa: ANN401 - as above
    return isinstance(wanted, type) and issubclass(wanted, Enum)


_PLAIN: Mapping[type, Any] = {bool: True, int: 0, float: 0.0, datetime: NOW, timedelta: timedelta(0)}
"""What is made up for values that are no texts, keyed by type; a truth value counts before a number, which it is."""
