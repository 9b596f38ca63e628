"""``lae-tf serve`` as a process of its own, for tests."""

import http.client
import json
import resource
import signal
import subprocess
import sys
import time
from contextlib import closing


class Process:
    """A running ``lae-tf serve --json``, which may open so many ``files``."""

    def __init__(self, *arguments, log, files=None):
        self.log = log
        self.child = subprocess.Popen(
            [
                sys.executable,
                "-W",
                "ignore",
                "-m",
                "lae_tf.cli.main",
                "serve",
                *map(str, arguments),
                "--json",
            ],
            stdout=subprocess.PIPE,
            stderr=log.open("w"),
            text=True,
            preexec_fn=files and (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))),
        )
        line = self.child.stdout.readline()
        assert line, log.read_text()
        self.facts = json.loads(line)

    def ask(self, method, target, body=None):
        with closing(http.client.HTTPConnection("127.0.0.1", self.facts["port"], timeout=30)) as connection:
            connection.request(method, target, body and json.dumps(body))
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    def predict(self, value=1):
        return self.ask("POST", "/v1/models/half:predict", {"instances": [value]})

    def states(self):
        _, document = self.ask("GET", "/v1/models/half")
        return {item["version"]: item["state"] for item in document["model_version_status"]}

    def wait_for(self, condition):
        for _ in range(300):
            if condition():
                return
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def end(self, number=signal.SIGTERM):
        self.child.send_signal(number)
        return self.child.wait(30)
