"""Shell completion: each shell asks `queue-service __complete <words>` for what may come next."""

import argparse
from collections.abc import Sequence

SHELLS = ("bash", "zsh", "fish")
BASH = """_queue_service() {
    local IFS=$'\\n'
    COMPREPLY=($(queue-service __complete "${COMP_WORDS[@]:1:COMP_CWORD}"))
}
complete -o default -F _queue_service queue-service"""
ZSH = f"autoload -U +X bashcompinit && bashcompinit\n{BASH}"
FISH = """function __queue_service
    set -l words (commandline -opc) (commandline -ct)
    queue-service __complete $words[2..]
end
complete -c queue-service -f -a '(__queue_service)'"""


def script(shell: str) -> str:
    """Return what a shell evaluates to know the commands."""
    return {"bash": BASH, "zsh": ZSH, "fish": FISH}[shell]


def candidates(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[str]:
    """Return what the last word may become, after all the words before it."""
    *before, last = words or [""]
    for word in before:
        inner = _choices(parser).get(word)
        parser = inner if inner is not None else parser
    option = _option(parser, before[-1]) if before else None
    if option is not None and option.nargs != 0:
        found = [str(choice) for choice in option.choices or ()]
    else:
        found = [*_choices(parser), *_positional(parser)]
        found += [name for each in parser._actions for name in each.option_strings if name.startswith("--")]
    return [each for each in found if each.startswith(last)]


def _choices(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the commands below a parser."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _positional(parser: argparse.ArgumentParser) -> list[str]:
    named = [action for action in parser._actions if not action.option_strings]
    return [
        str(choice)
        for action in named
        if not isinstance(action, argparse._SubParsersAction)
        for choice in action.choices or ()
    ]


def _option(parser: argparse.ArgumentParser, word: str) -> argparse.Action | None:
    return next((action for action in parser._actions if word in action.option_strings), None)
