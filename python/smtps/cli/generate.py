"""What is made from the options of all verbs: completion for shells, and the man page.

Libraries make them, which nothing else needs.
"""

from __future__ import annotations

import argparse
import importlib
import re
from functools import partial

from smtps import VERSION
from smtps.cli import VERBS, front, output
from smtps.client import accounts
from smtps.errors import ConfigurationError

HELP = "completion for bash, zsh and fish, and the man page"
USAGE = "bash | zsh | fish | man"
EXAMPLE = "smtps generate fish"

SHELLS = ("bash", "zsh", "fish")

ABOUT = "send mail, and type SMTP by hand over TLS"

WORDS = {"NAME": "accounts", "HOST[:PORT]": "hosts", "HOST": "hosts", "ID": "mails"}
"""What there is of a kind of word, as this verb tells it to a shell."""

_TELL = "smtps generate {} 2>/dev/null"

_UNSAID = {
    "bash": """
_smtps() {
  local word=${COMP_WORDS[COMP_CWORD]} first=${COMP_WORDS[1]}
  if [[ " @verbs@ " == *" $first "* || ( $COMP_CWORD = 1 && $first != -* ) ]]; then
    _shtab_smtps
    if [ "$COMP_CWORD" = 1 ]; then
      COMPREPLY+=($(compgen -W "$(@hosts@)" -- "$word"))
    fi
  else
    COMP_WORDS=("${COMP_WORDS[0]}" session "${COMP_WORDS[@]:1}")
    COMP_CWORD=$((COMP_CWORD + 1))
    _shtab_smtps
  fi
}
complete -o bashdefault -F _smtps smtps
""",
    "zsh": """
functions[_smtps_said]=$functions[_shtab_smtps]
_shtab_smtps() {
  local -a verbs=(@verbs@)
  if (( ! $verbs[(Ie)$words[2]] )); then
    if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then
      compadd -- ${(f)"$(@hosts@)"}
    else
      words=($words[1] session "${(@)words[2,-1]}")
      (( CURRENT++ ))
    fi
  fi
  _smtps_said
}
""",
}
"""Behind what shtab makes, where it has no say: the verb session need not be said."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.add_argument(
        "what",
        choices=(*SHELLS, "man", *_TOLD),
        metavar="WHAT",
        help="this; accounts, hosts, mails: words",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print it and return the exit status."""
    if arguments.what in _TOLD:
        for word in dict.fromkeys(_TOLD[arguments.what]()):
            output.line(word)
        return 0
    try:
        text = _man() if arguments.what == "man" else _completion(arguments.what)
    except ImportError as error:
        raise ConfigurationError(
            f"For this the library {error.name} is needed: pip install 'smtps[generate]'."
        ) from None
    output.write(text.rstrip("\n") + "\n")
    return 0


def _accounts() -> list[str]:
    return [str(account.name) for account in accounts.read(accounts.default())]


def _hosts() -> list[str]:
    return [account.host for account in accounts.read(accounts.default()) if account.host]


def _mails() -> list[str]:
    from smtps.outbox import overview, spool

    return [entry.name for entry in overview.listed(spool.Spool(spool.default()))]


_TOLD = {"accounts": _accounts, "hosts": _hosts, "mails": _mails}
"""What a shell asks for when it completes such a word."""


def whole() -> argparse.ArgumentParser:
    """Return what parses a verb and its words; a host without its verb is not in it."""
    made = front.Parser(prog="smtps", usage="smtps VERB [OPTION...]", add_help=False)
    verbs = made.add_subparsers(title="verbs", metavar="VERB", parser_class=front.Parser)
    for verb in VERBS:
        if verb != "rpc":
            told = importlib.import_module(f"smtps.cli.{verb}").HELP
            front.parser(verb, partial(verbs.add_parser, verb, help=told))
    return made


def _completion(shell: str) -> str:
    import shtab

    values = {"FILE": shtab.FILE, "DIR": shtab.DIRECTORY}
    values |= {word: shtab.cmd(_TELL.format(what)) for word, what in WORDS.items()}
    parser = whole()
    for verb in _verbs(parser):
        for action in verb._actions:
            if action.metavar in values:
                action.complete = values[action.metavar]  # type: ignore[attr-defined]
    unsaid = _UNSAID.get(shell, "").replace("@verbs@", " ".join(VERBS))
    unsaid = unsaid.replace("@hosts@", _TELL.format("hosts"))
    if shell == "zsh":
        return str(shtab.complete(parser, shell, preamble=unsaid))
    made = str(shtab.complete(parser, shell))
    if shell == "fish":
        # What can be typed behind the verb can be without.
        said = re.findall(r"^complete .*_using session\b.*\n", made + "\n", re.MULTILINE)
        unsaid = "".join(line.replace("_using session", "_using", 1) for line in said)
    return f"{made}\n{unsaid}"


def _man() -> str:
    from argparse_manpage.manpage import Manpage

    facts = {
        "project_name": "smtps",
        "version": VERSION,
        "description": ABOUT,
        "manual_title": "smtps",
        "manual_section": 1,
    }
    return str(Manpage(whole(), facts))


def _verbs(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    return [
        verb
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for verb in action.choices.values()
    ]
