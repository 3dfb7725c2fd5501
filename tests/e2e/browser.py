"""A headless Chromium, driven through its debugging pipe: opens pages, runs JavaScript in them."""
import json
import os
import shutil
import subprocess
import time

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    def __init__(self, folder):
        ours, theirs = os.pipe(), os.pipe()  # what it reads, what it writes
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", f"--user-data-dir={folder}", "about:blank"]
        # It reads commands from descriptor 3 and writes answers to 4.
        self.child = subprocess.Popen(["bash", "-c", f'exec "$0" "$@" 3<&{ours[0]} 4>&{theirs[1]}', CHROMIUM, *options],
                                      pass_fds=[ours[0], theirs[1]], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        os.close(ours[0]), os.close(theirs[1])
        self.to, self.of, self.rest, self.n, self.session, self.complaints = ours[1], theirs[0], b"", 0, None, []
        (page,) = [t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page"]
        self.session = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        self.call("Runtime.enable")
        self.call("Log.enable")

    def message(self):
        while b"\0" not in self.rest:
            more = os.read(self.of, 1 << 20)
            assert more, "the browser has gone"
            self.rest += more
        text, self.rest = self.rest.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, **params):
        self.n += 1
        os.write(self.to, json.dumps({"id": self.n, "method": method, "params": params} | ({"sessionId": self.session} if self.session else {})).encode() + b"\0")
        while True:
            got = self.message()
            if got.get("id") == self.n:
                assert "error" not in got, got
                return got["result"]
            if got.get("method") == "Runtime.exceptionThrown" or got.get("method") == "Log.entryAdded" and got["params"]["entry"]["level"] == "error":
                self.complaints.append(got["params"])

    def open(self, url):
        self.call("Page.navigate", url=url)

    def run(self, script):
        """The value of an expression in the page."""
        got = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in got, got
        return got["result"].get("value")

    def wait(self, script, seconds=30):
        end = time.time() + seconds
        while not (value := self.run(script)):
            assert time.time() < end, (script, self.run("document.body.innerText"))
            time.sleep(0.1)
        return value

    def choose(self, selector, *paths):
        """Gives files to an input, as a person would."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def close(self):
        self.child.terminate()
        self.child.wait()
        os.close(self.to), os.close(self.of)
