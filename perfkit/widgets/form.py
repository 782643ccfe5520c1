"""A form over variables: what a person types is in the variable at once, right or wrong.

    form = Form(fields, namespace, check)

The variables are the truth and the form a view of them: a change in the form is written to
`namespace`, and `follow()` brings a variable that a cell has changed into the form. Also a wrong
value is written, so that what uses it refuses it too; the form says why beside the field. What
is right, and what a person should know about the values as a whole, `check` decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import anywidget
import traitlets

from perfkit.units import parse_number

Kind = Literal["text", "number", "choice", "flag", "many"]
Typed = str | bool  # a field's content; True and False of a box
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One variable as the form shows it.

    Attributes:
        kind: `many` picks several of `choices`, comma-separated, or `all`; `text` with choices
            suggests them.
        choices: Value and what a person reads.
        all_of: Of `many`, the choices that `all` stands for.
        whole: A number without fractions; of a `text`, one where it is a number at all.
        advanced: Shown on demand.
    """

    name: str
    label: str
    help: str
    kind: Kind = "text"
    choices: tuple[tuple[str, str], ...] = ()
    all_of: tuple[str, ...] = ()
    whole: bool = False
    advanced: bool = False

    def to_text(self, value: object) -> Typed:
        """A variable's value as the form holds it."""
        if self.kind == "flag":
            return value if isinstance(value, bool) else str(value)
        if isinstance(value, list | tuple):
            return ",".join(map(str, value))
        if isinstance(value, float) and math.isfinite(value) and value == int(value):
            return str(int(value))  # 120, not 120.0
        return str(value)

    def to_value(self, text: Typed) -> object:
        """What was typed as the variable's value; what is no number stays text, to be refused."""
        if not (self.kind == "number" or self.whole) or not isinstance(text, str):
            return text
        try:
            return parse_number(text, whole=self.whole)
        except ValueError:
            return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What `check` thinks of the values.

    Attributes:
        errors: By field: what is wrong, what is allowed, the remedy.
        summary: What to know about the whole, one line each.
        notices: What else to know; whoever uses the values will say it too.
    """

    errors: Mapping[str, str] = field(default_factory=dict)
    summary: Sequence[str] = ()
    notices: Sequence[str] = ()


Check = Callable[[Mapping[str, Any]], Verdict]


class Form(anywidget.AnyWidget):
    """The widget; `values` holds texts and flags as typed, the namespace the values.

    Args:
        fields: In the order of the form.
        namespace: Where the variables live, for example a notebook's `globals()`.
        check: Called with all variables after each change; quick, since a person waits for it.
    """

    _esm = _HERE / "form.js"
    _css = _HERE / "form.css"
    title = traitlets.Unicode("Parameters").tag(sync=True)
    fields: traitlets.List[Any] = traitlets.List().tag(sync=True)
    values = traitlets.Dict().tag(sync=True)
    errors = traitlets.Dict().tag(sync=True)
    summary: traitlets.List[Any] = traitlets.List().tag(sync=True)

    def __init__(
        self, fields: Sequence[Field], namespace: MutableMapping[str, Any], check: Check
    ) -> None:
        self._fields = {f.name: f for f in fields}
        self._namespace, self._check = namespace, check
        super().__init__(fields=[asdict(f) for f in fields])
        self.observe(self._on_values, names="values")
        self.follow()

    def __repr__(self) -> str:
        lines = [f"{name} = {self._namespace[name]!r}" for name in self._fields]
        wrong = [f"{name}: {text}" for name, text in self.errors.items()]
        return "\n".join([*lines, *wrong, *self.summary])

    def follow(self) -> None:
        """Show the variables as they are now; does nothing when the form shows them already."""
        shown = {
            name: self.values[name]
            if name in self.values and f.to_value(self.values[name]) == self._namespace[name]
            else f.to_text(self._namespace[name])
            for name, f in self._fields.items()
        }
        self.values = shown

    def _on_values(self, change: Mapping[str, Any]) -> None:
        for name, f in self._fields.items():
            if change["new"].get(name) != change["old"].get(name):
                self._namespace[name] = f.to_value(change["new"][name])
        verdict = self._check({name: self._namespace[name] for name in self._fields})
        with self.hold_sync():
            self.errors = dict(verdict.errors)
            self.summary = [*verdict.summary, *verdict.notices]
