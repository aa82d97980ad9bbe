#!/usr/bin/env python3
"""Runs the commands of Markdown pages as printed, in order, and compares their output.

    readme.py [--replace OLD=NEW]... [--skip COMMAND]... [--tests] PAGE...

A page's commands are the lines that begin with `$ ` in its blocks of the language `console`; a line
that ends in a backslash continues. The lines after a command in its block are its standard output.
In them `…` matches anything within a line, and a line that is only `…` matches any lines. If no
output is shown below a command, its output is not compared.

A command that starts a server runs until the next such command, and is then ended as by Ctrl-C. All
other commands run one after the other in one shell, in the current folder. `tests/run` takes half an
hour, so without --tests this only checks that it exists.

Prints a line per command with the time, and at the end how long each milestone took, counted from the
end of the build. No time limit applies to milestones.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

# Timeouts in seconds: for a server's start, its end, a command, and a build.
SERVER_S, END_S, COMMAND_S, BUILD_S = 90, 60, 120, 3600


class Mismatch(Exception):
    """A command did not do what its page says."""


def commands(text):
    """Returns the commands of a page, each with the lines shown below it."""
    found, block = [], False
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith("```"):
            block = line == "```console"
        elif block and line.startswith("$ "):
            command = line[2:]
            while command.endswith("\\"):
                command += "\n" + next(lines)
            found.append((command, []))
        elif block:
            if not found:
                raise Mismatch(f"output without a command: {line}")
            found[-1][1].append(line)
    return found


def pattern(shown):
    """Returns a regular expression that matches the shown lines."""
    whole = ""
    for line in shown:
        if line == "…":
            whole += r"(?:.*\n)*?"
        else:
            whole += ".*?".join(re.escape(part) for part in line.split("…")) + r"\n"
    return whole


def is_server(command):
    words = command.split()
    return words[0] == "stampede" and (
        len(words) == 1 or words[1].startswith("--") or words[1] == "demo"
    )


def text_of(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def answers(url):
    """Whether the URL is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def until(what, seconds, is_so):
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            raise Mismatch(f"not within {seconds} s: {what}")
        time.sleep(0.05)


