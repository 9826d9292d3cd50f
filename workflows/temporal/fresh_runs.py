"""When a workflow that lives long goes on in a fresh run."""

from __future__ import annotations

from temporalio import workflow


def fresh_run_is_due(*, asked: bool, longest: int | None = None) -> bool:
    """Return whether it was asked for, Temporal suggests it, another build is current, or the history is long.

    Args:
        asked: Whether somebody asked for it.
        longest: With so many events the history is long; None leaves that to Temporal alone.
    """
    info = workflow.info()
    return (
        asked
        or info.is_continue_as_new_suggested()
        or info.is_target_worker_deployment_version_changed()
        or (longest is not None and info.get_current_history_length() >= longest)
    )
