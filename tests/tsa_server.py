"""A timestamp authority for tests: `openssl ts` behind a small local HTTP server."""

import contextlib
import datetime as dt
import http.server
import subprocess
import threading
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_CONFIG = """[ tsa ]
default_tsa = tsa1
[ tsa1 ]
dir = {folder}
serial = {folder}/serial
crypto_device = builtin
signer_cert = {folder}/tsa.pem
certs = {folder}/chain.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = {digests}
accuracy = secs:1
ordering = no
tsa_name = no
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(subject, issuer, key, issuer_key, start, end, *, ca):
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
        .add_extension(
            x509.KeyUsage(
                digital_signature=not ca,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=ca,
                crl_sign=ca,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )
    if not ca:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
        builder = builder.add_extension(usage, critical=True)
    return builder.sign(issuer_key, hashes.SHA256())


def _pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


class Authority:
    """Root, intermediate and signing certificates, and `openssl ts` to answer with them."""

    def __init__(self, folder, *, name="Test", valid=None, digests="sha256, sha512"):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.root_file = folder, folder / "root.pem"
        now = dt.datetime.now(dt.UTC).replace(microsecond=0)
        day = dt.timedelta(days=1)
        start, end = valid or (now - day, now + day)
        keys = [rsa.generate_private_key(65537, 2048) for _ in range(3)]
        # Shorter certificates first, as DER orders a set; this `openssl ts` does not sort them.
        root, middle, leaf = (f"{name} root {'of tests ' * 5}", f"{name} middle", f"{name} TSA")
        wide = (now - 20 * day, now + 3000 * day)
        self.root = _certificate(root, root, keys[0], keys[0], *wide, ca=True)
        self.middle = _certificate(middle, root, keys[1], keys[0], *wide, ca=True)
        self.leaf = _certificate(leaf, middle, keys[2], keys[1], start, end, ca=False)
        self.root_file.write_bytes(_pem(self.root))
        (folder / "tsa.pem").write_bytes(_pem(self.leaf))
        (folder / "chain.pem").write_bytes(_pem(self.middle))
        (folder / "serial").write_text("01\n")
        (folder / "tsa.key").write_bytes(
            keys[2].private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        (folder / "tsa.cnf").write_text(_CONFIG.format(folder=folder, digests=digests))

    def respond(self, request: bytes) -> bytes:
        """Answer a request as `openssl ts -reply` does."""
        query, reply = self.folder / "query.tsq", self.folder / "reply.tsr"
        query.write_bytes(request)
        command = ["openssl", "ts", "-reply", "-config", self.folder / "tsa.cnf"]
        command += ["-queryfile", query, "-out", reply]
        subprocess.run(command, check=True, capture_output=True)
        return reply.read_bytes()


@contextlib.contextmanager
def serving(answer):
    """Serve `answer(request body) -> bytes` on this machine; yield the URL and what was asked.

    `answer` may raise a redirect as `Redirect(url)`, and be a generator of chunks.
    """
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append((self.headers.get("Content-Type"), body))
            try:
                reply = answer(body)
            except Redirect as redirect:
                self.send_response(302)
                self.send_header("Location", redirect.url)
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.end_headers()
            with contextlib.suppress(OSError):
                for chunk in [reply] if isinstance(reply, bytes) else reply:
                    self.wfile.write(chunk)
                    self.wfile.flush()

        do_GET = do_POST  # noqa: N815 - the library's name

        def log_message(self, *arguments):
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Redirect(Exception):  # noqa: N818 - an answer
    """Answer with a redirect."""

    def __init__(self, url):
        super().__init__(url)
        self.url = url


def dripping(seconds):
    """Yield a byte now and then."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield b"0"
        time.sleep(0.1)
