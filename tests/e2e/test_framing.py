"""Where a request ends and whom it is for must be read in one way only; and what the transport promises."""
import hashlib
import json
import os
import random
import re
import signal
import socket
import ssl
import subprocess
import tempfile
import time

import pytest

from conftest import make_certificate
from daemon import HONED
from test_exhaustion import answer, connect, wait_until

GOOD = b"Host: localhost\r\n"


def ask(daemon, text):
    """The answers to what is sent, until the connection is closed or nothing comes any more."""
    s, found = connect(daemon, text, timeout=1), []
    file = s.makefile("rb")
    while True:
        try:
            status = file.readline()
        except TimeoutError:
            return found, False
        if not status:
            return found, True
        headers = {}
        while (line := file.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        found.append((int(status.split()[1]), file.read(int(headers.get("content-length", 0)))))


@pytest.mark.parametrize("head", [
    b"Content-Length: 4\r\nContent-Length: 4\r\n" + GOOD,
    b"Content-Length: 4\r\ncontent-length: 40\r\n" + GOOD,
    GOOD + b"Host: localhost\r\n",
    b"Host: localhost\r\nHost: other.example\r\n",
    GOOD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
    GOOD + b"Transfer-Encoding: gzip, chunked\r\n",
    GOOD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    GOOD + b"Content-Length : 4\r\n",
    GOOD + b"X-A: a\x00b\r\nX-B: c\r\n",
    GOOD + b"X-B: c\r\nX-A: a\x00b\r\n",
    b"X-A: a\x00\r\n" + GOOD,
    b"Content-Length: 2\r\n",
    GOOD + b"Authorization: Bearer hone_a\r\nAuthorization: Bearer hone_b\r\n",
    GOOD + b"X-A: a\r\n b\r\nX-B: c\r\n",
])
def test_ambiguous_requests_are_refused(shared, head):
    found, closed = ask(shared, b"POST /jobs?dry_run=1 HTTP/1.1\r\n" + head + b"\r\n{}\r\nGET /healthz HTTP/1.1\r\n" + GOOD + b"\r\n")
    assert closed and [s for s, _ in found] == [400], found
    error = json.loads(found[0][1])["error"]
    assert error["code"] == "invalid_field" and error["field"] and error["hint"]


@pytest.mark.parametrize("line", [b"GET /healthz\x00x HTTP/1.1\r\n", b"GET /he\x00althz?x=1 HTTP/1.1\r\n", b"GET /healthz HTTP/1.1\x00\r\n"])
def test_nul_in_the_request_line(shared, line):
    found, closed = ask(shared, line + GOOD + b"\r\nGET /healthz HTTP/1.1\r\n" + GOOD + b"\r\n")
    assert closed and [s for s, _ in found] in ([400], []), found


@pytest.mark.parametrize("target", ["/jobs/%00", "/healthz%00x", "/jobs?name=a%00b"])
def test_encoded_nul(shared, target):
    found, closed = ask(shared, f"GET {target} HTTP/1.1\r\n".encode() + GOOD + b"\r\nGET /healthz HTTP/1.1\r\n" + GOOD + b"\r\n")
    assert closed and [s for s, _ in found] == [400] and b"%00" in found[0][1], found


def test_good_requests_are_not_refused(shared):
    one = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: \t a b \r\nCookie: a=b; c=d\r\nX-Empty:\r\n\r\n"
    bare = one.replace(b"\r\n", b"\n")
    long = b"GET /healthz HTTP/1.1\r\n" + GOOD + b"".join(b"X-%d: %s\r\n" % (i, b"y" * 900) for i in range(40)) + b"\r\n"
    found, closed = ask(shared, one * 3 + bare * 2 + long + b"GET /healthz?a%20b=c%20d HTTP/1.1\r\n" + GOOD + b"\r\n" + one)
    assert [s for s, _ in found] == [200] * 6 + [400, 200] and not closed, found


def test_thousands_of_arguments(shared):
    for n in (201, 3000, 6000):
        query = "&".join(f"a={i}" for i in range(n))
        reply = shared.get(f"/jobs?{query}")
        assert reply.status_code == 400 and reply.json()["error"]["message"].startswith(f"the query has {n} parameters"), reply.text
    assert shared.get("/jobs?" + "&".join(f"metadata[{i}]=x" for i in range(50))).status_code == 200


def test_packed_json_is_refused_by_name(shared):
    reply = shared.post("/jobs", data=b"\x1f\x8b12", headers={"Content-Type": "application/json", "Content-Encoding": "gzip"})
    error = reply.json()["error"]
    assert reply.status_code == 415 and "gzip" in error["message"] and error["field"] == "Content-Encoding" and error["hint"]


@pytest.mark.parametrize("form", [False, True])
def test_chunked_uploads_arrive_as_they_were_sent(shared, form):
    """Many chunks are read at once, while earlier ones are still being written to the disk."""
    chance = random.Random(form)
    rows = b"".join(b'{"text": "row %d %s"}\n' % (i, b"x" * chance.randrange(200)) for i in range(30000))
    body = rows if not form else b'--edge\r\nContent-Disposition: form-data; name="file"; filename="d.jsonl"\r\n\r\n' + rows + b"\r\n--edge--\r\n"
    kind = b"multipart/form-data; boundary=edge" if form else b"application/octet-stream"
    text, at = b"POST /datasets HTTP/1.1\r\n" + GOOD + b"Content-Type: " + kind + b"\r\nTransfer-Encoding: chunked\r\n\r\n", 0
    while at < len(body):
        size = chance.choice((1, 100, 1000, 5000))
        piece = body[at:at + size]
        text, at = text + b"%x\r\n%s\r\n" % (len(piece), piece), at + size
    (status, answered), *_ = ask(shared, text + b"0\r\n\r\n")[0]
    assert status in (200, 201), answered
    assert json.loads(answered)["sha256"] == hashlib.sha256(rows).hexdigest() and json.loads(answered)["bytes"] == len(rows)


def test_log_names_the_client(shared):
    shared.get("/nowhere", headers={"X-Request-Id": "who-asks"})
    wait_until(lambda: re.search(r"req=who-asks .*client=127\.0\.0\.1 .*error=", shared.log.read_text()))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    from daemon import Daemon
    daemon = Daemon(tmp_path_factory.mktemp("framing") / "state")
    yield daemon
    assert daemon.stop() == 0
    assert "Sanitizer" not in daemon.log.read_text()


def handshake(daemon, **limits):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for name, value in limits.items():
        setattr(context, name, value)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    host, port = daemon.url.split("//")[1].split(":")
    with socket.create_connection((host, int(port)), timeout=10) as s, context.wrap_socket(s) as t:
        der = t.getpeercert(True)
        t.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert t.recv(12) == b"HTTP/1.1 200"
        return t.version(), der


def test_tls_versions(start, certificate):
    d = start("--tls_cert", certificate[0], "--tls_key", certificate[1])
    for wanted, version in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
        assert handshake(d, maximum_version=wanted, minimum_version=wanted)[0] == version
    for old in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        with pytest.raises((ssl.SSLError, OSError)):
            handshake(d, minimum_version=old, maximum_version=old)


def hup(daemon, text):
    at = len(daemon.log.read_text())
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: text in daemon.log.read_text()[at:])


