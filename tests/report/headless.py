"""Headless Chromium over the DevTools protocol on a pipe: standard library only.

``open_page`` loads one file and says what the page asked of the network and what it complained about.
[https://chromedevtools.github.io/devtools-protocol/]
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1100,1400",
    "--remote-debugging-pipe",
)
# The browser speaks on descriptors 3 and 4; a small launcher puts the pipes there, whatever numbers they had.
_LAUNCH = "import os, sys; r, w = map(int, sys.argv[1:3]); os.dup2(r, 103); os.dup2(w, 104); os.dup2(103, 3); \
os.dup2(104, 4); os.execv(sys.argv[3], sys.argv[3:])"


def chromium() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@dataclass
class Page:
    """An open page: what it did, and a way to ask it more."""

    browser: Browser
    session: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def ask(self, expression: str) -> Any:
        answer = self.browser.call("Runtime.evaluate", self.session, expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def emulate(self, *, media: str = "screen", scheme: str = "light") -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.browser.call("Emulation.setEmulatedMedia", self.session, media=media, features=features)

    def resize(self, width: int, height: int) -> None:
        self.browser.call(
            "Emulation.setDeviceMetricsOverride",
            self.session,
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )


class Browser:
    def __init__(self, read: int, write: int) -> None:
        self.read, self.write, self.number, self.buffer = read, write, 0, b""
        self.pages: dict[str, Page] = {}

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        wanted = self.number
        while True:
            answer = self.receive()
            if answer.get("id") == wanted:
                assert "error" not in answer, answer
                return answer["result"]

    def receive(self, seconds: float = 60) -> dict[str, Any]:
        until = time.monotonic() + seconds
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.read], [], [], max(0, until - time.monotonic()))
            if not ready:
                raise TimeoutError("the browser did not answer")
            more = os.read(self.read, 1 << 16)
            if not more:
                raise ConnectionError("the browser has gone")
            self.buffer += more
        line, self.buffer = self.buffer.split(b"\0", 1)
        message = json.loads(line)
        self.note(message)
        return message

    def note(self, message: dict[str, Any]) -> None:
        page = self.pages.get(message.get("sessionId", ""))
        if page is None:
            return
        method, parameters = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            page.requests.append(parameters["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            page.complaints.append(json.dumps(parameters["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled":
            page.complaints.append(json.dumps(parameters["args"]))
        elif method == "Log.entryAdded":
            page.complaints.append(parameters["entry"]["text"])
        elif method == "Page.javascriptDialogOpening":
            page.complaints.append(f"dialog: {parameters['message']}")
            # Answered without waiting, or the page would stand still for ever.
            self.number += 1
            answer = {"id": self.number, "method": "Page.handleJavaScriptDialog", "params": {"accept": True}}
            os.write(self.write, json.dumps(answer | {"sessionId": page.session}).encode() + b"\0")

    def open_page(self, path: Path) -> Page:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self.pages[session] = Page(self, session)
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable", session)
        self.call("Page.navigate", session, url=path.as_uri())
        until = time.monotonic() + 60
        while page.ask("document.readyState") != "complete" or page.ask("location.href") == "about:blank":
            assert time.monotonic() < until, "the page does not finish loading"
            time.sleep(0.02)
        page.ask("new Promise(r => setTimeout(r, 50))")
        return page


@contextmanager
def running(binary: str, profile: Path) -> Iterator[Browser]:
    to_browser, from_us = os.pipe()
    to_us, from_browser = os.pipe()
    command = [sys.executable, "-c", _LAUNCH, str(to_browser), str(from_browser), binary, *FLAGS]
    process = subprocess.Popen(
        [*command, f"--user-data-dir={profile}", "about:blank"],
        pass_fds=(to_browser, from_browser),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_browser)
    os.close(from_browser)
    try:
        yield Browser(to_us, from_us)
    finally:
        os.close(from_us)
        os.close(to_us)
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
