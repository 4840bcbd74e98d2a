"""Certificates that have to be refused are, with the reason; nothing is sent to their servers."""

from __future__ import annotations

import ssl
import warnings
from pathlib import Path
from typing import Any

import pytest
from authority import DAY, NOW, Authority, Kind, context
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from hostile.server import Record, Script, Server

from smtps.client.account import Account
from smtps.client.delivery import Delivery
from smtps.client.trusting import Trust
from smtps.errors import ConfigurationError, PassphraseError
from smtps.net import dial, tls
from smtps.net.streams import run
from smtps.protocol import body
from smtps.protocol.envelope import Envelope, Message
from smtps.protocol.outcome import Outcome, Verdict
from smtps.trust import certificate, pins

TEXT = b"Subject: x\r\n\r\nx\r\n"

GOOD = Kind()

BAD = {
    "expired": (Kind(begins=NOW - 9 * DAY, ends=NOW - DAY), "has expired"),
    "not yet valid": (Kind(begins=NOW + DAY), "is not valid yet"),
    "self-signed": (Kind(alone=True), "is signed by itself"),
    "unknown authority": (Kind(stranger=True), "issuer that is not known to this machine"),
    "wrong name": (Kind(names=("a.test", "b.test")), "is for another name (a.test, b.test)"),
    "CN only": (Kind(names=()), "is for another name (for none)"),
    "an address that is not ours": (Kind(names=("127.0.0.2",)), "is for another name"),
    "for clients": (Kind(purpose=ExtendedKeyUsageOID.CLIENT_AUTH), "is not meant for servers"),
    "weak key": (Kind(rsa_bits=1024), "has a key that is too short"),
    "SHA-1": (Kind(sha1=True), "is signed by an outdated digest"),
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("authority")


@pytest.fixture(scope="module")
def authority(directory: Path) -> Authority:
    return Authority(directory)


@pytest.fixture(scope="module")
def files(directory: Path, authority: Authority) -> dict[str, Path]:
    stranger = Authority(directory, "Stranger")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            name: (stranger if kind.stranger else authority).issue(kind, f"{number}.pem")
            for number, (name, kind) in enumerate(
                [("good", GOOD), *((name, kind) for name, (kind, _) in BAD.items())]
            )
        }


def sent(
    server: Server,
    tls: str,
    ca_file: Path | None,
    trust: Trust | None = None,
    host: str = "localhost",
    **more: Any,
) -> tuple[Outcome, list[str]]:
    told: list[str] = []
    account = Account(host, server.port, tls, ca_file=str(ca_file) if ca_file else None, **more)
    delivery = Delivery(account, timeout=10, tell=told.append, trust=trust)

    async def one() -> Outcome:
        async def commit(recipients: tuple[int, ...]) -> None:
            return

        message = Message(lambda: [TEXT], body.shape([TEXT]))
        try:
            return await delivery.send(Envelope("a@x", ("b@x",)), message, None, commit)
        finally:
            await delivery.close()

    return run(one()), told


def serving(tls: str, made: ssl.SSLContext) -> Server:
    offers = ("STARTTLS",) if tls == "starttls" else ()
    return Server(Script(offers=offers, tls=tls), made)


