#!/usr/bin/env python3
"""A client of Hone in one file, of the standard library alone (Python 3.9 or later): copy it beside your script.

    import hone

    server = hone.Hone()                          # HONE_SERVER, HONE_KEY; or Hone("https://host", key="hone_...")
    data = server.upload("tickets.csv", columns={"text": "message", "label": "category"})
    job = server.submit(model="minilm", dataset=data["id"], hyperparameters={"epochs": 2})
    for state in server.follow(job["id"]):
        print(state["status"], state["progress"]["step"], state["metrics"]["loss"])
    print(server.predict(job["id"], ["I want my money back"]))
    server.download(job["id"], "adapter")

On the command line: python3 hone.py upload|submit|follow|metrics|predict|download --help.
"""
from __future__ import annotations

import argparse
import csv
import hashlib
import http.client
import json
import os
import pathlib
import socket
import ssl
import sys
import time
import urllib.parse
import uuid
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

Json = Dict[str, Any]
Progress = Callable[[int, int], None]  # bytes so far, bytes in all

ENDED = ("succeeded", "failed", "cancelled")
BATCH = 256  # inputs of one request
PIECE = 1 << 18
ANSWER_BYTES = 256 << 20


class HoneError(Exception):
    """What the server refused, with what it says about it; `status` is HTTP's."""

    def __init__(self, status: int, error: Json):
        self.status = status
        self.code: str = str(error.get("code") or "internal")
        self.message: str = str(error.get("message") or "")
        self.field: Optional[str] = error.get("field")
        self.hint: Optional[str] = error.get("hint")
        self.details: List[Json] = error.get("details") or []
        super().__init__(self.message + (f" ({self.hint})" if self.hint else ""))


