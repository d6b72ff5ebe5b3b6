"""`approxattn completion SHELL`: a script that completes commands and options, made from them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

SHELLS = ("bash", "zsh", "fish")

_BASH = """_approxattn() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} words
    case ${{COMP_WORDS[1]}} in
{cases}
        *) words="{commands}" ;;
    esac
    [ "$COMP_CWORD" -eq 1 ] && words="{commands}"
    if [[ $word == -* || $COMP_CWORD -eq 1 ]]; then
        COMPREPLY=($(compgen -W "$words" -- "$word"))
    else
        COMPREPLY=($(compgen -f -- "$word"))
    fi
}}
complete -o filenames -F _approxattn approxattn
"""


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the script; `eval "$(approxattn completion bash)"` takes it into a running shell."""
    commands = _options(parser)
    if shell == "fish":
        return _fish(commands)
    cases = "\n".join(
        f'        {name}) words="{" ".join(options)}" ;;' for name, options in commands.items()
    )
    text = _BASH.format(cases=cases, commands=" ".join(commands))
    first = "autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else ""
    return first + text


def _fish(commands: Mapping[str, list[str]]) -> str:
    head = "complete -c approxattn -n __fish_use_subcommand -f -a"
    lines = [f"{head} '{' '.join(commands)}'"]
    for name, options in commands.items():
        seen = f"complete -c approxattn -n '__fish_seen_subcommand_from {name}'"
        lines += [f"{seen} -l {option[2:]}" for option in options if option.startswith("--")]
    return "\n".join(lines) + "\n"


def _options(parser: argparse.ArgumentParser) -> dict[str, list[str]]:
    """Return the options of every command, and the shells of this one."""
    found: dict[str, list[str]] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                found[name] = [o for a in command._actions for o in a.option_strings]
    found["completion"] = [*found.get("completion", []), *SHELLS]
    return found
