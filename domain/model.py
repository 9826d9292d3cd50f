"""The base of every model: frozen, spelled in camelCase in files and in snake_case in Python."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints
from pydantic.alias_generators import to_camel


class Model(BaseModel):
    """A frozen value.

    Models travel in Temporal histories, which outlive the code that wrote them: they ignore fields that they do not
    know, and a field that is added later has a default. Doors (CLI, API) validate with `extra="forbid"` instead.
    """

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)


class OrderedModel(Model):
    """A model that customers write by hand: its attribute docstrings become descriptions in the JSON Schema."""

    model_config = ConfigDict(use_attribute_docstrings=True)


DnsLabel = Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z0-9-]*[a-z0-9])?$", min_length=3, max_length=30)]
"""A name of ours: 3 to 30 lower-case letters, digits and hyphens, starting with a letter. It fits, with our prefix and
suffixes, into the name of every cloud resource that we make (the shortest limit is 63, of a bucket)."""
