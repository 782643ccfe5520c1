"""Which programs a text runs or asks for: shell scripts by their words, Python by its syntax tree.

A reader of shell that knows quotes, comments, substitutions, here-documents and case patterns, and
takes the first word of each command; of Python it takes the head of every argument list and the
shell scripts that are handed to something that runs them. Words with a variable in them, and paths,
are nobody's program name and are left out.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

KEYWORDS = {"if", "then", "elif", "else", "do", "while", "until", "!", "{", "time"}
BLOCK_ENDS = {"fi", "done", "esac", "}", "in"}
# They run another program: its name follows their options.
WRAPPERS = {"chroot", "command", "env", "exec", "nice", "nohup", "nsenter", "setpriv", "setsid"} | {
    "stdbuf", "sudo", "timeout", "unshare", "xargs"
}  # fmt: skip
TAKES_VALUES = {"nsenter", "setpriv", "sudo", "timeout", "unshare"}  # before the name
SHELLS = {"sh", "bash", "dash"}
TAKES_A_SCRIPT = {"eval", "trap"}
NAME = re.compile(r"[a-z][a-z0-9_.+-]*")
SYSTEMS_FOLDER = re.compile(r"^/(usr/)?s?bin/(?=[\w.+-]+$)")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_HEREDOC = re.compile(r"<<-?\s*(['\"]?)([\w-]+)\1")


@dataclass
class _Words:
    """The simple commands of a script, each a list of words; what was quoted is kept beside."""

    commands: list[list[str]] = field(default_factory=lambda: [[]])
    joined: list[str] = field(default_factory=list)  # what stands between two commands
    inner: list[str] = field(default_factory=list)  # scripts inside the script
    functions: set[str] = field(default_factory=set)
    word: str | None = None
    depth: int = 0
    skip_word: bool = False  # the target of a redirection
    heredocs: list[str] = field(default_factory=list)  # their ends, before their lines have come

    def add(self, text: str) -> None:
        self.word = (self.word or "") + text

    def end_word(self) -> None:
        if self.word is not None and not self.skip_word:
            self.commands[-1].append(self.word)
        if self.word is not None:
            self.skip_word = False
        self.word = None

    def end_command(self, operator: str = ";") -> None:
        self.end_word()
        self.skip_word = False
        if self.commands[-1]:
            self.commands.append([])
            self.joined.append(operator)

    def drop_pattern(self) -> None:
        """What was read since the last `;;` or `in` is a pattern of a case, and no command."""
        self.word, self.commands[-1] = None, []
        while self.joined and self.joined[-1] == "|":
            self.joined.pop()
            self.commands.pop(-2)


def programs_of_shell(script: str) -> set[str]:
    """Names of the programs a shell script runs or asks for, its own functions left out."""
    words = _read(script)
    found: set[str] = set()
    for command in words.commands:
        heads = set(_heads(command))
        found |= heads
        if heads & SHELLS and "-c" in command[:-1]:
            words.inner.append(command[command.index("-c") + 1])
        if command and command[0] in TAKES_A_SCRIPT:
            words.inner += command[1:2]
    for inner in words.inner:
        found |= programs_of_shell(inner)
    return found - words.functions


def _heads(command: list[str]) -> Iterator[str]:
    """The program of a simple command, and the one that it runs in its turn."""
    rest = [SYSTEMS_FOLDER.sub("", word) for word in command]
    while rest and (rest[0] in KEYWORDS or rest[0] in BLOCK_ENDS or _ASSIGNMENT.match(rest[0])):
        rest.pop(0)
    if not rest or rest[0] in {"for", "case"} or not NAME.fullmatch(rest[0]):
        return
    yield rest[0]
    if rest[0] not in WRAPPERS:
        return
    for at, word in enumerate(rest[1:], start=1):
        if NAME.fullmatch(word):
            yield from _heads(rest[at:])
            return
        if "/" in word or (word.startswith("$") and rest[0] not in TAKES_VALUES):
            return  # a path, or nobody knows


def _read(script: str) -> _Words:
    words, i = _Words(), 0
    while i < len(script):
        i = _READERS.get(script[i], _read_plain)(script, i, words)
    words.end_command()
    return words


def _read_plain(script: str, i: int, words: _Words) -> int:
    if script[i].isspace():
        words.end_word()
    else:
        words.add(script[i])
    return i + 1


def _read_escape(script: str, i: int, words: _Words) -> int:
    if script[i + 1 : i + 2] != "\n":
        words.add(script[i + 1 : i + 2])
    return i + 2


def _read_verbatim(script: str, i: int, words: _Words) -> int:
    """A string in single quotes."""
    end = script.find("'", i + 1)
    end = len(script) if end < 0 else end
    words.add(script[i + 1 : end])
    return end + 1


def _read_comment(script: str, i: int, words: _Words) -> int:
    if words.word is not None:
        return _read_plain(script, i, words)
    end = script.find("\n", i)
    return len(script) if end < 0 else end


def _read_redirection(script: str, i: int, words: _Words) -> int:
    if found := _HEREDOC.match(script, i):
        words.heredocs.append(found[2])
        return found.end()
    if (words.word or "").isdigit():
        words.word = None
    words.end_word()
    words.skip_word = True
    return i + (2 if script[i + 1 : i + 2] in {">", "&", "<"} else 1)


def _read_line_end(script: str, i: int, words: _Words) -> int:
    words.end_command()
    return _end_of_heredocs(script, i, words.heredocs) if words.heredocs else i + 1


def _end_of_heredocs(script: str, i: int, names: list[str]) -> int:
    """Where the script goes on behind the documents that begin on the next line."""
    while names:
        end = re.compile(rf"^\s*{re.escape(names.pop(0))}\s*$", re.MULTILINE).search(script, i + 1)
        i = end.end() if end else len(script)
    return i


def _read_operator(script: str, i: int, words: _Words) -> int:
    if script.startswith("()", i) and words.word:
        words.functions.add(words.word)
        words.word = None
        return i + 2
    if script[i] == "(":
        words.depth += 1
    elif script[i] == ")" and words.depth == 0:
        words.drop_pattern()
    elif script[i] == ")":
        words.depth -= 1
    pipe = script[i] == "|" and script[i - 1] != "|" and script[i + 1 : i + 2] != "|"
    words.end_command("|" if pipe else ";")
    return i + 1


def _read_quoted(script: str, i: int, words: _Words) -> int:
    """A string in double quotes, in which only substitutions run anything."""
    i += 1
    words.add("")
    while i < len(script) and script[i] != '"':
        if script[i] == "\\":
            words.add(script[i + 1 : i + 2])
            i += 2
        elif script[i] in "$`":
            i = _read_substitution(script, i, words)
        else:
            words.add(script[i])
            i += 1
    return i + 1


def _read_substitution(script: str, i: int, words: _Words) -> int:
    """`$(…)`, backquotes, `$((…))`, `${…}` or a variable; a word with one in it is no name."""
    words.add("$")
    if script.startswith("$((", i):
        end = script.find("))", i)
        return len(script) if end < 0 else end + 2
    if script.startswith("$(", i):
        end = _closing(script, i + 2, "(", ")")
        words.inner.append(script[i + 2 : end])
        return end + 1
    if script.startswith("${", i):
        return _closing(script, i + 2, "{", "}") + 1
    if script[i] == "`":
        end = script.find("`", i + 1)
        end = len(script) if end < 0 else end
        words.inner.append(script[i + 1 : end])
        return end + 1
    return i + 1


def _closing(script: str, i: int, opening: str, closing: str) -> int:
    """Where the bracket closes; quotes are jumped over."""
    depth, quote = 1, ""
    while i < len(script):
        char = script[i]
        if char == "\\":
            i += 1
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char == opening:
            depth += 1
        elif char == closing:
            depth -= 1
            if depth == 0:
                return i
        i += 1
    return i


_READERS: dict[str, Callable[[str, int, _Words], int]] = {
    "\\": _read_escape,
    "'": _read_verbatim,
    '"': _read_quoted,
    "$": _read_substitution,
    "`": _read_substitution,
    "#": _read_comment,
    "<": _read_redirection,
    ">": _read_redirection,
    "\n": _read_line_end,
    **dict.fromkeys(";&|()", _read_operator),
}

# Whoever is called so is given a shell script, in one of its arguments.
RUNS_SHELL = {"as_root", "inside", "once_it_runs", "program", "run_script", "script", "sh", "ssh", "wrap"} | {"c.run", "c.sudo"}  # fmt: skip
RUNS_ARGUMENTS = {"Popen", "call", "check_call", "check_output", "posix_spawn", "run", "start_detached"}  # fmt: skip
SCRIPT_ARGUMENTS = {"during", "first", "inside"}  # and whatever is handed over under these names
ASKS_FOR = {"find", "needs_tools", "which"}
NAMED_SO = re.compile(r"(_?[A-Z]+_|_)?TOOLS")  # constants so named: a tuple, or a dict's keys


def programs_of_python(source: str) -> set[str]:
    """Names of the programs that a module runs, or asks for, as far as its syntax tells."""
    return set(_Module(ast.parse(source)).programs())


class _Module:
    """A module's syntax tree, and what its names were given as values anywhere in it."""

    def __init__(self, tree: ast.Module) -> None:
        self._tree = tree
        self._values: dict[str, list[ast.expr]] = {}
        for node in ast.walk(tree):
            targets = (
                node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            )
            for target in targets:
                value = getattr(node, "value", None)
                if isinstance(target, ast.Name) and isinstance(value, ast.expr):
                    self._values.setdefault(target.id, []).append(value)

    def programs(self) -> Iterator[str]:
        for name, values in self._values.items():
            for value in values if NAMED_SO.fullmatch(name) else []:
                yield from _constants(
                    value.keys if isinstance(value, ast.Dict) else [*ast.iter_child_nodes(value)]
                )
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Constant | ast.JoinedStr):
                for text in self._texts(node):
                    yield from programs_of_shell(text) if text.startswith("#!/bin/sh") else ()
            elif isinstance(node, ast.Call):
                yield from self._of_call(node)

    def _of_call(self, call: ast.Call) -> Iterator[str]:
        written = ast.unparse(call.func)
        name = written.rpartition(".")[2]
        arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
        asked = list(_constants(arguments))
        if name in ASKS_FOR and (name != "find" or len(asked) == len(arguments) == 1):
            yield from (word for word in asked if NAME.fullmatch(word))
        if name in RUNS_ARGUMENTS:
            for argument in arguments:
                yield from self._of_list(argument)
        scripts = [keyword.value for keyword in call.keywords if keyword.arg in SCRIPT_ARGUMENTS]
        for argument in arguments if {name, written} & RUNS_SHELL else scripts:
            for text in self._texts(argument):
                # A single word is the name of something: of a host, of a script.
                if re.search(r"\s", text.strip()) and not _is_python(text):
                    yield from programs_of_shell(text)

    def _of_list(self, node: ast.expr, seen: tuple[str, ...] = ()) -> Iterator[str]:
        """The head of an argument list, under whatever name it is kept, and the script in it."""
        if isinstance(node, ast.Starred):
            yield from self._of_list(node.value, seen)
        elif isinstance(node, ast.Name) and node.id not in seen:
            for value in self._values.get(node.id, []):
                yield from self._of_list(value, (*seen, node.id))
        elif isinstance(node, ast.List | ast.Tuple) and node.elts:
            if isinstance(node.elts[0], ast.Starred):
                yield from self._of_list(node.elts[0], seen)
            words = [next(_constants([element]), "$") for element in node.elts]
            yield from _heads(words)
            if SHELLS & set(words) and "-c" in words[:-1]:
                for text in self._texts(node.elts[words.index("-c") + 1]):
                    yield from programs_of_shell(text)

    def _texts(self, node: ast.expr, seen: tuple[str, ...] = ()) -> Iterator[str]:
        """The texts in an expression, under whatever name; what is put into one reads as `$_`."""
        if isinstance(node, ast.Constant):
            yield from _constants([node])
        elif isinstance(node, ast.JoinedStr):
            yield "".join(next(_constants([part]), "$_") for part in node.values)
        elif isinstance(node, ast.Name) and node.id not in seen:
            for value in self._values.get(node.id, []):
                yield from self._texts(value, (*seen, node.id))
        elif isinstance(node, ast.BinOp):
            yield from self._texts(node.left, seen)
            yield from self._texts(node.right, seen)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield from self._texts(node.func.value, seen)  # LISTING.replace("SINCE", …)


def _is_python(text: str) -> bool:
    try:
        return any(isinstance(node, ast.Import) for node in ast.parse(text).body)
    except SyntaxError:
        return False


def _constants(nodes: Iterable[ast.AST | None]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
