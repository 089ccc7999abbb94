"""Static completions of bash, zsh and fish, made from the verbs: no Python runs at a Tab.

    python -m detkit.cli.completion completions/

writes `detkit.bash`, `_detkit` and `detkit.fish`; a test compares them with what is checked in.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from detkit.artifact.writing import write_text
from detkit.cli.command import build
from detkit.cli.command_flags import Flag
from detkit.cli.verb_table import VERBS

NOTE = "Made by `python -m detkit.cli.completion completions/`: edit the verbs, not this file."
HELP = Flag(names=("-h", "--help"), value="", help="Show this text.")
Tree = Mapping[str, Sequence[Flag]]  # verb -> its arguments and flags


def main(argv: Sequence[str]) -> int:
    """Writes one file for each shell into the folder `argv[0]`."""
    tree = command_tree()
    for name, render in SHELLS.items():
        write_text(Path(argv[0]) / name, render(tree))
    return 0


def command_tree() -> Tree:
    """Every verb's parameters, read from its function."""
    return {name: [*build(name, verb).flags(), HELP] for name, verb in VERBS.items()}


def _first_words() -> dict[str, str]:
    """What may follow `detkit`, with its help."""
    words = {name: verb.help for name, verb in VERBS.items() if " " not in name}
    groups = {name.split()[0]: "" for name in VERBS if " " in name}
    for group in groups:
        groups[group] = f"{', '.join(_second_words(group))}: see `detkit {group}`."
    return {**words, **groups, "help": "Show the help of a verb."}


def _second_words(group: str) -> dict[str, str]:
    """What may follow `detkit GROUP`, with its help."""
    pairs = {name: verb.help for name, verb in VERBS.items() if name.startswith(f"{group} ")}
    return {name.split()[1]: text for name, text in pairs.items()}


def _groups() -> list[str]:
    return sorted({name.split()[0] for name in VERBS if " " in name})


def _quote(text: str) -> str:
    """A single-quoted word of bash and zsh."""
    return "'" + text.replace("'", "'\\''") + "'"


# --- bash ----------------------------------------------------------------------------------------

BASH = """\
# {note}
_detkit() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD - 1]}}
    local verb=${{COMP_WORDS[1]}} at=1 values='' flags=''
    if [[ $cur == = ]]; then cur=''; elif [[ $prev == = ]]; then
        prev=${{COMP_WORDS[COMP_CWORD - 2]}}
    fi
    COMPREPLY=()
    case $verb in {groups})
        at=2
        ((COMP_CWORD > 2)) && verb+=" ${{COMP_WORDS[2]}}" ;;
    esac
    if ((COMP_CWORD == 1)) || [[ $verb == help ]]; then
        COMPREPLY=($(compgen -W {first} -- "$cur"))
        return
    fi
    if ((COMP_CWORD <= at)); then
        case $verb in
{second}
        esac
        return
    fi
    case "$verb $prev" in
{values}
    esac
    if [[ $cur != -* ]]; then
        compopt -o default
        return
    fi
    case $verb in
{flags}
    esac
    COMPREPLY=($(compgen -W "$flags" -- "$cur"))
}}
complete -F _detkit detkit
"""


def bash(tree: Tree) -> str:
    """Values by `compgen -W`; file names by readline itself, which knows blanks and tildes."""
    return BASH.format(
        note=NOTE,
        groups="|".join(_groups()),
        first=_quote(" ".join([*_first_words(), "--help", "--version"])),
        second="\n".join(
            f"        {group}) COMPREPLY=($(compgen -W "
            f'{_quote(" ".join(_second_words(group)))} -- "$cur")) ;;'
            for group in _groups()
        ),
        values="\n".join(
            f"    {patterns}) {action} ;;" for action, patterns in _bash_values(tree).items()
        ),
        flags="\n".join(
            f"    {_quote(verb)}) flags={_quote(' '.join(_long_names(flags)))} ;;"
            for verb, flags in tree.items()
        ),
    )


def _bash_values(tree: Tree) -> dict[str, str]:
    """What to do after a flag that takes a value -> the pattern of all "VERB FLAG" it holds for."""
    patterns: dict[str, list[str]] = {}
    for verb, flags in tree.items():
        for flag in flags:
            if flag.names and flag.value:
                names = (_quote(f"{verb} {name}") for name in flag.names)
                patterns.setdefault(_bash_action(flag), []).append("|".join(names))
    return {action: "|\\\n    ".join(found) for action, found in patterns.items()}


def _bash_action(flag: Flag) -> str:
    if words := flag.words():
        return f'COMPREPLY=($(compgen -W {_quote(" ".join(words))} -- "$cur")); return'
    return "compopt -o default; return" if flag.takes_path else "return"


