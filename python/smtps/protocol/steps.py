"""What the engine asks of whoever drives it: the steps that `submission` yields.

A driver carries out one step after the other and sends back its result, or throws the
error into the generator.  Network trouble is a `NetworkError`, refused trust an
`IdentityError`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from smtps.protocol.ehlo import Extensions


class Phase(enum.Enum):
    """What is being waited for: the key of the time-outs (RFC 5321 4.5.3.2)."""

    CONNECT = "connect"
    HANDSHAKE = "handshake"
    GREETING = "greeting"
    COMMAND = "command"
    LOGIN = "login"
    DATA = "data"
    BLOCK = "block"
    END_OF_DATA = "end-of-data"
    QUIT = "quit"


class Send(NamedTuple):
    """Write ``data``, all of it, in one piece where the network allows."""

    data: bytes
    phase: Phase

    def __repr__(self) -> str:
        return f"<{len(self.data)} octets, {self.phase}>"


class Receive(NamedTuple):
    """Wait for octets and send them back; ``b""`` is the end of the connection.

    ``wait`` counts the replies waited for: the time-out of ``phase`` runs from the first
    Receive with that number, so that a server can't stretch it octet by octet.
    """

    phase: Phase
    wait: int


class Peek:
    """Send back what has already arrived, without waiting; ``b""`` if nothing has, None at the end
    of the connection."""


class Handshake:
    """Start TLS on the open connection, verified (RFC 3207 section 4.1)."""


class Exchange(Protocol):
    """One run of a SASL mechanism, as `sasl` provides it."""

    @property
    def name(self) -> str:
        """The mechanism's registered name."""

    @property
    def single(self) -> bool:
        """True if the initial response is all there is to say."""

    def initial(self) -> bytes | None:
        """The initial response, None if the server speaks first."""

    def respond(self, challenge: bytes) -> bytes:
        """The answer to a decoded challenge.

        Raises ChallengeError if it is none of the mechanism's, so that another may do, and
        LoginError to end the login.
        """

    def succeeded(self) -> None:
        """The server took the login.  Raises LoginError if it did not prove itself."""

    def again(self) -> Exchange | None:
        """The same secret said in another way, to be tried once before it is blamed."""

    @property
    def told(self) -> str | None:
        """Why the server refuses, where it said so in a challenge and not in its reply."""

    @property
    def advice(self) -> str:
        """What to do about a refusal, in a sentence."""

    @property
    def secret(self) -> bool:
        """True if a refusal is about a secret, which is then not tried by other mechanisms."""

    @property
    def kinds(self) -> Sequence[str]:
        """What the responses are, in order: keys of `commands.MASKS`."""

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """Octets that may never be shown."""


class Chosen(NamedTuple):
    """A mechanism to log in with; ``proven`` if the last login with this secret was accepted."""

    exchange: Exchange
    proven: bool = False


class Login(NamedTuple):
    """Choose a mechanism and fetch the secret: send back a `Chosen`, or None for no login.

    ``failed`` names the mechanisms that this server turned down, for another reason than
    the secret.  Asked only when the server's identity is settled.
    """

    extensions: Extensions
    failed: tuple[str, ...] = ()


class Commit(NamedTuple):
    """Write down, and flush, that from now on these recipients (by index) may have the mail."""

    recipients: tuple[int, ...]


class Work(NamedTuple):
    """Run ``function``, which may take a while; send back its result.

    Not where other connections are waited for.
    """

    function: Callable[[], Any]


Step = Send | Receive | Peek | Handshake | Login | Commit | Work

T = TypeVar("T")
Steps = Generator[Step, Any, T]
"""A generator of steps with a result: what the engine is made of."""
