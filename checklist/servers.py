"""Somebody else's RTMP(S) servers, on the machine outside: what they get is kept there."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from outside import Outside

FOLDER = "/tmp/probe-servers"
PLAIN, TRUSTED, ANOTHER_NAME, RUDE = 19350, 19443, 19444, 19351
PORTS = (PLAIN, TRUSTED, ANOTHER_NAME, RUDE)

# An authority, and certificates of it for this machine's address and for another one.
CERTIFICATES = f"""
rm -rf {FOLDER} && mkdir -p {FOLDER} && cd {FOLDER}
new="openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
$new -x509 -days 2 -subj '/CN=Streamkeep probe' -keyout ca.key -out ca.pem 2>/dev/null
for port in {TRUSTED}/$1 {ANOTHER_NAME}/192.0.2.1; do
    echo "subjectAltName=IP:${{port#*/}}" >names
    $new -subj /CN=server -keyout ${{port%/*}}.key -out request 2>/dev/null
    openssl x509 -req -in request -CA ca.pem -CAkey ca.key -days 2 -extfile names -out ${{port%/*}}.pem 2>/dev/null
done
"""

# Hands each connection to an ffmpeg of its own, which keeps what it gets in PORT.flv; its warnings tell the stream key.
# One server says hello as RTMP wants it and then hangs up, as some do who do not know a key.
SERVE = """
import os, socket, ssl, subprocess, sys, threading, time
folder, plain, rude, *secured = sys.argv[1:]
os.chdir(folder)

def pump(come, go):
    try:
        while data := come.recv(65536):
            go.sendall(data)
    except OSError:
        pass
    for end in (come, go):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

def keep(client, port):
    inner = socket.create_server(("127.0.0.1", 0))
    own = inner.getsockname()[1]
    inner.close()
    with open(f"{port}.log", "a") as log:
        listen = f"ffmpeg -nostdin -loglevel warning -listen 1 -i rtmp://127.0.0.1:{own}/live/any"
        keeper = subprocess.Popen([*listen.split(), *f"-c copy -f flv -y {port}.flv".split()], stdout=log, stderr=log)
        for _ in range(50):
            try:
                server = socket.create_connection(("127.0.0.1", own))
                break
            except OSError:
                time.sleep(0.1)
        back = threading.Thread(target=pump, args=(server, client), daemon=True)
        back.start()
        pump(client, server)
        keeper.wait()
        print("ended", file=log, flush=True)

def greet(client, _port):
    asked = client.recv(1537, socket.MSG_WAITALL)
    client.sendall(b"\\x03" + bytes(1536) + asked[1:])
    client.recv(1536, socket.MSG_WAITALL)
    client.close()

def accept(port, treat, secured):
    context = None
    if secured:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{port}.pem", f"{port}.key")
    listener = socket.create_server(("", int(port)))
    while True:
        client, _ = listener.accept()
        try:
            if context:
                client = context.wrap_socket(client, server_side=True)
                client.settimeout(3)
                first = client.recv(1)  # a client that does not trust us says so only now
                client.settimeout(None)
        except OSError:
            client.close()
            continue
        if context and not first:
            client.close()
            continue
        threading.Thread(target=treat, args=(Prefixed(client, first) if context else client, port), daemon=True).start()

class Prefixed:
    def __init__(self, client, first):
        self.client, self.first = client, first
    def recv(self, size):
        first, self.first = self.first, b""
        return first or self.client.recv(size)
    def sendall(self, data):
        self.client.sendall(data)
    def shutdown(self, how):
        self.client.shutdown(how)

for port, treat, tls in [(plain, keep, 0), (rude, greet, 0), *((port, keep, 1) for port in secured)]:
    threading.Thread(target=accept, args=(port, treat, tls), daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""


@dataclass
class Servers:
    """The running servers; *address* is where they are."""

    outside: Outside
    address: str

    def log(self, port: int) -> str:
        """Return what the server on *port* noted."""
        return self.outside.run(f"cat {FOLDER}/{port}.log").stdout

    def codecs(self, port: int) -> dict[str, int]:
        """Return how many packets of each codec the server on *port* got."""
        probe = "ffprobe -v error -count_packets -show_entries stream=codec_name,nb_read_packets -of csv=p=0"
        lines = self.outside.output(f"{probe} {FOLDER}/{port}.flv").split()
        return {codec: int(count) for codec, count in (line.split(",") for line in lines)}


@contextmanager
def serving(outside: Outside) -> Iterator[Servers]:
    """Serve for as long as the block lasts."""
    address = outside.output("hostname --all-ip-addresses").split()[0]
    subprocess.run([*outside.prefix, "bash", "-euc", CERTIFICATES, "certificates", address], check=True)
    words = [FOLDER, str(PLAIN), str(RUDE), str(TRUSTED), str(ANOTHER_NAME)]
    prefix = [*outside.prefix[:2], "--interactive", *outside.prefix[2:]] if outside.prefix else []
    with subprocess.Popen(
        [*prefix, "python3", "-c", SERVE, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        try:
            yield Servers(outside, address)
        finally:
            process.communicate("", timeout=20)