class Shell:
    """A shell that keeps its variables between commands."""

    def __init__(self, folder):
        self.out, self.err = os.path.join(folder, "out"), os.path.join(folder, "err")
        reader, writer = os.pipe()
        self.ends = os.fdopen(reader)
        self.process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            pass_fds=[writer],
            text=True,
            start_new_session=True,
        )
        os.close(writer)
        self.end_to = writer

    def run(self, command, seconds):
        """Runs a command. Returns its exit code, standard output and standard error."""
        line = f"{{ {command}\n}} </dev/null >'{self.out}' 2>'{self.err}'; echo $? >&{self.end_to}\n"
        signal.signal(signal.SIGALRM, late)
        signal.alarm(seconds)
        try:
            self.process.stdin.write(line)
            self.process.stdin.flush()
            code = self.ends.readline()
        finally:
            signal.alarm(0)
        if not code:
            raise Mismatch("the shell has ended")
        return int(code), text_of(self.out), text_of(self.err)

    def end(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


def late(_signal, _frame):
    raise Mismatch("it took too long")


class Reader:
    """Runs the commands of the pages."""

    def __init__(self, folder, replace, skip, with_tests):
        self.folder, self.replace, self.skip, self.with_tests = folder, replace, skip, with_tests
        self.shell = Shell(folder)
        self.server = None
        self.begin = self.built = time.monotonic()
        self.milestones = {}

    def real(self, text):
        for old, new in self.replace:
            text = text.replace(old, new)
        return text

    def follow(self, page):
        found = commands(text_of(page))
        if not found:
            raise Mismatch(f"{page} has no commands")
        for command, shown in found:
            print(f"[{time.monotonic() - self.begin:6.1f} s] $ {command}", flush=True)
            if any(command.startswith(skipped) for skipped in self.skip):
                continue
            try:
                self.obey(command, shown)
            except Mismatch as error:
                raise Mismatch(f"{page}: $ {command}\n{error}") from None

    def obey(self, command, shown):
        if is_server(command):
            self.serve(command, shown)
        elif command == "tests/run" and not self.with_tests:
            if not os.access(command, os.X_OK):
                raise Mismatch("there is no such program")
        else:
            builds = command.startswith("cargo ") or command == "tests/run"
            code, out, err = self.shell.run(self.real(command), BUILD_S if builds else COMMAND_S)
            if builds:
                self.built = time.monotonic()
                print(f"           it took {self.built - self.begin:.0f} s", flush=True)
            if code:
                raise Mismatch(f"exit code {code}\n{out}{err}{self.log()}")
            self.compare(shown, out)
            self.note(command, out)

    def compare(self, shown, out):
        if not shown:
            return
        out += "" if out.endswith("\n") else "\n"
        if not re.fullmatch(pattern(shown), out):
            lines = "\n".join(shown)
            raise Mismatch(f"shown:\n{lines}\nit printed:\n{out}{self.log()}")

    def note(self, command, out):
        """Notes the time of each milestone that this command reached first."""
        seen = {
            "a ticket is bought": "抢票成功" in out,
            "the order is in the database": command.startswith("psql") and "ticket" in out,
            "a clean audit": command.startswith("stampede audit") and "everything agrees" in out,
        }
        for name, is_seen in seen.items():
            if is_seen:
                self.milestones.setdefault(name, time.monotonic())

    def serve(self, command, shown):
        self.end_server()
        log = os.path.join(self.folder, "server")
        with open(log, "w", encoding="utf-8") as file:
            self.server = subprocess.Popen(
                ["bash", "--noprofile", "--norc", "-c", "exec " + self.real(command)],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        control = self.real("http://127.0.0.1:3006")

        def is_ready():
            if self.server.poll() is not None:
                raise Mismatch(f"it ended with {self.server.returncode}\n{text_of(log)}")
            return answers(control + "/readyz")

        until(f"{control}/readyz is 200", SERVER_S, is_ready)
        if answers(control + "/"):
            self.milestones.setdefault("the live page is answered", time.monotonic())
        if command.startswith("stampede demo"):
            for page in [control + "/", self.real("http://127.0.0.1:3005/")]:
                until(f"{page} is 200", SERVER_S, lambda page=page: answers(page))
        is_printed = re.compile(pattern(shown))
        try:
            until("its output", SERVER_S, lambda: is_printed.search(text_of(log)))
        except Mismatch:
            lines = "\n".join(shown)
            raise Mismatch(f"shown:\n{lines}\nit printed:\n{text_of(log)}") from None

    def end_server(self):
        """Ends the server as Ctrl-C does."""
        server, self.server = self.server, None
        if server is None:
            return
        server.send_signal(signal.SIGINT)
        try:
            code = server.wait(END_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
            raise Mismatch(f"the server did not end within {END_S} s after SIGINT") from None
        if code:
            raise Mismatch(f"the server ended with {code}\n{self.log()}")

    def log(self):
        path = os.path.join(self.folder, "server")
        return f"\nthe server printed:\n{text_of(path)}" if os.path.exists(path) else ""

    def end(self):
        self.shell.end()
        if self.server is not None:
            self.server.kill()
            self.server.wait()

    def report(self):
        for name, when in self.milestones.items():
            print(f"{when - self.built:6.1f} s after the build: {name}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replace", action="append", default=[], metavar="OLD=NEW")
    parser.add_argument("--skip", action="append", default=[], metavar="COMMAND")
    parser.add_argument("--tests", action="store_true")
    parser.add_argument("pages", nargs="+", metavar="PAGE")
    options = parser.parse_args()
    replace = [tuple(pair.split("=", 1)) for pair in options.replace]
    with tempfile.TemporaryDirectory() as folder:
        reader = Reader(folder, replace, options.skip, options.tests)
        try:
            for page in options.pages:
                reader.follow(page)
            reader.end_server()
        except Mismatch as error:
            sys.exit(f"error: {error}")
        finally:
            reader.end()
        reader.report()


if __name__ == "__main__":
    main()