def _long_names(flags: Sequence[Flag]) -> list[str]:
    return [name for flag in flags for name in flag.names if name.startswith("--")]


# --- zsh -----------------------------------------------------------------------------------------

ZSH = """\
#compdef detkit
# {note}
_detkit() {{
    local -a words_here
    if ((CURRENT == 2)) || [[ $words[2] == help ]]; then
        words_here=({first})
        _describe verb words_here
        return
    fi
    case $words[2] in
{second}
    esac
    local verb=$words[2]
    case $verb in {groups})
        verb+=" $words[3]"
        shift words; ((CURRENT--)) ;;
    esac
    shift words; ((CURRENT--))
    case $verb in
{verbs}
    esac
}}
_detkit "$@"
"""


def zsh(tree: Tree) -> str:
    """An `_arguments` call for each verb."""
    second = (
        f"    {group}) if ((CURRENT == 3)); then\n"
        f"        words_here=({_zsh_words(_second_words(group))})\n"
        f"        _describe verb words_here\n        return\n    fi ;;"
        for group in _groups()
    )
    verbs = (
        f"    {_quote(verb)}) _arguments -s \\\n        "
        + " \\\n        ".join(spec for flag in flags for spec in _zsh_specs(flag))
        + " ;;"
        for verb, flags in tree.items()
    )
    return ZSH.format(
        note=NOTE,
        first=_zsh_words(_first_words()),
        second="\n".join(second),
        groups="|".join(_groups()),
        verbs="\n".join(verbs),
    )


def _zsh_words(words: Mapping[str, str]) -> str:
    return " ".join(_quote(f"{word}:{text}") for word, text in words.items())


def _zsh_specs(flag: Flag) -> list[str]:
    """`*--flag[help]:PLACEHOLDER:action`, or `*:PLACEHOLDER:action` of an argument."""
    words = " ".join(flag.words())
    action = f"({words})" if words else "_files" * flag.takes_path
    value = f":{_zsh_text(flag.value)}:{action or ' '}" if flag.value else ""
    if not flag.names:
        return [_quote(("*" if flag.repeats else "" if flag.required else ":") + value)]
    others = "*" if flag.repeats else f"({' '.join(flag.names)})"
    return [_quote(f"{others}{name}[{_zsh_text(flag.help)}]{value}") for name in flag.names]


def _zsh_text(text: str) -> str:
    for char in "\\[]:":
        text = text.replace(char, "\\" + char)
    return text


# --- fish ----------------------------------------------------------------------------------------

FISH = """\
# {note}
function __detkit_is --description 'The words after detkit begin with these'
    set -l typed (commandline -opc)[2..]
    set -l wanted (count $argv)
    test (count $typed) -ge $wanted; and test "$typed[1..$wanted]" = "$argv"
end
function __detkit_at --description 'So many words are before the cursor'
    test (count (commandline -opc)) -eq $argv[1]
end
complete -c detkit -f
{lines}
"""


def fish(tree: Tree) -> str:
    """One `complete` line for each verb, flag and path argument."""
    lines = [
        f"complete -c detkit -n '__detkit_at 1' -a {word} -d {_fish_quote(text)}"
        for word, text in _first_words().items()
    ]
    verbs = " ".join(_first_words())
    lines.append(f"complete -c detkit -n '__detkit_is help; and __detkit_at 2' -a '{verbs}'")
    lines += [
        f"complete -c detkit -n '__detkit_is {group}; and __detkit_at 2' -a {word} "
        f"-d {_fish_quote(text)}"
        for group in _groups()
        for word, text in _second_words(group).items()
    ]
    for verb, flags in tree.items():
        at = f"complete -c detkit -n '__detkit_is {verb}'"
        lines += [f"{at} {_fish_flag(flag)}" for flag in flags if flag.names]
        if any(flag.takes_path and not flag.names for flag in flags):
            lines.append(f"{at} -F")
    return FISH.format(note=NOTE, lines="\n".join(lines))


def _fish_flag(flag: Flag) -> str:
    names = [f"-l {n[2:]}" if n.startswith("--") else f"-s {n[1:]}" for n in flag.names]
    value = []
    if words := flag.words():
        value = [f"-x -a {_fish_quote(' '.join(words))}"]
    elif flag.value:
        value = ["-r -F" if flag.takes_path else "-x"]
    return " ".join([*names, *value, f"-d {_fish_quote(flag.help)}"])


def _fish_quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


SHELLS: dict[str, Callable[[Tree], str]] = {
    "detkit.bash": bash,
    "_detkit": zsh,
    "detkit.fish": fish,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
