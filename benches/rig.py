"""Where everything happens: a folder, two processors, an upstream, and the proxies that run at the moment."""

import contextlib
import os
import resource
import subprocess

import peers
from processes import Process, free_port

FILES_WANTED = 8192
UPSTREAM_BYTES = 100 * 1024


class Rig:
    def __init__(self, folder, binary, bare, beside_bare):
        self.folder, self.binary, self.bare, self.beside_bare = folder, binary, bare, beside_bare
        self.cpus = sorted(os.sched_getaffinity(0))[:2]
        if len(self.cpus) < 2:
            raise SystemExit("MISSING: a second processor. Remedy: run it where two may be used (see `nproc`)")
        self._log = (folder / "processes.log").open("ab")
        self._running = []
        self._ports = {False: free_port(), True: free_port()}

    def __enter__(self):
        # Load and upstream have the second processor, the proxy under measurement has the first.
        os.sched_setaffinity(0, [self.cpus[1]])
        allow_many_files()
        make_certificates(self.folder)
        (self.folder / "www").mkdir()
        (self.folder / "www" / "100k.json").write_text("x" * UPSTREAM_BYTES)
        try:
            peers.start_upstream(self, self.port(False), self.port(True)).await_answer(self.port(False))
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def port(self, tls):
        """The upstream's."""
        return self._ports[tls]

    def run(self, name, command, cpus, env=None):
        process = Process(name, command, cpus, self._log, env)
        self._running.append(process)
        return process

    @contextlib.contextmanager
    def proxies(self, names, tls, workers):
        """The peers of these names, each with its port, for as long as the block runs."""
        with self.ended_after():
            found = {}
            for name in names:
                port = free_port()
                process = peers.start_peer(self, name, port, tls, workers)
                process.first_served = process.await_answer(port)
                found[name] = (process, port)
            yield found

    @contextlib.contextmanager
    def ended_after(self):
        """Whatever is started in the block ends with it."""
        before = len(self._running)
        try:
            yield
        finally:
            self.stop(before)

    def stop(self, keep=0):
        while len(self._running) > keep:
            self._running[-1].stop()
            self._running.pop()


def allow_many_files():
    """A thousand idle connections need as many descriptors, here and in the programs that are started."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FILES_WANTED:
        raise SystemExit(f"MISSING: {FILES_WANTED} open files, {hard} allowed. Remedy: ulimit -Hn {FILES_WANTED}")
    if soft < FILES_WANTED:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES_WANTED, hard))


def make_certificates(folder):
    """A CA, and a certificate by it for `localhost` and 127.0.0.1."""

    def openssl(*arguments):
        done = subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"openssl {arguments[0]} failed: {done.stderr.strip()}")

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=bench", "-days", "2")
    openssl("req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    signed_by = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names", "-days", "2"]
    openssl("x509", "-req", "-in", "server.csr", "-out", "server.pem", *signed_by)
