"""Search attributes: the read model of every list in CLI, API and portal (at most 10 keywords on SQL visibility)."""

from __future__ import annotations

from temporalio.common import SearchAttributeKey

CUSTOMER = SearchAttributeKey.for_keyword("ByocCustomer")
ACCOUNT = SearchAttributeKey.for_keyword("ByocAccount")
CLOUD = SearchAttributeKey.for_keyword("ByocCloud")
REGION = SearchAttributeKey.for_keyword("ByocRegion")
PHASE = SearchAttributeKey.for_keyword("ByocPhase")
SHAPE = SearchAttributeKey.for_keyword("ByocShape")
RELEASE = SearchAttributeKey.for_keyword("ByocRelease")
KUBERNETES = SearchAttributeKey.for_keyword("ByocKubernetes")
WAITING_FOR = SearchAttributeKey.for_keyword("ByocWaitingFor")

ALL = (CUSTOMER, ACCOUNT, CLOUD, REGION, PHASE, SHAPE, RELEASE, KUBERNETES, WAITING_FOR)
"""Every search attribute; `byoc setup` registers them."""

NOBODY = "nobody"
"""The value of `ByocWaitingFor` while nothing is waited for."""
