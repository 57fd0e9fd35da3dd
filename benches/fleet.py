#!/usr/bin/env python3
"""The daemon with many certificates: start, memory, idle CPU, and `certs status`.

Makes a state directory with 10,000 certificates for the purpose (one self-signed pair, cloned).
Needs: target/release/certs (or CERTS_BIN) and openssl.
"""
import hashlib, json, os, socket, subprocess, tempfile, time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CERTS = os.environ.get("CERTS_BIN", f"{ROOT}/target/release/certs")
COUNT = int(os.environ.get("COUNT", "10000"))


def seal(value):
    record = json.dumps(value, separators=(",", ":"))
    return f'{{"version":1,"sha256":"{hashlib.sha256(record.encode()).hexdigest()}","record":{record}}}\n'


def write(path, text):
    with open(path, "w") as f:
        f.write(text)


def make(root):
    state = f"{root}/state"
    for inner in ("live", "archive", "pending", "records", "accounts", "quarantine"):
        os.makedirs(f"{state}/{inner}")
    write(f"{state}/version", "1\n")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-days", "90", "-subj", "/CN=x", "-keyout", f"{root}/key", "-out", f"{root}/cert"],
                   check=True, capture_output=True)
    key, cert = open(f"{root}/key").read(), open(f"{root}/cert").read()
    public = subprocess.run(["openssl", "pkey", "-in", f"{root}/key", "-pubout", "-outform", "DER"], check=True,
                            capture_output=True).stdout
    spki = hashlib.sha256(public).hexdigest()
    now = time.time()
    at = lambda days: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + days * 86400))
    config = [f"state_dir: {state}\nissuers: {{ca: {{directory: \"https://127.0.0.1:1/dir\"}}}}\n"
              "solvers: {web: {listen: [\"127.0.0.1:0\"]}}\ndefaults: {issuers: [ca], solver: web}\ncertificates:\n"]
    for n in range(COUNT):
        name = f"host{n:05}.example.test"
        config.append(f"- {{names: [{name}]}}\n")
        directory = f"{state}/archive/{name}/0001"
        os.makedirs(directory)
        generation = {"id": 1, "issuer": "ca", "key": "ecdsa-p256", "ordered": [name], "issued_at": at(-5),
                      "facts": {"identifiers": [name], "validity": {"not_before": at(-5), "not_after": at(85)},
                                "serial": f"{n:016x}", "fingerprint": "ab" * 32, "public_key": spki,
                                "issued_by": "Bench CA"}}
        write(f"{directory}/meta.json", seal(generation))
        for file, text in (("privkey", key), ("cert", cert), ("chain", cert), ("fullchain", cert + cert),
                           ("combined", cert + cert + key)):
            write(f"{directory}/{file}.pem", text)
        os.symlink(f"../archive/{name}/0001", f"{state}/live/{name}")
        write(f"{state}/records/{name}.json", seal({"newest": generation}))
    write(f"{root}/certs.yaml", "".join(config))
    # One pass marks everything as deployed with the digest of the configuration.
    subprocess.run([CERTS, "once", "--config", f"{root}/certs.yaml", "--log-level", "error"], check=True,
                   stdout=subprocess.DEVNULL)


def timed(command):
    begun = time.monotonic()
    result = subprocess.run(command, stdout=subprocess.PIPE)
    return time.monotonic() - begun, result


def main():
    with tempfile.TemporaryDirectory() as root:
        make(root)
        config = ["--config", f"{root}/certs.yaml"]
        alone = min(timed([CERTS, "status", *config])[0] for _ in range(3))
        begun = time.monotonic()
        daemon = subprocess.Popen([CERTS, "run", *config, "--log-level", "error"])
        while True:
            try:
                with socket.socket(socket.AF_UNIX) as s:
                    s.connect(f"{root}/state/run/status.sock")
                    if s.recv(1):
                        break
            except OSError:
                time.sleep(0.005)
        start = time.monotonic() - begun
        through = min(timed([CERTS, "status", *config])[0] for _ in range(5))
        status = dict(line.split(":", 1) for line in open(f"/proc/{daemon.pid}/status") if ":" in line)
        ticks = lambda: sum(map(int, open(f"/proc/{daemon.pid}/stat").read().rsplit(") ", 1)[1].split()[11:13]))
        before = ticks()
        time.sleep(30)
        idle = (ticks() - before) / os.sysconf("SC_CLK_TCK") / 30
        daemon.terminate()
        daemon.wait()
        print(f"| {COUNT} certificates | measured |\n|---|---|")
        print(f"| start to first answer | {start:.2f} s |")
        print(f"| resident memory | {int(status['VmRSS'].split()[0]) / 1024:.0f} MB |")
        print(f"| idle CPU | {idle * 100:.2f} % |")
        print(f"| `certs status`, with daemon | {through * 1000:.0f} ms |")
        print(f"| `certs status`, without | {alone * 1000:.0f} ms |")


main()
