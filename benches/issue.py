#!/usr/bin/env python3
"""certs, lego and certbot side by side against Pebble without sleeps: seconds, requests, peak memory.

Needs: target/release/certs (or CERTS_BIN), pebble and pebble-challtestsrv in target/peers/bin (or
CERTS_TEST_BIN), openssl; lego and certbot are measured if they are installed.
"""
import os, resource, shutil, socket, subprocess, sys, tempfile, time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CERTS = os.environ.get("CERTS_BIN", f"{ROOT}/target/release/certs")
PEERS = os.environ.get("CERTS_TEST_BIN", f"{ROOT}/target/peers/bin")
RUNS = int(os.environ.get("RUNS", "3"))


def port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Pebble:
    def __init__(self, directory):
        self.dir, self.http, self.acme, self.dns = directory, port(), port(), port()
        config = f"{directory}/openssl.cnf"
        with open(config, "w") as f:
            f.write("[req]\ndistinguished_name=dn\nx509_extensions=v3\n[dn]\n[v3]\n"
                    "subjectAltName=DNS:localhost\nbasicConstraints=critical,CA:FALSE\n")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                        "-nodes", "-days", "2", "-subj", "/CN=localhost", "-config", config, "-keyout",
                        f"{directory}/key.pem", "-out", f"{directory}/ca.pem"], check=True, capture_output=True)
        with open(f"{directory}/pebble.json", "w") as f:
            f.write(f'{{"pebble": {{"listenAddress": "127.0.0.1:{self.acme}", "managementListenAddress": '
                    f'"127.0.0.1:{port()}", "certificate": "{directory}/ca.pem", "privateKey": '
                    f'"{directory}/key.pem", "httpPort": {self.http}, "tlsPort": {port()}, "keyAlgorithm": '
                    f'"ecdsa", "profiles": {{"default": {{"description": "d", "validityPeriod": 7776000}}}}}}}}')
        self.log = open(f"{directory}/pebble.log", "w")
        env = dict(os.environ, PEBBLE_VA_NOSLEEP="1", PEBBLE_WFE_NONCEREJECT="0", PEBBLE_AUTHZREUSE="0")
        self.processes = [
            subprocess.Popen([f"{PEERS}/pebble-challtestsrv", "-defaultIPv6", "", "-http01", "", "-https01", "",
                              "-tlsalpn01", "", "-doh", "", "-dnsserver", f"127.0.0.1:{self.dns}", "-management",
                              f"127.0.0.1:{port()}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL),
            subprocess.Popen([f"{PEERS}/pebble", "-config", f"{directory}/pebble.json", "-dnsserver",
                              f"127.0.0.1:{self.dns}"], stdout=self.log, stderr=self.log, env=env)]
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", self.acme)).close()
                break
            except OSError:
                time.sleep(0.1)
        self.url = f"https://localhost:{self.acme}/dir"

    def requests(self):
        with open(f"{self.dir}/pebble.log", errors="replace") as f:
            return sum("calling handler()" in line for line in f)

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait()


def measure(pebble, command, env):
    """Seconds, requests at the CA, peak MB of one command."""
    before, begun = pebble.requests(), time.monotonic()
    process = subprocess.Popen(command, env=dict(os.environ, **env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begun
    if status != 0:
        sys.exit(f"{command} failed:\n{output.decode()[-2000:]}")
    return seconds, pebble.requests() - before, usage.ru_maxrss / 1024


class Certs:
    name = "certs"

    def __init__(self, pebble):
        self.pebble, self.dir, self.list = pebble, tempfile.mkdtemp(), []

    def issue(self, certificates):
        self.list += certificates
        with open(f"{self.dir}/certs.yaml", "w") as f:
            f.write(f'state_dir: state\nissuers: {{pebble: {{directory: "{self.pebble.url}", ca_file: '
                    f'{self.pebble.dir}/ca.pem}}}}\nsolvers: {{web: {{listen: ["127.0.0.1:{self.pebble.http}"]}}}}\n'
                    "defaults: {issuers: [pebble], solver: web, profile: default}\ncertificates:\n")
            f.writelines(f"- names: [{', '.join(names)}]\n" for names in self.list)
        return measure(self.pebble, [CERTS, "once", "--config", f"{self.dir}/certs.yaml"], {"CERTS_LOG": "error"})


class Lego:
    name = "lego"

    def __init__(self, pebble):
        self.pebble, self.dir = pebble, tempfile.mkdtemp()

    def issue(self, certificates):
        total = (0, 0, 0)
        for names in certificates:
            domains = [word for name in names for word in ("--domains", name)]
            one = measure(self.pebble, ["lego", "--server", self.pebble.url, "--accept-tos", "--email", "a@example.com",
                                        "--path", self.dir, "--http", "--http.port",
                                        f"127.0.0.1:{self.pebble.http}", *domains, "run"],
                          {"LEGO_CA_CERTIFICATES": f"{self.pebble.dir}/ca.pem"})
            total = (total[0] + one[0], total[1] + one[1], max(total[2], one[2]))
        return total


class Certbot(Lego):
    name = "certbot"

    def issue(self, certificates):
        total = (0, 0, 0)
        for names in certificates:
            domains = [word for name in names for word in ("-d", name)]
            one = measure(self.pebble, ["certbot", "certonly", "--standalone", "-n", "--agree-tos", "-m", "a@example.com",
                                        "--no-eff-email", "--server", self.pebble.url, "--http-01-port",
                                        str(self.pebble.http), "--http-01-address", "127.0.0.1", "--config-dir",
                                        f"{self.dir}/c", "--work-dir", f"{self.dir}/w", "--logs-dir", f"{self.dir}/l",
                                        *domains], {"REQUESTS_CA_BUNDLE": f"{self.pebble.dir}/ca.pem"})
            total = (total[0] + one[0], total[1] + one[1], max(total[2], one[2]))
        return total


def main():
    clients = [client for client in (Certs, Lego, Certbot)
               if client is Certs or (shutil.which(client.name) and client.name in os.environ.get("CLIENTS", "lego,certbot"))]
    print("| what | client | seconds | requests | peak MB | certs is |\n|---|---|---|---|---|---|")
    serial = 0
    rows = [("1 name", 1, 1, RUNS), ("10 names", 1, 10, RUNS), ("100 names", 1, 100, 1),
            ("100 certificates", 100, 1, 1)]
    chosen = os.environ.get("ROWS", "")
    for what, certificates, names, runs in rows:
        if chosen and what not in chosen.split(","):
            continue
        best = None
        for client in clients:
            # Clients that have to be started for each certificate are measured with ten.
            count = certificates if client is Certs else min(certificates, 10)
            with tempfile.TemporaryDirectory() as directory:
                pebble = Pebble(directory)
                try:
                    user = client(pebble)
                    user.issue([["warm.example.test"]])
                    results = []
                    for _ in range(runs):
                        wanted = []
                        for _ in range(count):
                            serial += 1
                            wanted.append([f"n{n}.c{serial}.example.test" for n in range(names)])
                        results.append(user.issue(wanted))
                finally:
                    pebble.stop()
            scale = certificates / count
            seconds, requests, memory = sorted(results)[len(results) // 2]
            seconds, requests = seconds * scale, int(requests * scale)
            best = best or seconds
            note = "" if scale == 1 else f" (from {count})"
            ratio = "" if client is Certs else f"{seconds / best:.1f} times as fast"
            print(f"| {what} | {client.name}{note} | {seconds:.2f} | {requests} | {memory:.0f} | {ratio} |", flush=True)


main()
