"""The schema of the store's documents: in which formats they are written, and which releases can work with them."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Schema:
    """Three epochs, which grow with the releases: `oldest <= active <= expanded`."""

    active: int
    """In whose formats documents are written; a release of an older epoch cannot read them."""
    expanded: int
    """For which there is all that a release needs; one of a newer epoch cannot start."""
    oldest: int
    """Of which there still is what only releases of that epoch use."""

    def complaint(self, epoch: int) -> str:
        """Return why a release of that epoch cannot work with the documents, or nothing."""
        if epoch < self.active:
            return f"the documents have formats of schema epoch {self.active}, this release reads up to {epoch}"
        if epoch > self.expanded:
            return f"this release needs schema epoch {epoch}, the documents are expanded to {self.expanded}"
        return ""

    def moved(self, phase: str, epoch: int) -> Schema:
        """Return the schema after a phase of a migration; raises ValueError for one that is not in order."""
        match phase:
            case "expand":
                if epoch < self.active:
                    raise ValueError(f"schema epoch {epoch} is behind {self.active}, which is active")
                return replace(self, expanded=max(epoch, self.expanded))
            case "activate":
                if epoch > self.expanded:
                    raise ValueError(f"schema epoch {epoch} is not expanded, but {self.expanded} is")
                if epoch < self.active:
                    raise ValueError(f"schema epoch {self.active} is active, {epoch} cannot be any more")
                return replace(self, active=epoch)
            case "contract":
                if epoch > self.active:
                    raise ValueError(f"schema epoch {epoch} is not active, but {self.active} is")
                return replace(self, oldest=max(epoch, self.oldest))
        raise ValueError(f"there is no phase {phase!r}")