class Unreachable(Exception):
    """There is no connection to the server, or it broke."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float):
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Hone:
    """A server: its address ("http://host:4663", "https://host", "unix:/path"), a key, the certificates to trust."""

    def __init__(self, server: Optional[str] = None, key: Optional[str] = None, ca: Optional[str] = None, timeout: float = 120):
        self.server = (server or os.environ.get("HONE_SERVER") or "http://127.0.0.1:4663").rstrip("/")
        self.key = key or os.environ.get("HONE_KEY") or None
        self.ca = ca or os.environ.get("HONE_CA") or None
        self.timeout = timeout
        if self.key and not (self.key.isascii() and self.key.isprintable()):
            raise ValueError("the key has a character that no key has, such as a line's end")
        if "://" not in self.server and not self.server.startswith("unix:"):
            self.server = "http://" + self.server

    def _connect(self) -> http.client.HTTPConnection:
        if self.server.startswith("unix:"):
            return _UnixConnection(self.server[5:], self.timeout)
        url = urllib.parse.urlsplit(self.server)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError(f"{self.server} is no address of a server: http://host:4663, https://host or unix:/path")
        if url.scheme == "https":
            return http.client.HTTPSConnection(url.hostname, url.port, timeout=self.timeout, context=ssl.create_default_context(cafile=self.ca))
        return http.client.HTTPConnection(url.hostname, url.port or 80, timeout=self.timeout)

    def _open(self, method: str, path: str, body: Union[None, bytes, Iterable[bytes]] = None,
              headers: Optional[Mapping[str, str]] = None) -> Tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """The good answer, whose body is still to be read; the caller closes the connection."""
        connection = self._connect()
        sent = dict(headers or {})
        if self.key:
            sent["Authorization"] = "Bearer " + self.key
        try:
            try:
                connection.request(method, path, body=body, headers=sent)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it may have answered before it had all of the body
            answer = connection.getresponse()
            if answer.status < 300:
                return connection, answer
            data = answer.read(1 << 20)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Unreachable(f"cannot reach {self.server}: {error}") from error
        connection.close()
        try:
            told = json.loads(data)["error"]
            assert isinstance(told, dict)
        except (ValueError, KeyError, TypeError, AssertionError):
            told = {"code": "no_answer", "message": f"{self.server} answered with status {answer.status}, which is no answer of Hone"}
        raise HoneError(answer.status, told)

    def request(self, method: str, path: str, body: Any = None, query: Optional[Mapping[str, Any]] = None) -> Any:
        """Any route of the API (/openapi.json): what it answers, as Python's own types; None where it answers nothing."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        if given:
            path += "?" + urllib.parse.urlencode(given)
        sent = None if body is None else json.dumps(body).encode()
        return self._read(*self._open(method, path, sent, {"Content-Type": "application/json"} if sent else {}))

    def _read(self, connection: http.client.HTTPConnection, answer: http.client.HTTPResponse) -> Any:
        try:
            data = answer.read(ANSWER_BYTES + 1)
            told = answer.getheader("Content-Length")
            if told is not None and len(data) < min(int(told), ANSWER_BYTES):
                raise Unreachable(f"the connection to {self.server} broke in the middle of an answer")
            if len(data) > ANSWER_BYTES:
                raise HoneError(answer.status, {"code": "too_large", "message": "the answer is larger than is read", "hint": "ask for a part of it"})
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"the connection to {self.server} broke: {error}") from error
        finally:
            connection.close()
        if not data:
            return None
        try:
            return json.loads(data)
        except ValueError:
            raise HoneError(answer.status, {"code": "no_answer", "message": f"{self.server} answered what is not JSON"}) from None

    def _object(self, answer: Any) -> Json:
        if not isinstance(answer, dict):
            raise Unreachable(f"{self.server} answered nothing that can be read")
        return answer

    def _list(self, path: str, **query: Any) -> Iterator[Json]:
        while True:
            page = self.request("GET", path, query=query)
            yield from page["data"]
            if page.get("next") is None:
                return
            query["after"] = page["next"]

    def _post_form(self, path: str, fields: Mapping[str, str], files: Mapping[str, Union[str, os.PathLike[str]]],
                   progress: Optional[Progress]) -> Json:
        """A form with files, which are read as they are sent."""
        border = uuid.uuid4().hex
        opened = {name: open(file, "rb") for name, file in files.items()}
        try:
            heads = [(f'--{border}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode(), None) for name, value in fields.items()]
            parts: List[Tuple[bytes, Any]] = [*heads]
            for name, file in opened.items():
                plain = urllib.parse.quote(os.path.basename(file.name), safe=" !#$&'()+,;=@[]")
                head = f'--{border}\r\nContent-Disposition: form-data; name="{name}"; filename="{plain}"\r\nContent-Type: application/octet-stream\r\n\r\n'
                parts.append((head.encode(), file))
            end = f"--{border}--\r\n".encode()
            size = len(end) + sum(len(head) + (os.fstat(file.fileno()).st_size + 2 if file else 0) for head, file in parts)

            def pieces() -> Iterator[bytes]:
                sent = 0
                for head, file in parts:
                    yield head
                    while file and (piece := file.read(PIECE)):
                        yield piece
                        sent += len(piece)
                        if progress:
                            progress(sent, size)
                    if file:
                        yield b"\r\n"
                yield end

            headers = {"Content-Type": f"multipart/form-data; boundary={border}", "Content-Length": str(size)}
            return self._object(self._read(*self._open("POST", path, pieces(), headers)))
        finally:
            for file in opened.values():
                file.close()

    def upload(self, file: Union[str, os.PathLike[str]], name: Optional[str] = None, columns: Optional[Mapping[str, str]] = None,
               format: Optional[str] = None, on_error: Optional[str] = None, progress: Optional[Progress] = None) -> Json:
        """A data set of the file's rows; the same bytes and columns twice give the same one."""
        fields = {"name": name, "columns": json.dumps(columns) if columns else None, "format": format, "on_error": on_error}
        return self._post_form("/datasets", {k: v for k, v in fields.items() if v is not None}, {"file": file}, progress)

    def submit(self, model: str, dataset: Any, dry_run: bool = False, **fields: Any) -> Json:
        """A job of any fields of POST /jobs; with `dry_run` its plan."""
        body = {"model": model, "dataset": dataset, **fields}
        return self._object(self.request("POST", "/jobs", body, {"dry_run": 1 if dry_run else None}))

    def jobs(self, **query: Any) -> Iterator[Json]:
        """All jobs, newest first; `status`, `model` … as GET /jobs takes them."""
        return self._list("/jobs", **query)

    def job(self, job: str) -> Json:
        """One job, by its id or, where only one has it, its name."""
        if job.startswith("job_"):
            return self._object(self.request("GET", "/jobs/" + urllib.parse.quote(job, safe="")))
        found = [row for row in self._list("/jobs", limit=1000) if row["name"] == job]
        if len(found) != 1:
            raise HoneError(404, {"code": "not_found", "message": f'{len(found) or "no"} jobs are called "{job}"', "hint": "take the id"})
        return found[0]

    def follow(self, job: str, period: float = 1.0, patience: float = 900.0) -> Iterator[Json]:
        """The job whenever its state or progress has changed, until it has ended. A server that does not answer is waited for, for
        `patience` seconds."""
        before: Any = None
        answered = time.monotonic()
        while True:
            try:
                state = self.job(job)
            except (Unreachable, HoneError) as error:
                if isinstance(error, HoneError) and error.status < 500 and error.status != 429 or time.monotonic() - answered > patience:
                    raise
                time.sleep(period)
                continue
            answered = time.monotonic()
            job = state["id"]
            now = (state["status"], state["progress"]["step"], state["metrics"])
            if now != before:
                yield state
            if state["status"] in ENDED:
                return
            before = now
            time.sleep(period)

    def metrics(self, job: str) -> List[Json]:
        """All rows so far: step, epoch, loss, learning_rate, at evaluations val_loss and more."""
        return list(self._list(f"/jobs/{self.job(job)['id']}/metrics", limit=10000))

    def follow_metrics(self, job: str, period: float = 1.0) -> Iterator[Json]:
        """Each row once, as it comes, until the job has ended."""
        seen = 0
        for state in self.follow(job, period):  # the state is older than the rows: none is missed at the end
            for row in self._list(f"/jobs/{state['id']}/metrics", after=seen, limit=10000):
                seen = row["seq"]
                yield row

    def predict(self, job: str, inputs: Sequence[Any], base: bool = False, **settings: Any) -> List[Json]:
        """An answer for each input, of a job's result or, with `base`, of the base model of that name; `step`, `max_tokens` … as the API
        takes them."""
        path = f"/models/{urllib.parse.quote(job, safe='')}/predict" if base else f"/jobs/{self.job(job)['id']}/predict"
        answers: List[Json] = []
        for at in range(0, len(inputs), BATCH):
            answers += self.request("POST", path, {"inputs": list(inputs[at:at + BATCH]), **settings})["data"]
        return answers

    def artifacts(self, job: str) -> List[Json]:
        return list(self._list(f"/jobs/{self.job(job)['id']}/artifacts"))

    def download(self, job: str, folder: Union[str, os.PathLike[str]], artifact: str = "", progress: Optional[Progress] = None) -> List[pathlib.Path]:
        """Writes the files of a result, or of the part of it that `artifact` names, below a folder. A file has its name when it is whole
        and its SHA-256 is right; a transfer that broke off goes on where it was, also in a later call."""
        job = self.job(job)["id"]
        written = []
        for file in self.artifacts(job):
            path = str(file["path"])
            if artifact and path != artifact and not path.startswith(artifact.rstrip("/") + "/"):
                continue
            if any(part in ("", ".", "..") or part.startswith(".") for part in path.split("/")) or any(c in "\\:" or not c.isprintable() for c in path):
                raise HoneError(200, {"code": "no_answer", "message": f"the server names a file that cannot be one here: {path!r}"})
            target = pathlib.Path(folder, *path.split("/"))
            self._fetch(job, file, target, progress)
            written.append(target)
        if not written:
            raise HoneError(404, {"code": "not_found", "message": f"job {job} has no artifact {artifact}"})
        return written

    def _fetch(self, job: str, file: Json, target: pathlib.Path, progress: Optional[Progress]) -> None:
        size, sha256 = int(file["size"]), str(file["sha256"])
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.{sha256[:8]}.part")
        tries = 0
        while (have := part.stat().st_size if part.exists() else 0) < size or not part.exists():
            try:
                self._fetch_rest(f"/jobs/{job}/artifacts/" + urllib.parse.quote(file["path"]), sha256, part, have, size, progress)
            except Unreachable:
                tries = 0 if part.exists() and part.stat().st_size > have else tries + 1
                if tries == 5:
                    raise
                time.sleep(1)
        with open(part, "rb") as read:
            digest = hashlib.sha256()
            while piece := read.read(1 << 20):
                digest.update(piece)
        if digest.hexdigest() != sha256:
            part.unlink()
            raise HoneError(200, {"code": "damaged", "message": f"{file['path']} arrived damaged", "hint": "download it again"})
        os.replace(part, target)

    def _fetch_rest(self, path: str, sha256: str, part: pathlib.Path, have: int, size: int, progress: Optional[Progress]) -> None:
        headers = {"Range": f"bytes={have}-", "If-Range": f'"{sha256}"'} if have else {}
        connection, answer = self._open("GET", path, headers=headers)
        try:
            if answer.status != 206:
                have = 0
            with open(part, "ab" if have else "wb") as out:
                while have < size:
                    piece = answer.read(min(PIECE, size - have))
                    if not piece:
                        raise Unreachable(f"the connection to {self.server} broke")
                    out.write(piece)
                    have += len(piece)
                    if progress:
                        progress(have, size)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"the connection to {self.server} broke: {error}") from error
        finally:
            connection.close()


def _pair(text: str) -> Tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text} is not NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="A client of Hone; HONE_SERVER, HONE_KEY and HONE_CA say which server, as whom.")
    parser.add_argument("--server")
    commands = parser.add_subparsers(dest="command", required=True)
    upload = commands.add_parser("upload", help="make a data set of a file")
    upload.add_argument("file")
    submit = commands.add_parser("submit", help="submit a job")
    submit.add_argument("dataset")
    submit.add_argument("--model", required=True)
    submit.add_argument("--set", type=_pair, action="append", default=[], metavar="NAME=VALUE", help="a hyperparameter")
    submit.add_argument("--field", type=_pair, action="append", default=[], metavar="NAME=VALUE", help="any field of POST /jobs")
    for command in (upload, submit):
        command.add_argument("--name")
    upload.add_argument("--column", type=_pair, action="append", default=[], metavar="NAME=COLUMN", help="Hone's name of a column of the file")
    for name, what in (("follow", "show a job's progress until it ends"), ("metrics", "print its metrics as CSV")):
        commands.add_parser(name, help=what).add_argument("job")
    predict = commands.add_parser("predict", help="print an answer for each text, as lines of JSON")
    predict.add_argument("job")
    predict.add_argument("text", nargs="+")
    download = commands.add_parser("download", help="write a result's files below a folder")
    download.add_argument("job")
    download.add_argument("folder")
    download.add_argument("artifact", nargs="?", default="")
    return parser


