"""Of a Dockerfile, what the tests follow step by step."""

import fnmatch
import json
import pathlib
import re
import shutil


def stages(text):
    """A list for each FROM: the instructions of its stage, as pairs of their word and what stands after it."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found = []
    for line in joined.splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            found.append([])
        found[-1].append((word, rest.strip()))
    return found


def only(stage, word):
    """What stands after the one instruction of this word."""
    (rest,) = [rest for found, rest in stage if found == word]
    return rest


def taken(stage):
    """What it copies from the stage before: from where, to where, and whose it is then."""
    for word, rest in stage:
        if word == "COPY":
            *options, made, place = rest.split()
            owners = [option.removeprefix("--chown=") for option in options if option.startswith("--chown=")]
            yield made, place, [int(number) for number in (owners or ["0:0"])[0].split(":")]


def environment(stage):
    return dict(pair.split("=", 1) for word, rest in stage if word == "ENV" for pair in rest.split())


def command(text):
    """An instruction's exec form; a shell there is not, in an empty root."""
    return json.loads(text[text.index("[") :])


def copy_context(source, stage, folder):
    """Copies what the stage copies, as far as .dockerignore lets it into the build."""
    let_in = [line[1:] for line in (source / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for word, rest in stage:
        if word != "COPY":
            continue
        *names, into = rest.split()
        for name in names:
            if not any(fnmatch.fnmatch(name, pattern) or name.startswith(pattern + "/") for pattern in let_in):
                raise AssertionError(f".dockerignore keeps {name} out, which the Dockerfile copies")
            aim = folder / into / (name if into == "./" else "")
            if (source / name).is_dir():
                shutil.copytree(source / name, aim, dirs_exist_ok=True)
            else:
                shutil.copy2(source / name, aim)


def shell_of(rest):
    """A RUN without its mounts, which are caches."""
    return re.sub(r"^(--mount=\S+\s+)+", "", rest)


def read(source):
    return stages(pathlib.Path(source / "Dockerfile").read_text())
