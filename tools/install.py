"""Make `.venv` and install the package with its tools, or do nothing where that has been done.

Standard library only, and old syntax: any Python 3 can start this file and it looks for one that is new enough.

    python3 tools/install.py              # what `make test`, `make demo` and the others call first
    python3 tools/install.py --force      # install anew

What is installed: `setup.py` with its extra `dev`, in the versions of `constraints.txt`, editable. On Linux without an
NVIDIA GPU the CPU build of torch is taken where its index can be reached. A hash of the files that decide the result
is kept in `.venv/selip-install.json`; a `.venv` with another hash, or one that does not run, is made anew. A `.venv`
that this script did not make is moved aside, never deleted.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
STAMP = os.path.join(VENV, "selip-install.json")
VENV_PYTHON = os.path.join(VENV, "Scripts", "python.exe") if os.name == "nt" else os.path.join(VENV, "bin", "python")
INPUTS = ("setup.py", "pyproject.toml", "constraints.txt", os.path.join("tools", "install.py"))
EXTRAS = "dev"
FLOOR = (3, 11)
TESTED = ("python3.11", "python3.12", "python3.13", "python3.14", "python3", "python")
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PROBE_TIMEOUT_S = 3


class InstallError(Exception):
    """The installation cannot go on; the message says what to do."""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--force", action="store_true", help="install anew even if .venv is up to date")
    arguments = parser.parse_args()
    try:
        if not arguments.force and is_up_to_date():
            return 0
        install()
    except InstallError as error:
        print("\ninstall: {}".format(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninstall: interrupted; run it again to start anew", file=sys.stderr)
        return 130
    return 0


def is_up_to_date():
    """Whether `.venv` was finished by this script from these very files and still runs this checkout."""
    stamp = read_stamp()
    if stamp.get("state") != "finished" or stamp.get("inputs") != inputs_hash():
        return False
    check = "import importlib.metadata as m, selip; m.version('torch'); print(selip.__file__)"
    found = output_of([VENV_PYTHON, "-c", check])
    return os.path.realpath(found or "") == os.path.realpath(os.path.join(ROOT, "src", "selip", "__init__.py"))


def install():
    start = time.time()
    python = find_python()
    say("[1/3] making .venv with {}".format(python), start)
    make_venv(python)
    say("[2/3] looking for a GPU and the right build of torch", start)
    index = torch_index()
    say("[3/3] installing packages (about 1.5 GB on disk, one to five minutes)", start)
    pip("install", "-c", "constraints.txt", "setuptools", "wheel")
    pip("install", "-c", "constraints.txt", *index, "--no-build-isolation", "-e", ".[{}]".format(EXTRAS))
    write_stamp("finished")
    if not is_up_to_date():
        raise InstallError(
            "pip finished, but `import selip` fails in .venv; run {} -c 'import selip'".format(VENV_PYTHON)
        )
    say("installed; `make help` lists what can be run", start)


def find_python():
    """A Python that is new enough: the one running this file, or one on the path."""
    for name in (sys.executable, *TESTED):
        path = shutil.which(name) if name else None
        # A name on the path may be a shim of a version manager that runs nothing, so it is asked.
        version = output_of([path, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]) if path else None
        if version and tuple(int(part) for part in version.split(".")) >= FLOOR:
            return path
    raise InstallError(
        "expected Python {}.{} or newer, found {}. Install one, for example\n"
        "  Debian 12, Ubuntu 24.04 or newer: sudo apt-get install python3 python3-venv\n"
        "  macOS:                            brew install python@3.12\n"
        "or name one: make PYTHON=/path/to/python3.12 test".format(*FLOOR, sys.version.split()[0])
    )


def make_venv(python):
    if os.path.lexists(VENV):
        if read_stamp() and not os.path.islink(VENV):
            shutil.rmtree(VENV)
        else:
            aside = VENV + time.strftime(".old-%Y%m%d-%H%M%S")
            os.rename(VENV, aside)
            print("      moved a .venv of other origin to {}".format(os.path.basename(aside)), flush=True)
    done = subprocess.run([python, "-m", "venv", VENV], cwd=ROOT)
    if done.returncode != 0 or output_of([VENV_PYTHON, "-m", "pip", "--version"]) is None:
        shutil.rmtree(VENV, ignore_errors=True)
        raise InstallError(
            "expected `{} -m venv` to make an environment with pip, it did not.\n"
            "On Debian and Ubuntu install the missing part: sudo apt-get install python3-venv".format(python)
        )
    write_stamp("installing")


def torch_index():
    """Extra arguments of pip for the build of torch that this machine needs."""
    if not sys.platform.startswith("linux"):
        print("      {}: the build of the package index".format(sys.platform), flush=True)
        return []
    if has_nvidia_gpu():
        print("      NVIDIA GPU found: the CUDA build", flush=True)
        return []
    try:
        with urllib.request.urlopen(CPU_INDEX + "/torch/", timeout=PROBE_TIMEOUT_S):
            pass
    except (OSError, ValueError) as error:  # URLError, timeouts and refused connections are OSErrors
        reason = getattr(error, "reason", error)
        print("      no GPU; the index of CPU builds does not answer ({}): what pip finds".format(reason), flush=True)
        return []
    print("      no GPU: the CPU build from {}".format(CPU_INDEX), flush=True)
    return ["--extra-index-url", CPU_INDEX]


def has_nvidia_gpu():
    if os.path.exists("/proc/driver/nvidia/version") or os.path.exists("/dev/nvidia0"):
        return True
    return shutil.which("nvidia-smi") is not None and bool(output_of(["nvidia-smi", "-L"]))


def pip(*arguments):
    command = [VENV_PYTHON, "-m", "pip", "--disable-pip-version-check", *arguments]
    print("      pip {}".format(" ".join(arguments)), flush=True)
    if subprocess.run(command, cwd=ROOT).returncode != 0:
        raise InstallError(
            "pip failed; its last lines above say why. Common reasons:\n"
            "  no network or a proxy:    set HTTPS_PROXY, or PIP_INDEX_URL for a mirror, and run this again\n"
            "  no space:                 4 GB are needed here and in the temporary folder (TMPDIR)\n"
            "  'No matching distribution': this Python is newer than the tested ones; "
            "make PYTHON=python3.12 ... takes another\n"
            "What has been downloaded is in the cache of pip, so the next try is quicker."
        )


def inputs_hash():
    digest = hashlib.sha256(EXTRAS.encode())
    for name in INPUTS:
        with open(os.path.join(ROOT, name), "rb") as file:
            digest.update(hashlib.sha256(file.read()).digest())
    return digest.hexdigest()


def read_stamp():
    """What this script wrote into `.venv`; empty where it did not make it."""
    try:
        with open(STAMP, encoding="utf-8") as file:
            stamp = json.load(file)
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(state):
    with open(STAMP, "w", encoding="utf-8") as file:
        json.dump({"state": state, "inputs": inputs_hash(), "extras": EXTRAS}, file)


def output_of(command):
    """Standard output of a command that succeeds, else None."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, universal_newlines=True, timeout=120
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def say(text, start):
    print("{} ({:.0f} s)".format(text, time.time() - start), flush=True)


if __name__ == "__main__":
    sys.exit(main())