def test_reload(start, tmp_path, certificate):
    conf = tmp_path / "honed.conf"
    conf.write_text(f"tls_cert = {certificate[0]}\ntls_key = {certificate[1]}\n")
    d = start("--config", str(conf))
    d.options = ()
    _, first = handshake(d)
    context = ssl.create_default_context(cafile=certificate[0])
    host, port = d.url.split("//")[1].split(":")
    old = context.wrap_socket(socket.create_connection((host, int(port))), server_hostname="127.0.0.1")
    other = make_certificate(tmp_path, "second")
    for source, target in zip(other, certificate):
        open(target, "w").write(open(source).read())
    hup(d, "reloaded")
    _, second = handshake(d)
    assert second != first
    # One that was open goes on; a bad one changes nothing and is told.
    old.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert old.recv(12) == b"HTTP/1.1 200"
    for cert, key in (("no certificate", None), (open(make_certificate(tmp_path, "third")[0]).read(), None)):
        open(certificate[0], "w").write(cert)
        hup(d, "cannot reload")
        assert handshake(d)[1] == second
    assert "cannot be used for TLS" in d.log.read_text()
    conf.write_text("slotz = 1\n")
    hup(d, "slotz")
    assert handshake(d)[1] == second and d.stop() == 0


def test_reload_of_the_log_level(tmp_path):
    conf, log = tmp_path / "honed.conf", tmp_path / "log"
    conf.write_text("log_level = info\nlisten = 127.0.0.1:0\n")
    with open(log, "wb") as out:
        process = subprocess.Popen([HONED, "serve", "--config", conf, "--state", tmp_path / "state"], stderr=out)
    try:
        wait_until(lambda: "msg=listening" in log.read_text())
        url = re.search(r"address=(\S+)", log.read_text())[1].split(":")

        def health():
            with socket.create_connection((url[0], int(url[1]))) as s:
                s.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert answer(s)[0] == 200

        health()
        conf.write_text("log_level = debug\nlisten = 127.0.0.1:0\n")
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: "reloaded" in log.read_text())
        assert "path=/healthz" not in log.read_text()
        health()
        wait_until(lambda: "path=/healthz" in log.read_text())
    finally:
        process.terminate()
        assert process.wait(20) == 0


