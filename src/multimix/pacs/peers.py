"""Several peers as one: each gets all results that it takes, and one that is down keeps none from the others."""

from collections.abc import Sequence
from contextlib import suppress

import pydicom

from multimix.pacs.outcomes import Refused, Result, Unavailable
from multimix.pacs.peer import Peer
from multimix.pacs.results import KINDS


class Peers:
    """A sink of results."""

    def __init__(self, peers: Sequence[Peer]) -> None:
        """In the order in which they are sent to."""
        self._peers = peers

    @property
    def name(self) -> str:
        """Of all."""
        return ", ".join(peer.name for peer in self._peers)

    def takes(self) -> frozenset[str]:
        """What at least one of them takes. Raises Unavailable where none can be asked."""
        found = []
        for peer in self._peers:
            with suppress(Unavailable):
                found.append(peer.takes())
        if not found:
            raise Unavailable(f"{self.name}: none can be reached")
        return frozenset().union(*found)

    def present(self, results: Sequence[Result]) -> set[str]:
        """UIDs of those that each peer holds which takes them; none where one of the peers cannot be asked."""
        there = {result.uid for result in results}
        try:
            for peer in self._peers:
                wanted = _taken(peer, results)
                there -= {result.uid for result in wanted} - peer.present(wanted)
        except (Refused, Unavailable):
            return set()
        return there

    def store(self, results: Sequence[Result]) -> set[str]:
        """Send each peer what it lacks; returns the UIDs that all confirmed.

        Raises Unavailable where all are down. Where some are it raises Refused, so that the image is put off and the
        others go on; what the rest has is not sent again.
        """
        confirmed = {result.uid for result in results}
        down: list[Unavailable] = []
        refusals: list[Refused] = []
        for peer in self._peers:
            try:
                wanted = _taken(peer, results)
                there = peer.present(wanted) if wanted else set()
                missing = [result for result in wanted if result.uid not in there]
                stored = peer.store(missing) if missing else set()
                confirmed -= {result.uid for result in missing} - stored
            except Unavailable as error:
                down.append(error)
            except Refused as refusal:
                refusals.append(refusal)
        if len(down) == len(self._peers):
            raise down[0]
        if down:
            raise Refused(str(down[0]), doubtful=True)
        if refusals:
            raise next((one for one in refusals if not one.final), refusals[0])
        return confirmed


def _taken(peer: Peer, results: Sequence[Result]) -> list[Result]:
    """Those of a kind that `peer` takes."""
    kinds = {kind for name in peer.takes() for kind in KINDS[name]}
    return [result for result in results if _kind(result) in kinds]


def _kind(result: Result) -> str:
    header = pydicom.dcmread(result.path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
    return str(header.get("SOPClassUID", ""))
