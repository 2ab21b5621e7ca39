"""Command lines as a card shows them: what was chosen is there, where files lay on somebody's machine is not."""

import shlex

# What the words after a command stand for; a command of another name shows none of its words.
_POSITIONAL: dict[tuple[str, ...], tuple[str, ...]] = {
    ("evaluate",): ("CHECKPOINT", "STUDIES"),
    ("missing",): ("CHECKPOINT", "STUDIES", "FOLDER"),
    ("compare",): ("FIRST.json", "SECOND.json"),
}
# Options whose values are choices and numbers; the value of any other one is a file, a folder or a name.
_SHOWN = {
    "--task",
    "--split",
    "--control",
    "--seed",
    "--bootstrap-samples",
    "--batch-size",
    "--sequences",
    "--num-figure-cases",
    "--mask",
    "--half",
    "--metric",
    "--protocol",
}


def shown_command(command: str) -> str:
    """A `selip` command with placeholders for paths: `selip evaluate CHECKPOINT STUDIES --volumes VOLUMES`.

    The value of an option is kept only if the option takes choices or numbers and the value has no part of a path;
    a protocol is kept by its name.
    """
    words = shlex.split(command)
    if words[:1] != ["selip"]:
        return "selip ..."
    start = next((i for i, word in enumerate(words[1:], 1) if word.startswith("-")), len(words))
    name: tuple[str, ...] = next((key for key in _POSITIONAL if tuple(words[1 : 1 + len(key)]) == key), ())
    places = list(_POSITIONAL.get(name, ()))
    if "structuring" in words:
        places = ["STRUCTURER", "GOLD"]
    count = max(0, start - 1 - len(name))
    shown = ["selip", *name, *places[:count]]
    position = start
    while position < len(words):
        flag, _, value = words[position].partition("=")
        position += 1
        if not flag.startswith("--"):
            continue
        shown.append(flag)
        if not value and position < len(words) and not words[position].startswith("--"):
            value = words[position]
            position += 1
        if value:
            shown.append(_shown_value(flag, value))
    return shlex.join(shown)


def _shown_value(flag: str, value: str) -> str:
    is_path = "/" in value or "\\" in value or "." in value
    if flag in _SHOWN and not is_path:
        return value
    return flag.removeprefix("--").replace("-", "_").upper()