def untouched(records: list[Record]) -> bool:
    """Return True if nothing of the mail or of a login went to the server."""
    return all(set(record.verbs()) <= {"EHLO", "STARTTLS", "QUIT"} for record in records)


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
@pytest.mark.parametrize("name", BAD)
def test_what_has_to_be_refused_is(
    tls: str, name: str, authority: Authority, files: dict[str, Path]
) -> None:
    with serving(tls, context(files[name])) as server:
        outcome, told = sent(server, tls, authority.ca_file, Trust(files["good"].parent / "none"))
    assert outcome.status == 77
    assert BAD[name][1] in outcome.text
    assert "No mail and no password was sent." in outcome.text
    assert untouched(server.records)
    # The chain is told all the same, and how its key could be trusted.
    assert any(line.startswith(" - public key sha256//") for line in told)
    assert any(line.startswith("- Status: The certificate is NOT trusted") for line in told)
    assert outcome.refused_key
    assert f"localhost {server.port} {outcome.refused_key}" in outcome.text


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
def test_old_tls_is_refused(tls: str, authority: Authority, files: dict[str, Path]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = context(files["good"], ssl.TLSVersion.TLSv1_1)
    with serving(tls, made) as server:
        outcome, _ = sent(server, tls, authority.ca_file)
    assert outcome.status == 77
    assert "it speaks no TLS newer than 1.1" in outcome.text
    assert untouched(server.records)


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_good_one_is_told(
    tls: str, newest: ssl.TLSVersion, authority: Authority, files: dict[str, Path]
) -> None:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(files["good"])
    made.maximum_version = newest
    with serving(tls, made) as server:
        outcome, told = sent(server, tls, authority.ca_file)
    assert outcome.status == 0, outcome.text
    text = "\n".join(told)
    version = newest.name.replace("_", ".")
    for part in (
        f"- TLS: {version}, ",
        "key exchange x25519",
        "(expires in 11 days)",
        " - names: localhost",
        "- Status: The certificate is trusted, and it is for localhost.",
        " - EC key, secp256r1, signed using SHA256-ECDSA",
    ):
        assert part in text


def key_of(file: Path) -> str:
    der = ssl.PEM_cert_to_DER_cert(
        "-----BEGIN CERT" + file.read_text().split("-----BEGIN CERT", 1)[1]
    )
    key = certificate.key(der)
    assert key
    return key


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
def test_a_pinned_key_is_enough_and_no_other_is(
    tls: str, tmp_path: Path, authority: Authority, files: dict[str, Path]
) -> None:
    path = tmp_path / "pins"
    with serving(tls, context(files["self-signed"])) as server:
        pins.add(path, "localhost", server.port, key_of(files["self-signed"]))
        outcome, told = sent(server, tls, None, Trust(path))
        assert outcome.status == 0, outcome.text
        assert any("pinned" in line for line in told)
        # The same server with another key, though the authority says that it is good.
        pins.add(path, "localhost", server.port, key_of(files["expired"]))
        outcome, _ = sent(server, tls, authority.ca_file, Trust(path))
    assert outcome.status == 77
    assert "SOMEBODY MAY BE IN BETWEEN" in outcome.text
    assert outcome.refused_key is None
    assert untouched(server.records[1:])


def test_a_key_for_this_once_is_that_key_only(files: dict[str, Path]) -> None:
    trust = Trust()
    with serving("implicit", context(files["self-signed"])) as server:
        trust.once("localhost", server.port, key_of(files["self-signed"]))
        assert sent(server, "implicit", None, trust)[0].status == 0
        trust.once("localhost", server.port, key_of(files["good"]))
        outcome, _ = sent(server, "implicit", None, trust)
        assert outcome.status == 77
        # There is no line to change; whoever asks may be asked again.
        assert "does not have the key that was trusted for this once" in outcome.text
        assert "pins" not in outcome.text
        assert outcome.refused_key == key_of(files["self-signed"])
        # The next one is checked like any other.
        assert sent(server, "implicit", files["self-signed"], trust)[0].status == 0
        assert sent(server, "implicit", None, Trust())[0].status == 77


def wanting_certificates(file: Path, ca_file: Path) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(file)
    made.load_verify_locations(ca_file)
    made.verify_mode = ssl.CERT_REQUIRED
    return made


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
def test_a_client_certificate_is_shown(
    tls: str, directory: Path, authority: Authority, files: dict[str, Path]
) -> None:
    ours = authority.issue(Kind(purpose=ExtendedKeyUsageOID.CLIENT_AUTH), f"ours-{tls}.pem")
    with serving(tls, wanting_certificates(files["good"], authority.ca_file)) as server:
        outcome, _ = sent(
            server, tls, authority.ca_file, client_certificate=str(ours), client_key=str(ours)
        )
        assert outcome.status == 0, outcome.text
        outcome, _ = sent(server, tls, authority.ca_file)
    assert outcome.verdict in (Verdict.LOGIN, Verdict.UNREACHED)
    assert "client certificate" in outcome.text


def test_a_passphrase_is_asked_for_and_a_wrong_one_told(
    authority: Authority, files: dict[str, Path]
) -> None:
    ours = authority.issue(
        Kind(purpose=ExtendedKeyUsageOID.CLIENT_AUTH), "locked.pem", b"open sesame"
    )
    asked: list[str] = []

    def answering(answer: str) -> Trust:
        async def passphrase(account: Account, file: str) -> str:
            asked.append(file)
            return answer

        return Trust(passphrase=passphrase)

    with serving("implicit", wanting_certificates(files["good"], authority.ca_file)) as server:
        right = answering("open sesame")
        for _ in range(2):
            outcome, _ = sent(
                server, "implicit", authority.ca_file, right, client_certificate=str(ours)
            )
            assert outcome.status == 0, outcome.text
        assert asked == [str(ours)]
        outcome, _ = sent(
            server, "implicit", authority.ca_file, answering("wrong"), client_certificate=str(ours)
        )
        assert outcome.status == 77
        assert "wants another passphrase" in outcome.text
        assert "wrong" not in outcome.text
        outcome, _ = sent(server, "implicit", authority.ca_file, client_certificate=str(ours))
        assert outcome.status == 77
        assert PassphraseError.status == 77


def test_an_impostor_is_not_shown_our_certificate(
    tmp_path: Path, authority: Authority, files: dict[str, Path]
) -> None:
    """A pin is compared behind the handshake: with a client certificate authorities decide."""
    ours = authority.issue(Kind(purpose=ExtendedKeyUsageOID.CLIENT_AUTH), "shown.pem")
    made = wanting_certificates(files["self-signed"], authority.ca_file)
    trust = Trust()
    with serving("implicit", made) as server:
        trust.once("localhost", server.port, key_of(files["self-signed"]))
        outcome, _ = sent(
            server, "implicit", authority.ca_file, trust, client_certificate=str(ours)
        )
        assert outcome.status == 77
        assert "is signed by itself" in outcome.text
        # So no pin is offered, but what does.
        assert outcome.refused_key is None
        assert "a pin does not do" in outcome.text
        assert "sha256//" not in outcome.text
        outcome, _ = sent(server, "implicit", files["self-signed"], client_certificate=str(ours))
        assert outcome.status == 0, outcome.text


def test_a_dot_behind_a_name_is_not_part_of_it(
    authority: Authority, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = dial.found
    monkeypatch.setattr(dial, "found", lambda host, port: found(host.rstrip("."), port))
    with serving("implicit", context(files["good"])) as server:
        assert sent(server, "implicit", authority.ca_file, host="localhost.")[0].status == 0


def test_a_server_that_no_longer_offers_starttls_is_told(
    tmp_path: Path, authority: Authority, files: dict[str, Path]
) -> None:
    trust = Trust(offers=tmp_path / "offers")
    with serving("starttls", context(files["good"])) as server:
        assert sent(server, "starttls", authority.ca_file, trust)[0].status == 0
    with Server(Script(), port=server.port) as without:
        outcome, _ = sent(without, "starttls", authority.ca_file, trust)
    assert outcome.status == 77
    assert "localhost offered STARTTLS last time and no longer does" in outcome.text


@pytest.mark.parametrize(
    ("file", "key", "told"),
    [
        ("text", None, "the certificate or the key is missing"),
        ("alone", None, "the certificate or the key is missing"),
        ("alone", "text", "the certificate or the key is missing"),
        ("alone", "other", "the key is another certificate's"),
        ("none", None, "No such file"),
    ],
)
def test_a_client_certificate_that_is_none(
    file: str, key: str | None, told: str, tmp_path: Path, files: dict[str, Path]
) -> None:
    made = {"text": "hello\n", "other": files["expired"].read_text()}
    made["alone"] = "-----BEGIN CERT" + files["good"].read_text().split("-----BEGIN CERT", 1)[1]
    for name, text in made.items():
        (tmp_path / name).write_text(text)
    client = tls.ClientCertificate(str(tmp_path / file), key and str(tmp_path / key))
    with pytest.raises(ConfigurationError, match=told):
        tls.context(None, client)


@pytest.mark.parametrize("passphrase", ["", "wrong", "x" * 2000, "\ud800"])
@pytest.mark.parametrize("form", ["PKCS8", "TraditionalOpenSSL"])
def test_a_passphrase_that_is_not_right(form: str, passphrase: str, tmp_path: Path) -> None:
    made = Authority(tmp_path).issue(GOOD, "plain.pem").read_bytes()
    locked = serialization.load_pem_private_key(made, None).private_bytes(
        serialization.Encoding.PEM,
        getattr(serialization.PrivateFormat, form),
        serialization.BestAvailableEncryption(b"open sesame"),
    )
    (tmp_path / "key.pem").write_bytes(locked)
    client = tls.ClientCertificate(str(tmp_path / "plain.pem"), str(tmp_path / "key.pem"))
    with pytest.raises(PassphraseError):
        tls.context(None, client._replace(passphrase=passphrase))
    tls.context(None, client._replace(passphrase="open sesame"))


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
def test_external_logs_in_by_the_certificate_that_was_shown(
    tls: str, authority: Authority, files: dict[str, Path]
) -> None:
    """EXTERNAL (RFC 4422 appendix A): who we are was settled by TLS, which really checks it."""
    ours = authority.issue(
        Kind(common_name="tester", purpose=ExtendedKeyUsageOID.CLIENT_AUTH), f"external-{tls}.pem"
    )
    offers = ("AUTH EXTERNAL PLAIN", *(["STARTTLS"] if tls == "starttls" else []))
    script = Script(offers=offers, tls=tls)
    with Server(script, wanting_certificates(files["good"], authority.ca_file)) as server:
        outcome, _ = sent(
            server,
            tls,
            authority.ca_file,
            user="tester",
            mechanisms=("EXTERNAL",),
            client_certificate=str(ours),
        )
        assert outcome.status == 0, outcome.text
        stranger, _ = sent(server, tls, authority.ca_file, user="tester", mechanisms=("EXTERNAL",))
    said = [line for record in server.records for line in record.commands]
    assert b"AUTH EXTERNAL dGVzdGVy" in said
    # Without a certificate the mechanism is not even tried.
    assert stranger.status in (69, 77)
    assert sum(line.startswith(b"AUTH") for line in said) == 1
