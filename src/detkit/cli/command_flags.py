"""What help, completions and hints know of a verb: its flags, and the settings beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Flag:
    """One flag, or one argument where `names` is empty. A switch has no `value` placeholder.

    `suggest` is typer's `autocompletion` of the parameter: words it often takes.
    """

    names: tuple[str, ...]
    value: str
    help: str
    choices: tuple[str, ...] = ()
    takes_path: bool = False
    repeats: bool = False
    required: bool = False
    suggest: Callable[[], Sequence[str]] = tuple

    def words(self) -> tuple[str, ...]:
        """What a shell may complete its value to."""
        return self.choices or tuple(self.suggest())

    @property
    def label(self) -> str:
        return " ".join(filter(None, (", ".join(self.names), self.value)))

    @property
    def usage(self) -> str:
        """How an argument stands in the usage line."""
        text = self.value + ("..." if self.repeats else "")
        return text if self.required else f"[{text}]"


@dataclass(frozen=True, kw_only=True)
class SettingsHelp:
    """The settings of a verb as the end of its help: those of a class of `detkit.config`.

    Keys that begin with `hidden` are not listed but hinted at; `more` are further lines.
    """

    config: str
    hidden: str = "-"
    more: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        shown = [line for line in self._help_lines() if not line.startswith(self.hidden)]
        title = "Settings (-c FILE.toml, --set key=value):"
        return [title, *(f"  {line}" for line in (*shown, *self.more))]

    def names(self) -> list[str]:
        """The keys of all settings, sections with dots."""
        return [line.partition("=")[0] for line in self._help_lines()]

    def _help_lines(self) -> list[str]:
        import detkit.config

        return detkit.config.help_lines(getattr(detkit.config, self.config))
