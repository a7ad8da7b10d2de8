"""How a session gets to the point where the peer takes mail: greeting, EHLO or HELO, STARTTLS, and BDAT tried out."""

from dataclasses import replace
from typing import Protocol

from onionmx.smtp.client.events import Event, Ready, Refused, TlsGranted
from onionmx.smtp.client.pipeline import Command, Pipeline, Stage
from onionmx.smtp.client.states import Chunks, State, TlsPolicy, Transition
from onionmx.smtp.codes import Code
from onionmx.smtp.extensions import Extensions, read_extensions
from onionmx.smtp.reply import OurReply, Reply

ASK = b"BDAT 3\r\nX\r\n"
"""As a command its content is unknown everywhere, so a server that does not swallow it refuses it."""


class OpeningHost(Protocol):
    """What the opening needs of its session."""

    state: State
    extensions: Extensions
    is_encrypted: bool
    pipeline: Pipeline

    def move(self, step: Transition) -> None:
        """Go to the next state."""

    def push(self, stage: Stage, line: str = "") -> None:
        """Send a command of the session."""

    def tell(self, event: Event) -> None:
        """Tell the shell."""

    def refuse_early(self, refused: Refused, *, may_go_on: bool = False) -> None:
        """The peer does not let a session come about to which more was sent already."""

    def mislead(self) -> None:
        """The peer does not offer what was remembered."""

    def out_of_step(self, cause: str) -> None:
        """The session cannot go on."""


