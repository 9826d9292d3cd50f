"""No secret is ever in a history, a log, a metric, a search attribute or what a command prints."""

from __future__ import annotations

from domain.clouds import Cloud
from simulators.secrets import SecretKind
from tests.durability.clouds import CLOUDS
from tests.secrets.conftest import PLANTED, Played
from tests.secrets.search import Search


def test_every_kind_of_secret_was_in_play(played: Played) -> None:
    """The world gave out and was shown secrets of each kind: there is something to find."""
    kinds = list(played.secrets.values())

    assert set(kinds) >= {
        *(kind.value for kind in SecretKind),
        "key from byoc api-keys",
        "codec token",
        "encryption key",
        "the vendor's secret access key",
    }
    assert kinds.count(SecretKind.SESSION_TOKEN.value) > 10


def test_everything_was_collected(played: Played) -> None:
    """Histories of all workflow types in both readings, logs of all processes, metrics and the database are there."""
    names = "\n".join(played.texts)

    for part in (
        "opened history of account/secretive-aws",
        "opened history of deployment/secretive",
        "opened history of deployment/secretive/provision/1",
        "opened history of deployment/secretive-two/provision/1",
        "opened history of deployment/secretive/retire/",
        "opened history of deployment/secretive/reconfigure/",
        *(f"opened history of deployment/secretive-{cloud}/provision/1" for cloud in CLOUDS if cloud is not Cloud.AWS),
        "byoc deployments receipt",
        "worker.log",
        "temporal.log",
        "simulators.log",
        "codec.log",
        "temporal.db",
        "the worker's metrics",
    ):
        assert part in names
    assert "payloads decoded" in str(played.texts["codec.log"])
    assert "temporal_activity_execution_latency" in str(played.texts["the worker's metrics"])
    assert len(played.texts["worker.log"]) > 1000


def test_no_secret_is_anywhere(played: Played) -> None:
    """Credentials, tokens, keys and the values of Kubernetes Secrets stay where they are used."""
    assert Search(played.secrets).found_among(played.texts) == []


def test_the_search_finds_what_was_planted(played: Played) -> None:
    """A reason that was given is found in what is readable; in what Temporal keeps, it is encrypted."""
    found = {each.where for each in Search({PLANTED: "planted"}).found_among(played.texts)}

    assert [where for where in found if where.startswith("opened history of deployment/secretive")]
    assert [where for where in found if where.startswith("byoc deployments show")]
    assert [where for where in found if where.startswith(("history of", "temporal.db", "worker.log"))] == []
