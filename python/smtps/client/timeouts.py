"""How long to wait, by phase (RFC 5321 4.5.3.2), in seconds."""

from __future__ import annotations

from smtps.protocol.steps import Phase

TIMEOUTS: dict[Phase, float] = {
    Phase.CONNECT: 60,  # TCP's own retries take longer than a person waits
    Phase.HANDSHAKE: 60,
    Phase.GREETING: 300,  # 4.5.3.2.1
    Phase.COMMAND: 300,  # 4.5.3.2.2 and .3
    Phase.LOGIN: 300,
    Phase.DATA: 120,  # 4.5.3.2.4
    Phase.BLOCK: 180,  # 4.5.3.2.5
    Phase.END_OF_DATA: 600,  # 4.5.3.2.6: shorter ones send mails twice
    Phase.QUIT: 5,  # nothing depends on the answer
}


def seconds(phase: Phase, chosen: float | None) -> float:
    """Return the time-out of PHASE, at most CHOSEN for all phases if that is given."""
    if chosen is None:
        return TIMEOUTS[phase]
    return min(chosen, TIMEOUTS[phase]) if phase is Phase.QUIT else chosen