@pytest.mark.parametrize("limit", ["--nproc=1", "--as=40M", "--as=90M", "--as=200M", "--as=300M", "--nofile=4", "--nofile=8", "--nofile=12"])
def test_start_without_resources(tmp_path, limit):
    """A sentence and exit status 1 (or a running server, where that is enough), never an abort."""
    if "--as" in limit and ("asan" in HONED or "tsan" in HONED):
        pytest.skip("a sanitizer reserves terabytes of addresses")
    number = limit.split("=")[1].replace("M", "000000")
    state = tmp_path / "s"
    command = ["prlimit", f"{limit.split('=')[0]}={number}:{number}", HONED, "serve", "--state", state, "--listen", "127.0.0.1:0"]
    if "nproc" in limit:  # which does not bind root
        if os.getuid() == 0:
            command = ["setpriv", "--reuid=65534", "--clear-groups", *command]
        folder = tempfile.mkdtemp(dir="/tmp")
        os.chmod(folder, 0o777)
        command[command.index(state)] = folder + "/s"
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        _, err = process.communicate(timeout=3)
    except subprocess.TimeoutExpired:
        process.terminate()
        _, err = process.communicate(timeout=20)
        assert "listening" in err and process.returncode == 0, err
        return
    # 127: the loader already cannot map the libraries, and says so.
    assert process.returncode in (1, 127) and ("cannot start" in err or "honed:" in err), (process.returncode, err)
    assert "nproc" not in limit or "TasksMax" in err


def test_head_of_a_stream_has_no_body(daemon):
    """Not even the end of one: the next answer of the connection would begin with it."""
    job = daemon.job({"steps": 2})
    daemon.wait(job, "succeeded")
    for path, more in ((f"/jobs/{job}/artifacts.tar", b""), (f"/jobs/{job}/events", b"Accept: text/event-stream\r\n")):
        s, found = connect(daemon, b"HEAD " + path.encode() + b" HTTP/1.1\r\n" + GOOD + more + b"\r\nGET /healthz HTTP/1.1\r\n" + GOOD +
                           b"Connection: close\r\n\r\n", timeout=5), b""
        while chunk := s.recv(65536):
            found += chunk
        first, _, rest = found.partition(b"\r\n\r\n")
        assert first.startswith(b"HTTP/1.1 200") and rest.startswith(b"HTTP/1.1 200"), found


def test_a_form_in_two_packets(daemon):
    """Wherever the border of the packets lies, the form has the same parts."""
    data = daemon.dataset()
    form = "".join(f'--border\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
                   for name, value in (("model", "base"), ("name", "a"), ("dataset", data))).encode() + b"--border--\r\n"
    head = b"POST /jobs?dry_run=1 HTTP/1.1\r\n" + GOOD + b"Content-Type: multipart/form-data; boundary=border\r\nContent-Length: %d\r\n\r\n" % len(form)
    for cut in range(1, len(form)):
        s = connect(daemon, head + form[:cut])
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        time.sleep(0.01)
        s.sendall(form[cut:])
        assert s.recv(12) == b"HTTP/1.1 200", (cut, form[:cut], s.recv(4000))
        s.close()