def _print_metrics(rows: List[Json]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = csv.DictWriter(sys.stdout, names)
    out.writeheader()
    out.writerows(rows)


def _run(args: argparse.Namespace) -> int:
    server = Hone(args.server)
    if args.command == "upload":
        print(server.upload(args.file, name=args.name, columns=dict(args.column))["id"])
    elif args.command == "submit":
        fields = dict(args.field) | ({"name": args.name} if args.name else {}) | ({"hyperparameters": dict(args.set)} if args.set else {})
        print(server.submit(args.model, args.dataset, **fields)["id"])
    elif args.command == "follow":
        state: Json = {}
        for state in server.follow(args.job):
            print(json.dumps([state["status"], state["progress"]["step"], state["progress"]["total_steps"], state["metrics"]["loss"]]), flush=True)
        return 0 if state["status"] == "succeeded" else 4
    elif args.command == "metrics":
        _print_metrics(server.metrics(args.job))
    elif args.command == "predict":
        for answer in server.predict(args.job, args.text):
            print(json.dumps(answer))
    else:
        for path in server.download(args.job, args.folder, args.artifact):
            print(path)
    return 0


def main() -> int:
    """0: well; 1: refused or failed; 2: usage; 3: server not reachable; 4: the job that was followed did not succeed."""
    try:
        return _run(_arguments().parse_args())
    except Unreachable as error:
        print(f"hone.py: {error}", file=sys.stderr)
        return 3
    except (HoneError, OSError, ValueError) as error:
        plain = "".join(c if c.isascii() and c.isprintable() else c.encode("unicode_escape").decode() for c in str(error))
        print(f"hone.py: {plain}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