class Opening:
    """Takes the replies to the commands of a session up to READY.

    Args:
        host: the session.
        hello: the name to give in EHLO.
        tls: when to start TLS.
        chunks: whether to send content with BDAT.
        remembered: what the peer announced before, but for STARTTLS, where it swallowed a BDAT that it refused.
    """

    def __init__(
        self, host: OpeningHost, hello: str, tls: TlsPolicy, chunks: Chunks, remembered: Extensions | None
    ) -> None:
        self._host = host
        self._hello = hello
        self._tls = tls
        self._chunks = chunks
        self._remembered = remembered
        self._tls_is_demanded = False

    def take(self, stage: Stage, reply: Reply) -> None:
        """Take the reply to one of the commands of the opening, 2xx, 4xx or 5xx."""
        match stage:
            case Stage.GREETING:
                self._take_greeting(reply)
            case Stage.EHLO:
                self._take_ehlo(reply)
            case Stage.HELO:
                self._take_helo(reply)
            case Stage.STARTTLS:
                self._take_starttls(reply)
            case Stage.ASK:
                self._take_asked(reply, is_right=not reply.is_positive)
            case _:  # the RSET behind ASK
                self._take_asked(reply, is_right=reply.is_positive)

    def start_tls(self) -> None:
        """Ask for TLS because the peer demands it."""
        self._tls_is_demanded = True
        self._ask_for_tls()

    def greet(self) -> None:
        """Say EHLO."""
        self._host.push(Stage.EHLO, f"EHLO {self._hello}")

    def _take_greeting(self, reply: Reply) -> None:
        if self._host.state is State.EARLY:
            if not reply.is_positive:
                self._host.refuse_early(_refused(Stage.GREETING, reply, "the peer refuses the session"))
        elif reply.is_positive:
            self._host.move(Transition.GREETED)
            self.greet()
        else:
            self._refuse(Stage.GREETING, reply, "the peer refuses the session")

    def _take_helo(self, reply: Reply) -> None:
        if reply.is_positive:
            # An extension that a HELO peer lists would be one that it does not have.
            self._host.extensions = Extensions(hello=read_extensions(reply).hello)
            self._be_ready()
        else:
            self._refuse(Stage.HELO, reply, "the peer refuses HELO")

    def _take_early_ehlo(self, reply: Reply) -> None:
        if not reply.is_positive:
            refused = _refused(Stage.EHLO, reply, "the peer refuses EHLO with a message behind it")
            self._host.refuse_early(refused, may_go_on=reply.code != Code.CLOSING)
            return
        announced = read_extensions(reply)
        if not announced.chunking:
            refused = _refused(Stage.EHLO, reply, "the peer does not offer CHUNKING any more")
            self._host.refuse_early(refused, may_go_on=True)
            return
        if self._remembered is not None and not announced.cover(self._remembered):
            self._host.mislead()
        self._host.extensions = announced
        self._be_ready()

    def _take_ehlo(self, reply: Reply) -> None:
        if self._host.state is State.EARLY:
            self._take_early_ehlo(reply)
        elif reply.is_positive:
            self._host.extensions = read_extensions(reply)
            if self._host.is_encrypted or self._tls is TlsPolicy.NEVER:
                self._be_ready()
            elif self._host.extensions.starttls:
                self._ask_for_tls()
            elif self._tls is TlsPolicy.REQUIRE:
                self._refuse(Stage.EHLO, None, "the peer does not offer STARTTLS", OurReply.TLS_REQUIRED)
            else:
                self._be_ready()
        elif reply.is_transient:
            self._refuse(Stage.EHLO, reply, "the peer refuses EHLO")
        elif self._tls is TlsPolicy.REQUIRE and not self._host.is_encrypted:
            self._refuse(
                Stage.EHLO, None, f"the peer refuses EHLO, so there is no STARTTLS: {reply}", OurReply.TLS_REQUIRED
            )
        else:
            # RFC 5321 section 4.1.4 says so of 500 and 502 alone; peers refuse it with 501, 503, 550 and 554 too, and
            # Postfix and Exim say HELO after those as well.
            self._host.move(Transition.UNKNOWN)
            self._host.push(Stage.HELO, f"HELO {self._hello}")

    def _take_starttls(self, reply: Reply) -> None:
        if reply.is_positive:
            self._host.move(Transition.TLS_GRANTED)
            self._host.tell(TlsGranted())
        elif self._tls is TlsPolicy.REQUIRE or self._tls_is_demanded:
            self._refuse(Stage.STARTTLS, None, f"the peer refuses STARTTLS: {reply}", OurReply.TLS_REQUIRED)
        else:
            self._be_ready(Transition.TLS_DECLINED)

    def _ask_for_tls(self) -> None:
        self._host.move(Transition.TLS_WANTED)
        self._host.push(Stage.STARTTLS)

    def _be_ready(self, step: Transition = Transition.ACCEPTED) -> None:
        self._host.pipeline.pipelining = self._host.extensions.pipelining
        if self._host.extensions.chunking and self._chunks is Chunks.AVOID:
            self._host.extensions = replace(self._host.extensions, chunking=False)
        is_same = self._host.extensions.without_starttls() == self._remembered or self._host.state is State.EARLY
        if self._host.extensions.chunking and self._chunks is Chunks.ASK and not is_same:
            self._host.move(Transition.ASKED)
            self._host.pipeline.push(Command(Stage.ASK, (ASK,)))
            self._host.push(Stage.RSET)
            return
        self._host.move(step)
        self._host.tell(Ready(self._host.extensions))

    def _take_asked(self, reply: Reply, *, is_right: bool) -> None:
        """Read the answers to BDAT, to be refused, and RSET, which succeeds if nothing was between the two."""
        if not is_right or reply.code == Code.TLS_DEMANDED:
            self._host.out_of_step(f"the peer does not swallow a BDAT that it refuses: {reply}")
        elif reply.is_positive:
            self._chunks = Chunks.USE
            self._be_ready()

    def _refuse(self, stage: Stage, reply: Reply | None, cause: str, own: OurReply = OurReply.CONNECTION_LOST) -> None:
        self._host.move(Transition.REFUSED)
        self._host.tell(_refused(stage, reply, cause, own))
        self._host.push(Stage.QUIT)


def _refused(stage: Stage, reply: Reply | None, cause: str, own: OurReply = OurReply.CONNECTION_LOST) -> Refused:
    return Refused(stage, reply, own, cause if reply is None else f"{cause}: {reply}")
